"""Keys: the true class of each utterance, for scores without it, and other known values such as the duration.

======================= ===============================================================================================
format                  rows
======================= ===============================================================================================
manifest, .csv          a header with ``class`` and ``id`` or ``audiopath``; a SPLIT_scores.csv is a key as well
NIST LRE, .tsv          tab-separated, a header with ``segmentid``, ``language_code`` and usually ``data_source`` and
                        ``speech_duration``, as in lre17_eval_segment_keys.tsv
Kaldi, utt2lang         ``utterance language``
======================= ===============================================================================================
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from .rows import NIST_ID, check_rows, parse_seconds, read_csv, read_lines, unique_ids
from .system_output import SystemOutput, check_same_truth, places_in

_WHAT = "a key: a manifest, NIST's segment keys or Kaldi's utt2lang"
_NIST_NAMES = {NIST_ID: "id", "language_code": "class", "data_source": "source", "speech_duration": "seconds"}
_PAIR = 2


def read_key(path: Path | str) -> dict[str, np.ndarray]:
    """Read a key in any of the formats, of N utterances.

    Returns name → (N,) str; always has ``id`` and ``class``. NIST's columns are renamed: source, seconds.

    Raises UserError: no such file, none of the formats, a row of another length, or an utterance twice or without a
    class.
    """
    path = Path(path)
    first, *_ = lines = read_lines(path, _WHAT)
    if first.split("\t")[0] == NIST_ID:
        header, *rows = [line.split("\t") for line in lines]
        header = [_NIST_NAMES.get(name, name) for name in header]
    elif len(first.split()) == _PAIR and "," not in first:
        header, rows = ["id", "class"], [line.split() for line in lines]
        if wrong := next((line for line, row in zip(lines, rows, strict=True) if len(row) != _PAIR), None):
            raise UserError(f"{path}: expected 'utterance language' in each line, found {wrong[:60]!r}. Correct it.")
    else:
        header, *rows = read_csv(path, _WHAT)
        if "id" not in header:
            header = ["id" if name == "audiopath" else name for name in header]
    if not {"id", "class"} <= set(header) or len(set(header)) < len(header):
        raise UserError(
            f"{path}: expected {_WHAT}, with one column of ids, one of classes and no name twice, found the line "
            f"{first[:60]!r}. Use another file."
        )
    check_rows(path, header, rows, "a key")
    columns = {name: np.array(values) for name, values in zip(header, zip(*rows, strict=True), strict=True)}
    unique_ids(path, columns["id"].tolist())
    if (columns["class"] == "").any():
        raise UserError(
            f"{path}: expected a class for each utterance, found none for "
            f"{columns['id'][columns['class'] == ''][0]}. Add it."
        )
    return columns


def join_key(output: SystemOutput, path: Path | str) -> SystemOutput:
    """Add the truth and the columns of a key, a file, to an output; where both have a value, the key's is used.

    Raises UserError: as :func:`read_key`; an utterance is only in one of them, they differ in a true class, or a
    duration is not a number.
    """
    path, key = Path(path), read_key(path)
    places = places_in(output, key.pop("id"), path)
    # Durations are read in the key's order, so that errors name its row.
    seconds = parse_seconds(path, key.pop("seconds").tolist())[places] if "seconds" in key else output.seconds
    columns = {name: values[places] for name, values in key.items()}
    truth = columns.pop("class")
    check_same_truth(output, truth, path)
    return replace(output, truth=truth, seconds=seconds, columns={**output.columns, **columns})
