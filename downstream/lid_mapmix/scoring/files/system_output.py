"""The output of a system: what it says of some utterances, ready to be scored, compared and converted.

reading.py makes it of a file. Here it gets the truth of a key, and several systems the same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from .formats import Format
from .keys import Key
from .rows import parse_seconds


@dataclass(frozen=True, eq=False)
class SystemOutput:
    """What a system says of N utterances, which may be of C classes.

    Attributes
    ----------
    path, format : the file it was read from.
    classes : names of the C classes; in files of answers those that occur, sorted.
    ids : (N,) str.
    predictions : (N,) str, the likeliest class, or the answer.
    truth : (N,) str, or None where the file has none and no key was joined.
    log_likelihoods : (N, C) float64, natural logarithms whose exponentials sum to 1 in each row; None: answers only.
    ratios : (N, C) float64, the log-likelihood ratios that the file gives, which need not be those of any likelihoods;
        None where it gives none.
    seconds : (N,) float64, nominal durations, NaN where unknown.
    columns : name → (N,) str, whatever else is known, such as ``group`` and ``source``; may hold empty strings.
    """

    path: Path
    format: Format
    classes: tuple[str, ...]
    ids: np.ndarray
    predictions: np.ndarray
    truth: np.ndarray | None
    log_likelihoods: np.ndarray | None
    ratios: np.ndarray | None
    seconds: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> np.ndarray | None:
        """Return a column, (N,) str; None where there is none, or nothing in it."""
        values = self.columns.get(name)
        return values if values is not None and (values != "").any() else None


def join_key(output: SystemOutput, key: Key) -> SystemOutput:
    """Return output with the truth and the columns of a key; where both know something, the key's holds.

    Raises
    ------
    UserError : an utterance is in one of them only, they disagree on a true class, or seconds are no numbers.
    """
    places = _places(output, key.ids, key.path)
    columns = {name: values[places] for name, values in key.columns.items()}
    truth = columns.pop("class")
    _check_same_truth(output, truth, key.path)
    seconds = output.seconds
    if "seconds" in columns:
        # Read in the key's order, in which its rows are counted.
        seconds = parse_seconds(key.path, key.columns["seconds"].tolist())[places]
        del columns["seconds"]
    return replace(output, truth=truth, seconds=seconds, columns={**output.columns, **columns})


def align(systems: Sequence[SystemOutput]) -> list[SystemOutput]:
    """Return the output of several systems in the first one's order of utterances, with the same classes.

    The truth, seconds and columns of all are what any of them knows, the first one before the others. The classes are
    those of the first system with scores, in its order; without any, all that occur in the answers.

    Raises
    ------
    UserError : an utterance or a class is in one of them only, or they disagree on a true class.
    """
    first, *others = systems
    ordered = [first, *(_take(other, _places(first, other.ids, other.path)) for other in others)]
    known = next((one for one in ordered if one.truth is not None), None)
    if known is not None and known.truth is not None:
        for one in ordered:
            _check_same_truth(one, known.truth, known.path)
    names = dict.fromkeys(name for one in ordered for name in one.columns)
    columns = {
        name: next((one.columns[name] for one in ordered if one.column(name) is not None), None) for name in names
    }
    seconds = next((one.seconds for one in ordered if not np.isnan(one.seconds).all()), first.seconds)
    reference = next((one for one in ordered if one.log_likelihoods is not None), None)
    classes = reference.classes if reference else tuple(sorted({name for one in ordered for name in one.classes}))
    return [
        replace(
            reorder_classes(one, classes, (reference or first).path),
            truth=None if known is None else known.truth,
            seconds=seconds,
            columns={name: values for name, values in columns.items() if values is not None},
        )
        for one in ordered
    ]


def reorder_classes(output: SystemOutput, classes: Sequence[str], origin: Path | str) -> SystemOutput:
    """Return output with its classes in the order of `classes`, those of `origin`; a UserError where they differ."""
    unknown, absent = set(output.classes) - set(classes), set(classes) - set(output.classes)
    # In a file of answers are only the classes that occur.
    if unknown or (absent and output.log_likelihoods is not None):
        where, name = (output.path, min(unknown)) if unknown else (origin, min(absent))
        raise UserError(
            f"{output.path}: expected the {len(classes)} classes of {origin}, found {name} in {where} only "
            f"({len(unknown) + len(absent)} such). Give files of the same classes."
        )
    if output.log_likelihoods is None:
        return replace(output, classes=tuple(classes))
    order = [output.classes.index(name) for name in classes]
    return replace(
        output,
        classes=tuple(classes),
        log_likelihoods=output.log_likelihoods[:, order],
        ratios=None if output.ratios is None else output.ratios[:, order],
    )


def class_numbers(output: SystemOutput, names: np.ndarray) -> np.ndarray:
    """Return the number of each class name, (N,) int64; a UserError for one the system does not know."""
    number_of = {name: number for number, name in enumerate(output.classes)}
    known = np.array([name in number_of for name in names.tolist()])
    if not known.all():
        raise UserError(
            f"{output.path}: expected true classes among the {len(output.classes)} that are scored, found "
            f"{names[~known][0]} of {output.ids[~known][0]} ({np.count_nonzero(~known)} such). Take them out, or score "
            "all classes."
        )
    return np.array([number_of[name] for name in names.tolist()], dtype=np.int64)


def _take(output: SystemOutput, places: np.ndarray) -> SystemOutput:
    return replace(
        output,
        ids=output.ids[places],
        predictions=output.predictions[places],
        truth=None if output.truth is None else output.truth[places],
        log_likelihoods=None if output.log_likelihoods is None else output.log_likelihoods[places],
        ratios=None if output.ratios is None else output.ratios[places],
        seconds=output.seconds[places],
        columns={name: values[places] for name, values in output.columns.items()},
    )


def _places(output: SystemOutput, ids: np.ndarray, origin: Path) -> np.ndarray:
    """Return where in ids each utterance of the output is, (N,) int64; both must have the same."""
    place_of = {name: place for place, name in enumerate(ids.tolist())}
    known = set(output.ids.tolist())
    for path, other, names in (
        (output.path, origin, [name for name in output.ids.tolist() if name not in place_of]),
        (origin, output.path, [name for name in place_of if name not in known]),
    ):
        if names:
            raise UserError(
                f"{other}: expected the utterances of {path}, found {len(names)} missing, the first {names[0]}. "
                "Give files of the same utterances."
            )
    return np.array([place_of[name] for name in output.ids.tolist()], dtype=np.int64)


def _check_same_truth(output: SystemOutput, truth: np.ndarray, origin: Path) -> None:
    if output.truth is None:
        return
    differs = output.truth != truth
    if differs.any():
        place = int(differs.argmax())
        raise UserError(
            f"{output.path}: expected the true classes of {origin}, found {output.truth[place]} in place of "
            f"{truth[place]} for {output.ids[place]} ({np.count_nonzero(differs)} such). Correct one of them."
        )
