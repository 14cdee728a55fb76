"""Class names that are meant to be one."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.data.check.spelling import near_names, one_slip_apart, spellings

WORDS = st.text("abc", max_size=6)


def distance(one, other):
    """Return the optimal string alignment distance: insertions, deletions, substitutions, swaps of neighbours."""
    table = {(i, 0): i for i in range(len(one) + 1)} | {(0, j): j for j in range(len(other) + 1)}
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            table[i, j] = min(
                table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (one[i - 1] != other[j - 1])
            )
            if i > 1 and j > 1 and one[i - 2 : i] == other[j - 2 : j][::-1]:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(one), len(other)]


@given(WORDS, WORDS)
def test_one_slip_is_a_distance_of_one(one, other):
    assert one_slip_apart(one, other) == (distance(one, other) == 1)


@given(st.text("abcd", min_size=1, max_size=6), st.data())
def test_a_slip_is_seen(word, data):
    at = data.draw(st.integers(0, len(word) - 1))
    for other in (word[:at] + word[at + 1 :], word[:at] + "x" + word[at:], word[:at] + "x" + word[at + 1 :]):
        assert one_slip_apart(word, other)


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


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        # Languages, by design.
        ({"ara-ary": 10, "ara-arz": 9, "ara-acm": 10}, []),
        ({"region1": 10, "region2": 10, "region12": 10}, []),
        ({"ara-acm": 500, "ara-acn": 4}, [("ara-acn", "ara-acm")]),
        ({"ara-acm": 500, "ara-acn": 5}, []),
        ({"eng-scottish": 5, "eng-scotish": 6}, [("eng-scottish", "eng-scotish")]),
        ({"english": 5, "englsih": 1}, [("englsih", "english")]),
        ({"araacm": 5, "ara-acm": 1}, []),
    ],
)
def test_near_names(names, pairs):
    assert near_names(names) == pairs


@given(st.sets(WORDS, max_size=12))
def test_all_pairs_that_are_a_slip_apart_are_found(words):
    names = sorted(f"speech{word}" for word in words)
    found = near_names(dict.fromkeys(names, 1))
    assert sorted(found) == [pair for pair in combinations(names, 2) if distance(*pair) == 1]


def test_many_classes_take_no_look_at_all_pairs():
    """Three thousand took most of a minute, and a column of the wrong kind for ever."""
    names = {f"class{number * 7919:x}": 10 for number in range(9_990)}
    assert ("speeech", "speech") in near_names({**names, "speech": 10, "speeech": 1})
    assert near_names({**names, **{f"{number}": 1 for number in range(20)}}) == []
