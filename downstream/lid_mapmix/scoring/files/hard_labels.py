"""Files of answers without scores: ML-SUPERB's ``lid.trn``, and S3PRL's SPLIT_predict.txt with SPLIT_truth.txt.

=========== ==================================================
format      a line
=========== ==================================================
lid.trn     true class, predicted class, utterance; tabs between
S3PRL       ``id label``, in each of two files
=========== ==================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from ...utils.files import replace_when_complete
from .rows import check_names, read_lines, unique_ids

PREDICT_ENDING, TRUTH_ENDING = "_predict.txt", "_truth.txt"
_FIELDS = 3


@dataclass(frozen=True, eq=False)
class Answers:
    """The true and the predicted class of N utterances; ids, truth, predictions : (N,) str."""

    ids: np.ndarray
    truth: np.ndarray
    predictions: np.ndarray


def write_trn(path: Path | str, answers: Answers) -> None:
    """Write ML-SUPERB's lid.trn; no name may hold a tab or a line break."""
    rows = list(zip(answers.truth.tolist(), answers.predictions.tolist(), answers.ids.tolist(), strict=True))
    check_names(name for row in rows for name in row)
    with replace_when_complete(path) as temporary:
        temporary.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def read_trn(path: Path | str) -> Answers:
    """Read ML-SUPERB's lid.trn.

    Raises
    ------
    UserError : no such file, a line of other than three fields, an utterance twice.
    """
    rows = [line.split("\t") for line in read_lines(path, "ML-SUPERB's lid.trn")]
    for number, row in enumerate(rows, start=1):
        if len(row) != _FIELDS or not all(field.strip() for field in row):
            raise UserError(
                f"{path}: expected true class, predicted class and utterance, tabs between, as line {number}, "
                f"found {' '.join(row)[:100]!r}. Write it anew."
            )
    truth, predictions, ids = (list(column) for column in zip(*rows, strict=True))
    return Answers(np.array(unique_ids(path, ids)), np.array(truth), np.array(predictions))


def read_s3prl(path: Path | str) -> Answers:
    """Read S3PRL's two files, given either; utterances stand in the order of the predictions.

    An id may hold spaces, a label may not.

    Raises
    ------
    UserError : another name, one of the files is missing, a line without a label, an utterance twice or in one only.
    """
    path = Path(path)
    ending = next((ending for ending in (PREDICT_ENDING, TRUTH_ENDING) if path.name.endswith(ending)), None)
    if ending is None:
        raise UserError(f"{path}: expected a name that ends in {PREDICT_ENDING} or {TRUTH_ENDING}. Rename both files.")
    stem = path.name.removesuffix(ending)
    predictions = _labels(path.with_name(stem + PREDICT_ENDING))
    truth = _labels(path.with_name(stem + TRUTH_ENDING))
    if apart := predictions.keys() ^ truth.keys():
        raise UserError(
            f"{path}: expected the same utterances in {PREDICT_ENDING} and {TRUTH_ENDING}, found {min(apart)} in one."
        )
    ids: Sequence[str] = list(predictions)
    return Answers(np.array(ids), np.array([truth[name] for name in ids]), np.array(list(predictions.values())))


def _labels(path: Path) -> dict[str, str]:
    pairs = [line.rsplit(" ", 1) for line in read_lines(path, "S3PRL's answers, a line 'id label' each")]
    for number, pair in enumerate(pairs, start=1):
        if len(pair) == 1 or not all(pair):
            raise UserError(f"{path}: expected 'id label' in line {number}, found {pair[0][:100]!r}. Evaluate again.")
    unique_ids(path, [name for name, _ in pairs])
    return dict(pairs)
