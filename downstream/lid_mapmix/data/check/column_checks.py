"""Checks of the columns of a corpus: leaks between splits, duplicates, and missing, unbalanced or misspelt classes."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from .. import SPLITS
from ..labels import Labels
from ..manifest.columns import Names
from .findings import Finding, first
from .subject import Utterances
from .thresholds import IMBALANCE_NOTE, IMBALANCE_WARNING

_TRAIN = SPLITS.index("train")
_SEPARATORS = re.compile(r"[\s_\-./]+")


def check_splits(utterances: Utterances) -> Iterator[Finding]:
    """Find missing splits."""
    if "train" not in utterances.manifests:
        yield Finding("no training data", 1, "split")
    if "dev" not in utterances.manifests:
        yield Finding("split missing", 1, "split")


def check_ids(utterances: Utterances) -> Iterator[Finding]:
    """Find ids that occur more than once in a split."""
    examples: list[str] = []
    rows: list[int] = []
    for number, split in enumerate(SPLITS):
        mine = np.flatnonzero(utterances.split == number)
        ids = utterances.ids(mine).get(split, [])
        repeated = {name: count for name, count in Counter(ids).items() if count > 1}
        examples += [f"{split} {name}: {count} rows" for name, count in repeated.items()]
        rows += [row for row, name in zip(mine.tolist(), ids, strict=True) if name in repeated]
    if rows:
        yield Finding("repeated id", len(examples), "id", first(examples), seen_in=np.array(rows))


def numbered(ids: Iterable[str]) -> list[str]:
    """Return ids of which none occurs twice: ``one``, ``one#2``."""
    found: dict[str, None] = {}
    repetitions: Counter[str] = Counter()
    for name in ids:
        one = name
        while one in found:
            repetitions[name] += 1
            one = f"{name}#{repetitions[name] + 1}"
        found[one] = None
    return list(found)


def check_leaks(utterances: Utterances) -> Iterator[Finding]:
    """Find speakers, groups and recordings that occur in several splits."""
    for name in ("speaker", "group"):
        names: Names = getattr(utterances, name)
        absent = np.flatnonzero(names.names == "")
        known = ~np.isin(names.codes, absent)
        yield from _leak(utterances, f"{name} across splits", name, names, known)
    # A file that is whole in one split and in part in another is a leak as well; whole in both, it is a duplicate.
    part = ~(np.isnan(utterances.start) & np.isnan(utterances.end))
    in_parts = np.zeros(len(utterances.file.names), dtype=bool)
    in_parts[utterances.file.codes[part]] = True
    yield from _leak(utterances, "recording across splits", "file", utterances.file, in_parts[utterances.file.codes])


def check_duplicates(utterances: Utterances, content: np.ndarray) -> Iterator[Finding]:
    """Find utterances with the same audio. `content`: (utterances,) numbers, equal for equal audio, or -1."""
    rows = np.flatnonzero(content >= 0)
    _, numbers, counts = np.unique(content[rows], return_inverse=True, return_counts=True)
    rows, numbers = rows[counts[numbers] > 1], numbers[counts[numbers] > 1]
    if len(rows) == 0:
        return
    numbers = np.unique(numbers, return_inverse=True)[1]
    sets = int(numbers.max()) + 1
    split, classes = utterances.split[rows], utterances.classes.codes[rows]
    contradictory = _differs(numbers, classes, sets)
    across = _differs(numbers, split, sets) & ~contradictory

    # All but the first in each split of a set.
    again = np.ones(len(rows), dtype=bool)
    again[np.unique(numbers * len(SPLITS) + split, return_index=True)[1]] = False
    for name, dropped in (
        ("contradictory labels", contradictory[numbers]),
        ("duplicate across splits", across[numbers] & (split < _last_split(numbers, split, sets)[numbers])),
        ("duplicate", again & ~contradictory[numbers]),
    ):
        if dropped.any():
            listed = dict.fromkeys(numbers[dropped].tolist())
            examples = first(_set_example(utterances, rows[numbers == number]) for number in listed)
            yield Finding(name, int(dropped.sum()), examples=examples, rows=rows[dropped])


def check_classes(utterances: Utterances, labels: Labels | None) -> Iterator[Finding]:
    """Find class names that are unknown, not trained, not evaluated or spelt in two ways, and unbalanced classes."""
    used = utterances.class_counts()
    spelt = count_names(utterances, labels)
    groups = spellings(spelt)
    if groups:
        examples = first(" = ".join(f"{name!r} ({spelt[name]})" for name in group) for group in groups)
        yield Finding("spelt in two ways", len(groups), "class", examples)
    # From here on, spellings of one class count as one.
    renamed = renamings(spelt)
    utterances = utterances.rename_classes(renamed)
    used = utterances.class_counts()
    listed = {renamed.get(name, name) for name in (labels.classes if labels else ())}
    if labels is not None:
        yield from _of_classes(utterances, "unknown class", [name for name in used if name not in listed], used)
    if "train" not in utterances.manifests:
        return
    expected = sorted(used.keys() | listed)
    classes = utterances.classes
    present = {
        split: set(classes.names[np.unique(classes.codes[utterances.split == number])].tolist())
        for number, split in enumerate(SPLITS)
    }
    untrained = [name for name in expected if name not in present["train"]]
    yield from _of_classes(utterances, "class not trained", untrained, used)
    if len(expected) - len(untrained) == 1:
        yield Finding("one class", 1, "class", tuple(name for name in expected if name not in untrained))
    missing = [
        f"{name}: none in {split}"
        for split in SPLITS[1:]
        if split in utterances.manifests
        for name in expected
        if name not in present[split]
    ]
    if missing:
        yield Finding("class not evaluated", len(missing), "class", first(missing))
    yield from _imbalance(utterances)


def _imbalance(utterances: Utterances) -> Iterator[Finding]:
    trained = utterances.split == _TRAIN
    seconds = np.bincount(utterances.classes.codes[trained], utterances.seconds[trained], len(utterances.classes.names))
    present = np.flatnonzero(seconds)
    if not len(present):
        return
    ratio = float(seconds[present].max() / seconds[present].min())
    if ratio < IMBALANCE_NOTE:
        return
    ends = present[np.argmax(seconds[present])], present[np.argmin(seconds[present])]
    examples = tuple(f"{utterances.classes.names[number]}: {seconds[number] / 3600:.2f} h" for number in ends)
    name = "imbalance" if ratio < IMBALANCE_WARNING else "strong imbalance"
    yield Finding(name, len(present), "class", (f"{ratio:.0f} times", *examples), figures={"ratio": ratio})


def _of_classes(utterances: Utterances, name: str, classes: list[str], used: dict[str, int]) -> Iterator[Finding]:
    if classes:
        numbers = np.flatnonzero(np.isin(utterances.classes.names, classes))
        examples = first(f"{found} ({used.get(found, 0)} utterances)" for found in sorted(classes))
        rows = np.flatnonzero(np.isin(utterances.classes.codes, numbers))
        yield Finding(name, len(classes), "class", examples, rows)


def _leak(utterances: Utterances, name: str, unit: str, names: Names, known: np.ndarray) -> Iterator[Finding]:
    """Find values of a column that occur in several splits; they are kept in the last of these splits."""
    rows = np.flatnonzero(known)
    codes, split = names.codes[rows], utterances.split[rows]
    table = np.zeros((len(names.names), len(SPLITS)), dtype=np.int64)
    np.add.at(table, (codes, split), 1)
    shared = np.flatnonzero(np.count_nonzero(table, axis=1) > 1)
    if not len(shared):
        return
    last = _last_split(codes, split, len(names.names))
    examples = first(
        f"{names.names[code]}: "
        + ", ".join(f"{table[code, number]} in {SPLITS[number]}" for number in np.flatnonzero(table[code]).tolist())
        for code in shared.tolist()
    )
    seen_in = rows[np.isin(codes, shared)]
    yield Finding(name, len(shared), unit, examples, rows[split < last[codes]], seen_in=seen_in)


def _last_split(codes: np.ndarray, split: np.ndarray, count: int) -> np.ndarray:
    last = np.zeros(count, dtype=np.int64)
    np.maximum.at(last, codes, split)
    return last


def _differs(codes: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Return for each code whether its values differ, (count,) bool."""
    span = int(values.max()) + 1
    return np.bincount(np.unique(codes * span + values) // span, minlength=count) > 1


def _set_example(utterances: Utterances, rows: np.ndarray) -> str:
    return " = ".join(
        f"{utterances.name(row)} ({utterances.classes.names[utterances.classes.codes[row]]})"
        for row in rows[:2].tolist()
    )


def spellings(counts: Mapping[str, int]) -> list[list[str]]:
    """Group two or more names that differ only in case, separators or Unicode form, the most frequent name first."""
    groups: dict[str, list[str]] = {}
    for name in sorted(counts):
        folded = unicodedata.normalize("NFKC", name).casefold().strip()
        groups.setdefault(_SEPARATORS.sub("-", folded).strip("-"), []).append(name)
    return [sorted(names, key=lambda name: (-counts[name], name)) for names in groups.values() if len(names) > 1]


def renamings(counts: Mapping[str, int]) -> dict[str, str]:
    """Return spelling → most frequent spelling of the same name; see :func:`spellings`."""
    return {name: group[0] for group in spellings(counts) for name in group[1:]}


def count_names(utterances: Utterances, labels: Labels | None) -> dict[str, int]:
    """Return class → number of utterances, including the classes that only labels.yaml has."""
    return dict.fromkeys(labels.classes if labels else (), 0) | utterances.class_counts()
