import io
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.mapmix.dynamics import EpochRecorder, RunningDynamics
from lid_mapmix.utils.errors import UserError


def test_state_of_other_data_is_refused():
    state = EpochRecorder(24, 4).state()
    with pytest.raises(UserError, match="Resume with the manifest"):
        EpochRecorder(23, 4).restore(state)


@pytest.mark.parametrize(
    ("indices", "target_classes", "probabilities", "message"),
    [
        ([3], [0], np.ones((1, 2)), "indices from 0 to 2"),
        ([-1], [0], np.ones((1, 2)), "indices from 0"),
        ([0], [2], np.ones((1, 2)), "target_classes from 0 to 1"),
        ([0], [0, 1], np.ones((1, 2)), "expected target_classes"),
        ([0], [0], np.ones((1, 3)), "expected target_classes"),
        ([0, 1, 2, 0], [0] * 4, np.ones((4, 2)), "at most 3 utterances"),
    ],
)
def test_faults_of_the_caller(indices, target_classes, probabilities, message):
    recorder = EpochRecorder(3, 2)
    with pytest.raises(ValueError, match=message):
        recorder.add(indices, target_classes, probabilities)
    assert recorder.count == 0


def test_an_empty_batch_is_nothing():
    recorder = EpochRecorder(3, 2)
    recorder.add(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.float32))
    assert recorder.count == 0


UTTERANCES, CLASSES = 7, 3


def softmax_rows(generator, count):
    rows = generator.random((count, CLASSES)).astype(np.float32)
    return rows / rows.sum(axis=1, keepdims=True)


def observed(generator, steps):
    """Return running dynamics after some steps, and what each utterance was answered."""
    target_classes = np.arange(UTTERANCES) % CLASSES
    dynamics, answers = RunningDynamics(UTTERANCES, CLASSES), {number: [] for number in range(UTTERANCES)}
    for _ in range(steps):
        # The last utterance never comes; others come twice in a step, as partners do.
        indices = generator.integers(0, UTTERANCES - 1, 5)
        rows = softmax_rows(generator, 5)
        dynamics.add(indices, target_classes[indices], rows)
        for index, row in zip(indices.tolist(), rows, strict=True):
            answers[index].append(row.astype(np.float64))
    return dynamics, answers, target_classes


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 12))
def test_means_are_those_of_all_observations(seed, steps):
    dynamics, answers, target_classes = observed(np.random.default_rng(seed), steps)
    class_similarity = np.zeros((CLASSES, CLASSES))
    for number, rows in answers.items():
        probabilities = [float(row[target_classes[number]]) for row in rows]
        # Who was never heard is not hard to learn: nothing is known of them.
        expected = (statistics.fmean(probabilities), statistics.pstdev(probabilities)) if rows else (np.nan, np.nan)
        np.testing.assert_allclose(
            (dynamics.confidence[number], dynamics.variability[number]), expected, rtol=1e-6, atol=1e-7
        )
        class_similarity[target_classes[number]] += np.sum(rows, axis=0) if rows else 0
    np.testing.assert_allclose(dynamics.class_similarity, class_similarity, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 2**32))
def test_a_checkpoint_takes_everything_along(seed):
    generator = np.random.default_rng(seed)
    dynamics, *_ = observed(generator, 4)
    file = io.BytesIO()
    torch.save(dynamics.state(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed, *_ = observed(generator, 2)
    resumed.restore(state)
    indices, rows = np.array([1, 1, 5]), softmax_rows(generator, 3)
    for each in (dynamics, resumed):
        each.add(indices, indices % CLASSES, rows)
    assert all((dynamics.state()[name] == value).all() for name, value in resumed.state().items())
