"""Leaks, duplicates and near names against plain loops over all pairs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.data import SPLITS
from lid_mapmix.data.check.column_checks import (
    check_classes,
    check_duplicates,
    check_leaks,
    spellings,
)
from lid_mapmix.data.check.subject import Utterances
from lid_mapmix.data.manifest.manifest import Manifest

ROWS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(["", "anna", "bert", "cleo"]), st.sampled_from("xy"), st.integers(-1, 4)
    ),
    min_size=1,
    max_size=14,
)
WORDS = st.text("abc", max_size=6)


def corpus(rows, **columns):
    """Make a corpus of rows (split number, speaker, class, content), sorted by split."""
    manifests = {}
    for number, split in enumerate(SPLITS):
        mine = [index for index, row in enumerate(rows) if row[0] == number]
        if mine:
            names = np.array([f"{index}.wav" for index in mine])
            manifests[split] = Manifest(
                Path(f"{split}.csv"),
                {
                    "audiopath": names,
                    "id": names,
                    "class": np.array([rows[index][2] for index in mine]),
                    "speaker": np.array([rows[index][1] for index in mine]),
                    "seconds": np.ones(len(mine)),
                    **{name: np.array(values)[mine] for name, values in columns.items()},
                },
            )
    return Utterances.of(manifests)


def named(findings):
    return {finding.name: finding for finding in findings}


@given(ROWS)
def test_a_shared_speaker_is_a_leak_and_stays_in_the_last_split(rows):
    rows.sort(key=lambda row: row[0])
    found = named(check_leaks(corpus(rows)))
    shared = {who for split, who, *_ in rows if who and any(who == w and split != s for s, w, *_ in rows)}
    last = {who: max(split for split, w, *_ in rows if w == who) for who in shared}
    dropped = [index for index, (split, who, *_) in enumerate(rows) if who in shared and split < last[who]]
    assert set(found) == ({"speaker across splits"} if shared else set())
    if shared:
        assert found["speaker across splits"].count == len(shared)
        assert found["speaker across splits"].rows.tolist() == dropped


@settings(max_examples=200)
@given(ROWS)
def test_of_the_same_audio_one_is_left(rows):
    rows.sort(key=lambda row: row[0])
    content = np.array([row[3] for row in rows])
    found = named(check_duplicates(corpus(rows), content))
    expected = {"contradictory labels": [], "duplicate across splits": [], "duplicate": []}
    for index, (split, _, name, what) in enumerate(rows):
        same = [other for other in range(len(rows)) if rows[other][3] == what >= 0]
        if any(rows[other][2] != name for other in same):
            expected["contradictory labels"].append(index)
            continue
        if any(rows[other][0] > split for other in same):
            expected["duplicate across splits"].append(index)
        if any(rows[other][0] == split and other < index for other in same):
            expected["duplicate"].append(index)
    assert {name: finding.rows.tolist() for name, finding in found.items()} == {
        name: indices for name, indices in expected.items() if indices
    }


def test_examples_are_few_however_many_there_are():
    rows = [(split, f"s{index}", "x", index) for split in (0, 2) for index in range(2000)]
    utterances = corpus(rows)
    speakers = named(check_leaks(utterances))["speaker across splits"]
    assert (speakers.count, len(speakers.examples)) == (2000, 3)
    assert speakers.examples[0] == "s0: 1 in train, 1 in test"
    # Digests are in no order; the examples are the first of the manifest all the same.
    (duplicates,) = check_duplicates(utterances, np.array([5000 - row[3] for row in rows]))
    assert (duplicates.count, len(duplicates.examples)) == (2000, 3)
    assert duplicates.examples[0] == "train 0.wav (x) = test 2000.wav (x)"


@pytest.mark.parametrize(
    ("seconds", "name"), [(4.9, None), (5.1, "imbalance"), (19.9, "imbalance"), (20.1, "strong imbalance")]
)
def test_imbalance_is_of_seconds(seconds, name):
    utterances = corpus([(0, "", "x", 0), (0, "", "y", 1)], seconds=[seconds, 1.0])
    assert set(named(check_classes(utterances, None))) == ({name} if name else set())


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        ({"ara-acm": 3, "ara_acm": 2, "ARA acm": 1}, [["ara-acm", "ara_acm", "ARA acm"]]),
        ({"a ": 1, "a": 1, "b": 1}, [["a", "a "]]),
        ({"cafe\u0301": 1, "café": 2}, [["café", "cafe\u0301"]]),
        ({"ara-acm": 1, "ara-ary": 1, "araacm": 1}, []),
    ],
)
def test_spellings(names, groups):
    assert spellings(names) == groups
