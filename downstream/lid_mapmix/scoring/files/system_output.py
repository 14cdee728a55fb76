"""The output of a system for a set of utterances, to be scored, compared and converted.

A `Format` reads it from a file and writes it to one. keys.py adds the truth; `align` brings several systems into one
order.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...utils.errors import UserError
from ..choices import FileFormat, Values
from ..detection import log_likelihood_ratios, log_likelihoods_from_ratios
from ..softmax import log_softmax
from .rows import Opening

_BY_UTTERANCE = ("ids", "predictions", "truth", "log_likelihoods", "ratios", "seconds")


@dataclass(frozen=True, eq=False)
class SystemOutput:
    """Predictions, and usually scores, of a system for N utterances and C classes."""

    # path, format: the file it was read from.
    path: Path
    format: "Format"
    classes: tuple[str, ...]  # names of the C classes; in files of predictions the classes that occur, sorted
    ids: np.ndarray  # (N,) str
    predictions: np.ndarray  # (N,) str, the most probable class
    seconds: np.ndarray  # (N,) float64, nominal durations, NaN if unknown
    truth: np.ndarray | None = None  # (N,) str, or None if the file has none and no key was joined
    # (N, C) float64, natural logarithms, normalised in each row; None for predictions only.
    log_likelihoods: np.ndarray | None = None
    # (N, C) float64, the log-likelihood ratios of the file, which may be inconsistent with any likelihoods; None if it
    # has none.
    ratios: np.ndarray | None = None
    # Name → (N,) str, other values such as ``group`` and ``source``; may have empty strings.
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_ratios_of_its_own(self) -> bool:
        """Whether the file's ratios differ from those of the likelihoods computed from them."""
        if self.ratios is None or self.log_likelihoods is None:
            return False
        # Rounded digits make no difference to a decision.
        return not np.allclose(log_likelihood_ratios(self.log_likelihoods), self.ratios, rtol=1e-3, atol=1e-3)

    def column(self, name: str) -> np.ndarray | None:
        """Return a column, (N,) str; None if it is absent or empty."""
        values = self.columns.get(name)
        return values if values is not None and (values != "").any() else None

    def with_likelihoods(self, log_likelihoods: np.ndarray) -> "SystemOutput":
        """Return the output with other log-likelihoods, (N, C) float64, and their predictions."""
        predictions = np.array(self.classes)[log_likelihoods.argmax(axis=1)]
        return replace(self, log_likelihoods=log_likelihoods, ratios=None, predictions=predictions)


class Format(ABC):
    """A format of scores or predictions."""

    key: ClassVar[FileFormat]  # the flag value
    name: ClassVar[str]  # in messages
    # has_truth, has_scores: whether it has the true classes, and scores.
    has_truth: ClassVar[bool] = True
    has_scores: ClassVar[bool] = True

    @abstractmethod
    def recognise(self, opening: Opening) -> bool:
        """Return whether a file is in this format."""

    @abstractmethod
    def read(self, path: Path, values: Values) -> SystemOutput:
        """Read a file; a UserError if it is absent or damaged, or an utterance has no possible class.

        `values`: the kind of scores in Kaldi's format, which the file itself does not say.
        """

    @abstractmethod
    def write(self, path: Path, output: SystemOutput) -> None:
        """Write the output, complete or not at all; a UserError for a name or class that the format cannot hold."""

    def scored(
        self,
        path: Path,
        classes: Sequence[str],
        ids: np.ndarray,
        values: np.ndarray,
        *,
        truth: np.ndarray | None = None,
        seconds: np.ndarray | None = None,
        columns: Mapping[str, np.ndarray] | None = None,
    ) -> SystemOutput:
        """Return the output of log-likelihoods (N, C), unnormalised; see `SystemOutput` for the rest.

        Raises UserError: plus infinity, or a row without a possible class.
        """
        finite = np.isfinite(values.max(axis=1))
        if not finite.all():
            raise UserError(
                f"{path}: expected scores below infinity, at least one finite per utterance, found others for "
                f"{ids[~finite][0]} ({np.count_nonzero(~finite)} such). Write the file again."
            )
        log_likelihoods = log_softmax(values)
        return SystemOutput(
            path=path,
            format=self,
            classes=tuple(classes),
            ids=ids,
            predictions=np.array(classes)[log_likelihoods.argmax(axis=1)],
            seconds=np.full(len(ids), np.nan) if seconds is None else seconds,
            truth=truth,
            log_likelihoods=log_likelihoods,
            columns=columns or {},
        )

    def scored_by_ratios(self, path: Path, classes: Sequence[str], ids: np.ndarray, ratios: np.ndarray) -> SystemOutput:
        """Return the output of log-likelihood ratios (N, C); a UserError for one class, or no possible class."""
        if len(classes) <= 1:
            raise UserError(
                f"{path}: expected log-likelihood ratios of at least 2 languages, found 1. Score it with others."
            )
        impossible = np.isneginf(ratios).all(axis=1)
        if impossible.any():
            raise UserError(
                f"{path}: expected a ratio above minus infinity for each utterance, found none for "
                f"{ids[impossible][0]} ({np.count_nonzero(impossible)} such). Write the file again."
            )
        return replace(self.scored(path, classes, ids, log_likelihoods_from_ratios(ratios)), ratios=ratios)


def align(systems: Sequence[SystemOutput]) -> list[SystemOutput]:
    """Bring the output of several systems into the first one's order of utterances, with the same classes.

    Truth, seconds and columns are taken from the first system that has them. The classes are those of the first system
    with scores, in its order; if there is none, all classes that occur in the predictions.

    Raises UserError: an utterance or a class is only in one of them, or they differ in a true class.
    """
    first, *others = systems
    ordered = [first, *(_take(other, places_in(first, other.ids, other.path)) for other in others)]
    known = next((one for one in ordered if one.truth is not None), None)
    if known is not None and known.truth is not None:
        for one in ordered:
            check_same_truth(one, known.truth, known.path)
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
    """Return output with its classes in the order of `classes`, those of `origin`; a UserError if they differ."""
    unknown, absent = set(output.classes) - set(classes), set(classes) - set(output.classes)
    # A file of predictions has only the classes that occur.
    if unknown or (absent and output.log_likelihoods is not None):
        where, name = (output.path, min(unknown)) if unknown else (origin, min(absent))
        raise UserError(
            f"{output.path}: expected the {len(classes)} classes of {origin}, found {name} only in {where} "
            f"({len(unknown) + len(absent)} such). Use files with the same classes."
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
    """Return the number of each class name, (N,) int64; a UserError for one that the system does not have."""
    number_of = {name: number for number, name in enumerate(output.classes)}
    numbers = np.array([number_of.get(name, -1) for name in names.tolist()], dtype=np.int64)
    known = numbers >= 0
    if not known.all():
        raise UserError(
            f"{output.path}: expected true classes among the {len(output.classes)} with scores, found "
            f"{names[~known][0]} of {output.ids[~known][0]} ({np.count_nonzero(~known)} such). Remove them, or score "
            "all classes."
        )
    return numbers


def places_in(output: SystemOutput, ids: np.ndarray, origin: Path) -> np.ndarray:
    """Return the index in ids of each utterance of the output, (N,) int64; both must have the same utterances."""
    place_of = {name: place for place, name in enumerate(ids.tolist())}
    known = set(output.ids.tolist())
    for path, other, names in (
        (output.path, origin, [name for name in output.ids.tolist() if name not in place_of]),
        (origin, output.path, [name for name in place_of if name not in known]),
    ):
        if names:
            raise UserError(
                f"{other}: expected the utterances of {path}, found {len(names)} missing, the first {names[0]}. "
                "Use files with the same utterances."
            )
    return np.array([place_of[name] for name in output.ids.tolist()], dtype=np.int64)


def check_same_truth(output: SystemOutput, truth: np.ndarray, origin: Path) -> None:
    """Check that an output's truth, if it has one, is `truth`, (N,) str, of the file `origin`; else a UserError."""
    if output.truth is None:
        return
    differs = output.truth != truth
    if differs.any():
        place = int(differs.argmax())
        raise UserError(
            f"{output.path}: expected the true classes of {origin}, found {output.truth[place]} instead of "
            f"{truth[place]} for {output.ids[place]} ({np.count_nonzero(differs)} such). Correct one of the files."
        )


def _take(output: SystemOutput, places: np.ndarray) -> SystemOutput:
    known = {name: getattr(output, name) for name in _BY_UTTERANCE}
    taken: dict[str, Any] = {name: values[places] for name, values in known.items() if values is not None}
    columns = {name: values[places] for name, values in output.columns.items()}
    return replace(output, **taken, columns=columns)
