"""The score files of a run: SPLIT_scores.csv and SPLIT_metrics.json.

SPLIT_scores.csv has one row per utterance. The first seven columns are fixed, the others are the classes in the order
of the model's outputs, so a class may have any name.

============== ======================================================================
column         meaning
============== ======================================================================
id             of the utterance, as in the manifest
class          the true class
prediction     the most probable class
seconds        nominal duration
group          same for all utterances cut from one recording; may be empty
source         data source of the recording; may be empty
speaker        of the utterance; may be empty; absent from files of earlier versions
one per class  natural logarithm of the class's probability, 9 significant digits
============== ======================================================================
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import UserError
from ...utils.files import write_csv, write_text
from ..choices import FileFormat, Values
from .rows import Opening, check_names, check_rows, parse_seconds, read_csv, unique_ids
from .system_output import Format, SystemOutput, class_numbers

_SPEAKER = "speaker"
_FIRST_COLUMNS = ("id", "class", "prediction", "seconds", "group", "source")
FIXED_COLUMNS = (*_FIRST_COLUMNS, _SPEAKER)
_REMEDY = "Evaluate again to rewrite it."


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """The content of a scores file, for N utterances and C classes."""

    path: Path  # the file it was read from
    classes: tuple[str, ...]  # names of the C classes, in the order of the model's outputs
    # ids, truth, predictions, group, source, speaker: (N,) str; truth and predictions are class names.
    ids: np.ndarray
    truth: np.ndarray
    predictions: np.ndarray
    seconds: np.ndarray  # (N,) float64, NaN if unknown
    group: np.ndarray
    source: np.ndarray
    speaker: np.ndarray
    log_probabilities: np.ndarray  # (N, C) float64, natural logarithms

    @property
    def truth_indices(self) -> np.ndarray:
        """The number of each true class, (N,) int64."""
        number_of = {name: number for number, name in enumerate(self.classes)}
        return np.array([number_of[name] for name in self.truth.tolist()], dtype=np.int64)

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities, (N, C) float64."""
        return np.exp(self.log_probabilities)


def write_scores(
    path: Path | str,
    *,
    ids: Sequence[str] | np.ndarray,
    classes: Sequence[str],
    truth: Sequence[str] | np.ndarray,
    log_probabilities: np.ndarray,
    seconds: np.ndarray,
    group: Sequence[str] | np.ndarray,
    source: Sequence[str] | np.ndarray,
    speaker: Sequence[str] | np.ndarray | None = None,
) -> None:
    """Write a scores file, complete or not at all; arguments are as in :class:`ScoreFile`.

    Log-probabilities may be minus infinity, but not NaN; groups, sources and speakers may be empty strings.
    """
    log_probabilities = np.asarray(log_probabilities)
    expected = (len(ids), len(classes))
    speaker = [""] * len(ids) if speaker is None else speaker
    named = {"truth": truth, "seconds": seconds, "group": group, "source": source, _SPEAKER: speaker}
    lengths = {name: len(column) for name, column in named.items()}
    if log_probabilities.shape != expected or set(lengths.values()) != {len(ids)}:
        raise ValueError(
            f"expected log-probabilities {expected} and columns of {len(ids)}, found {log_probabilities.shape} and "
            + ", ".join(f"{name} {length}" for name, length in lengths.items())
        )
    if np.isnan(log_probabilities).any():
        raise ValueError("expected log-probabilities, found NaN")
    if unknown := set(map(str, truth)) - set(classes):
        raise ValueError(f"expected true classes among {', '.join(classes)}, found {min(unknown)}")
    predictions = [classes[number] for number in log_probabilities.argmax(axis=1)]
    durations = ["" if np.isnan(value) else f"{value:.9g}" for value in np.asarray(seconds, dtype=np.float64)]
    rows = zip(ids, truth, predictions, durations, group, source, speaker, log_probabilities, strict=True)
    cells = ([*fixed, *(f"{value:.9g}" for value in row.tolist())] for *fixed, row in rows)
    write_csv(path, [*FIXED_COLUMNS, *classes], cells)


def read_scores(path: Path | str) -> ScoreFile:
    """Read a scores file.

    Raises UserError: no such file, another header, no utterance, an utterance twice, a value that is not a number, or
    an unknown class.
    """
    path = Path(path)
    header, *rows = read_csv(path, "a scores file")
    fixed = len(FIXED_COLUMNS)
    if tuple(header[:fixed]) != FIXED_COLUMNS:
        fixed = len(_FIRST_COLUMNS)
    classes = tuple(header[fixed:])
    if tuple(header[:fixed]) != FIXED_COLUMNS[:fixed] or not classes or len(set(classes)) < len(classes):
        raise UserError(
            f"{path}: expected the columns {','.join(FIXED_COLUMNS)} and then one per class, "
            f"found {','.join(header)[:200]}. {_REMEDY}"
        )
    check_rows(path, header, rows, "scores", _REMEDY)
    ids, truth, predictions, seconds, group, source, *more = zip(*(row[:fixed] for row in rows), strict=True)
    if unknown := (set(truth) | set(predictions)) - set(classes):
        raise UserError(f"{path}: expected the classes {', '.join(classes)}, found {min(unknown)}. {_REMEDY}")
    try:
        log_probabilities = np.array([row[fixed:] for row in rows]).astype(np.float64)
    except ValueError as error:
        raise UserError(f"{path}: expected numbers, found other text: {error}. {_REMEDY}") from None
    if np.isnan(log_probabilities).any() or np.isneginf(log_probabilities).all(axis=1).any():
        raise UserError(f"{path}: expected log-probabilities, found NaN, or a row without a possible class. {_REMEDY}")
    return ScoreFile(
        path=path,
        classes=classes,
        ids=np.array(unique_ids(path, list(ids))),
        truth=np.array(truth),
        predictions=np.array(predictions),
        seconds=parse_seconds(path, seconds),
        group=np.array(group),
        source=np.array(source),
        speaker=np.array(more[0] if more else [""] * len(rows)),
        log_probabilities=log_probabilities,
    )


class ScoresCsv(Format):
    """SPLIT_scores.csv."""

    key = FileFormat.SCORES
    name = "SPLIT_scores.csv"

    def recognise(self, opening: Opening) -> bool:
        """Return whether the first columns are the fixed ones."""
        return tuple(opening.columns[: len(_FIRST_COLUMNS)]) == _FIRST_COLUMNS

    def read(self, path: Path, values: Values) -> SystemOutput:
        """Read a scores file; see `read_scores`."""
        found = read_scores(path)
        columns = {"group": found.group, "source": found.source, _SPEAKER: found.speaker}
        scores, truth, seconds = found.log_probabilities, found.truth, found.seconds
        return self.scored(path, found.classes, found.ids, scores, truth=truth, seconds=seconds, columns=columns)

    def write(self, path: Path, output: SystemOutput) -> None:
        """Write the log-likelihoods, which are log-probabilities under equal priors."""
        truth, empty = np.asarray(output.truth), np.full(len(output), "")
        class_numbers(output, truth)  # a true class that has no scores is refused
        check_names((*output.ids.tolist(), *output.classes), forbidden="\n\r")
        write_scores(
            path,
            ids=output.ids,
            classes=output.classes,
            truth=truth,
            log_probabilities=np.asarray(output.log_likelihoods),
            seconds=output.seconds,
            group=output.columns.get("group", empty),
            source=output.columns.get("source", empty),
            speaker=output.columns.get(_SPEAKER, empty),
        )


def write_metrics(path: Path | str, metrics: Mapping[str, Any]) -> None:
    """Write the result of `scorecard.metrics_with_slices` as JSON, complete or not at all."""
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")
