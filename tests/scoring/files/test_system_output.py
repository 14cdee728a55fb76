from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.score_files import CLASSES, CLUSTER_OF
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.scoring.files.own import ScoresCsv
from lid_mapmix.scoring.files.system_output import SystemOutput, align, reorder_classes
from lid_mapmix.scoring.scorecard import make_system, scores_of
from lid_mapmix.utils.errors import UserError
from scipy.special import log_softmax

COUNT = 12


def made(seed, **changes):
    values = log_softmax(np.random.default_rng(seed).normal(size=(COUNT, len(CLASSES))), axis=1)
    output = SystemOutput(
        path=Path(f"system-{seed}"),
        format=ScoresCsv(),
        classes=CLASSES,
        ids=np.array([f"u{number}" for number in range(COUNT)]),
        predictions=np.array(CLASSES)[values.argmax(axis=1)],
        truth=np.array(CLASSES)[np.arange(COUNT) % len(CLASSES)],
        log_likelihoods=values,
        seconds=np.arange(1.0, COUNT + 1),
        columns={"group": np.array([f"g{number // 2}" for number in range(COUNT)])},
    )
    return replace(output, **changes)


def shuffled(output, utterances, classes):
    return replace(
        output,
        classes=tuple(output.classes[place] for place in classes),
        ids=output.ids[utterances],
        predictions=output.predictions[utterances],
        truth=output.truth[utterances],
        log_likelihoods=output.log_likelihoods[utterances][:, classes],
        seconds=output.seconds[utterances],
        columns={name: values[utterances] for name, values in output.columns.items()},
    )


@given(st.permutations(range(COUNT)), st.permutations(range(len(CLASSES))))
def test_the_order_of_utterances_and_classes_does_not_matter(utterances, classes):
    first, second = made(0), made(1)
    aligned = align([first, shuffled(second, list(utterances), list(classes))])[1]
    for name in ("ids", "predictions", "truth", "log_likelihoods", "seconds"):
        np.testing.assert_array_equal(getattr(aligned, name), getattr(second, name))
    assert aligned.classes == CLASSES and aligned.columns["group"].tolist() == second.columns["group"].tolist()
    assert scores_of(make_system(aligned, CLUSTER_OF)) == pytest.approx(scores_of(make_system(second, CLUSTER_OF)))


def test_what_one_knows_all_know():
    nothing = np.full(COUNT, np.nan)
    bare = made(0, truth=None, seconds=nothing, columns={"group": np.full(COUNT, ""), "source": np.full(COUNT, "a")})
    first, second = align([bare, made(1)])
    assert first.truth.tolist() == made(1).truth.tolist() and first.seconds.tolist() == made(1).seconds.tolist()
    assert first.columns["group"].tolist() == made(1).columns["group"].tolist()
    assert second.columns["source"].tolist() == ["a"] * COUNT
    assert align([bare])[0].truth is None and "group" not in align([bare])[0].columns


def test_a_system_that_never_answers_a_class_has_it_all_the_same():
    answers = made(0, log_likelihoods=None, classes=CLASSES[:2], predictions=np.full(COUNT, CLASSES[0]))
    assert [one.classes for one in align([answers, made(1)])] == [CLASSES, CLASSES]
    with pytest.raises(UserError, match=r"found xxx only in system-0 \(2 such\)"):
        reorder_classes(made(0, classes=("xxx", *CLASSES[1:])), CLASSES, "labels")


def test_a_system_without_truth_is_not_scored():
    with pytest.raises(ValueError, match="expected output with its truth"):
        make_system(made(0, truth=None), CLUSTER_OF)
