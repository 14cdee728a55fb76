"""The divisions that all corpora share: no unit in two splits, no split of a class empty."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.data import SPLITS
from lid_mapmix.data.prepare.steps.splits import join_units, split_units
from lid_mapmix.utils.errors import UserError

NAMES = st.sampled_from(["", "p", "q", "r", "s", "t", "u", "v"])


def components(columns: list[list[str]]) -> set[frozenset[int]]:
    """Give recordings that share a value the lower of their numbers, until nothing changes."""
    count = len(columns[0])
    numbers = list(range(count))
    for _ in range(count):
        for first, second in itertools.combinations(range(count), 2):
            if any(column[first] == column[second] != "" for column in columns):
                numbers[first] = numbers[second] = min(numbers[first], numbers[second])
    return {frozenset(place for place in range(count) if numbers[place] == number) for number in numbers}


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=12))
def test_joined_units_are_connected(rows):
    columns = [list(column) for column in zip(*rows, strict=True)]
    found = defaultdict(set)
    for number, unit in enumerate(join_units(*(np.array(column, dtype=object) for column in columns))):
        found[int(unit)].add(number)
    assert set(map(frozenset, found.values())) == components(columns)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.floats(0.5, 60), min_size=3, max_size=30), min_size=1, max_size=5),
    st.floats(0.05, 0.45),
    st.floats(0.05, 0.45),
    st.integers(0, 5),
)
def test_no_split_of_a_class_is_ever_empty(durations, dev_fraction, test_fraction, seed):
    classes = np.repeat([f"class{number}" for number in range(len(durations))], list(map(len, durations)))
    units = np.array([f"unit{number}" for number in range(len(classes))])
    splits = split_units(
        units,
        classes,
        np.concatenate(durations),
        dev_fraction=dev_fraction,
        test_fraction=test_fraction,
        seed=seed,
        unit_name="u",
    )
    for name in set(classes):
        assert set(splits[classes == name]) == set(SPLITS)


def test_speakers_of_several_classes_stay_whole():
    generator = np.random.default_rng(0)
    classes = np.repeat(["a", "b", "c"], 300)
    units = np.array([f"speaker{number}" for number in generator.integers(0, 40, 900)])
    splits = split_units(units, classes, np.ones(900), dev_fraction=0.2, test_fraction=0.2, seed=0, unit_name="speaker")
    for unit in set(units):
        assert len(set(splits[units == unit])) == 1
    for name in "abc":
        for split, share in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
            assert np.mean(splits[classes == name] == split) == pytest.approx(share, abs=0.05)


def divide(speakers_of: dict[str, str]) -> dict[str, str]:
    classes = np.array([name for name, speakers in speakers_of.items() for _ in speakers])
    units = np.array([speaker for speakers in speakers_of.values() for speaker in speakers])
    seconds = np.arange(1.0, 1 + len(units))
    splits = split_units(units, classes, seconds, unit_name="speaker", dev_fraction=0.3, test_fraction=0.3, seed=0)
    return dict(zip(map(str, units), map(str, splits), strict=True))


def test_two_classes_with_the_same_three_speakers_can_be_divided():
    assert sorted(divide({"a": "123", "b": "321"}).values()) == sorted(SPLITS)


def test_speakers_that_cannot_be_divided():
    with pytest.raises(UserError, match=r"class b: expected at least 3 speakers, .*, found 2 speakers"):
        divide({"a": "123", "b": "12"})
    # Any two of four speakers meet in some class of three: all four would need a split of their own.
    with pytest.raises(UserError, match="shares speakers with other classes"):
        divide({"a": "123", "b": "124", "c": "134", "d": "234"})
