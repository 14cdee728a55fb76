"""Class names that are meant to be one: spelt in two ways, or one slip apart."""

import re
import unicodedata
from collections.abc import Collection, Mapping
from itertools import combinations

from .thresholds import MOST_NAMES, SPELT_LETTERS, SPELT_SHARE

_SEPARATORS = re.compile(r"[\s_\-./]+")
# Names that differ in separators only are spellings; in digits only, numbers.
_NO_SLIPS = (_SEPARATORS, re.compile(r"\d+"))


def spellings(counts: Mapping[str, int]) -> list[list[str]]:
    """Group names that differ in case, separators, spaces or Unicode form only.

    Parameters
    ----------
    counts : name → its utterances.

    Returns
    -------
    the groups of two or more, each with the commonest name first.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(counts):
        folded = unicodedata.normalize("NFKC", name).casefold().strip()
        groups.setdefault(_SEPARATORS.sub("-", folded).strip("-"), []).append(name)
    return [sorted(names, key=lambda name: (-counts[name], name)) for names in groups.values() if len(names) > 1]


def near_names(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return pairs of names that are one slip apart, the rarer one first.

    Codes of languages are one letter apart by design (ara-ary, ara-arz). So the words in which two names differ must
    be long, or one name a hundred times rarer than the other. What differs in digits only is numbered. Of very many
    names none are compared.
    """
    pairs = []
    for one, other in _alike(counts):
        if not one_slip_apart(one, other) or any(mark.sub("", one) == mark.sub("", other) for mark in _NO_SLIPS):
            continue
        rare, common = sorted((one, other), key=lambda name: (counts[name], name))
        if _differing_letters(one, other) >= SPELT_LETTERS or counts[rare] < SPELT_SHARE * counts[common]:
            pairs.append((rare, common))
    return pairs


def _alike(names: Collection[str]) -> list[tuple[str, str]]:
    """Return, in order, the pairs of names that are one slip apart, and a few more, without a look at all pairs.

    Two names that are one slip apart become the same when a letter is left out of the longer, or of each.
    """
    if len(names) > MOST_NAMES:
        return []
    by_rest: dict[str, list[str]] = {}
    for name in sorted(names):
        for rest in {name, *(name[:place] + name[place + 1 :] for place in range(len(name)))}:
            by_rest.setdefault(rest, []).append(name)
    return sorted({pair for alike in by_rest.values() for pair in combinations(alike, 2)})


def one_slip_apart(one: str, other: str) -> bool:
    """Say whether one letter too many, too few or wrong, or two neighbours swapped, make one word into the other."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    same = next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    rest, others = one[same:], other[same:]
    if len(rest) != len(others):
        return rest[1:] == others or rest == others[1:]
    return rest[1:] == others[1:] or (rest[1::-1] == others[:2] and rest[2:] == others[2:])


def _differing_letters(one: str, other: str) -> int:
    words, others = (_SEPARATORS.split(name) for name in (one, other))
    if len(words) != len(others):
        return 0
    return max((min(len(a), len(b)) for a, b in zip(words, others, strict=True) if a != b), default=0)
