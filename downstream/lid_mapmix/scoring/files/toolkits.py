"""The formats of other toolkits: NIST, Kaldi and OLR, ML-SUPERB; S3PRL's files of predictions, which are written only.

docs/scores.md has the form of a line of each.

Scores have 9 significant digits. Ids and class names may have no white space in Kaldi's lines, and no tab in NIST's
tables and lid.trn.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from ..choices import FileFormat, Values
from ..detection import log_likelihood_ratios
from .rows import NIST_ID, Opening, check_names, check_rows, parse_number, read_lines, unique_ids, write_lines
from .system_output import Format, SystemOutput

_PAIR, _TRIPLE = 2, 3


class NistTable(Format):
    """The score table of a NIST Language Recognition Evaluation."""

    key = FileFormat.NIST
    name = "NIST score table"
    has_truth = False

    def recognise(self, opening: Opening) -> bool:
        """Return whether the first column is NIST's."""
        return opening.line.split("\t")[0] == NIST_ID

    def read(self, path: Path, values: Values) -> SystemOutput:
        """Read a table; see `Format.read`."""
        lines = read_lines(path, "a NIST score table")
        header, *rows = [line.split("\t") for line in lines]
        if header[0] != NIST_ID or len(header) == 1 or len(set(header)) < len(header):
            raise UserError(
                f"{path}: expected a tab-separated header of {NIST_ID} and one column per language, found "
                f"{lines[0][:100]!r}. Write it as a NIST score table."
            )
        check_rows(path, header, rows, "scores")
        ratios = [[parse_number(path, number, cell) for cell in row[1:]] for number, row in enumerate(rows, start=2)]
        ids = unique_ids(path, [row[0] for row in rows])
        return self.scored_by_ratios(path, header[1:], np.array(ids), np.array(ratios))

    def write(self, path: Path, output: SystemOutput) -> None:
        """Write the ratios that were read, or else those of the log-likelihoods."""
        if len(output.classes) < _PAIR:
            raise UserError(f"{output.path}: expected at least 2 classes, as ratios need, found 1. Use another format.")
        ratios = log_likelihood_ratios(np.asarray(output.log_likelihoods)) if output.ratios is None else output.ratios
        _check_table(output, ratios, one_word=False)
        rows = zip(output.ids.tolist(), ratios.tolist(), strict=True)
        lines = ["\t".join([name, *(f"{value:.9g}" for value in row)]) for name, row in rows]
        write_lines(path, ["\t".join([NIST_ID, *output.classes]), *lines])


class KaldiLines(Format):
    """Lines of scores, as Kaldi and the tools of the Oriental Language Recognition challenge read them."""

    key = FileFormat.KALDI
    name = "utterance language score"
    has_truth = False

    def recognise(self, opening: Opening) -> bool:
        """Return whether a line is two words and a number.

        A tab-separated lid.trn with numbers as utterance names looks the same; a file named .trn is not in this format.
        """
        words = opening.line.split()
        return len(words) == _TRIPLE and _is_number(words[2]) and opening.path.suffix != ".trn"

    def read(self, path: Path, values: Values) -> SystemOutput:
        """Read lines; utterances and classes keep the order of their first occurrence. See `Format.read`."""
        classes: dict[str, None] = {}
        scores: dict[str, dict[str, float]] = {}
        for number, line in enumerate(read_lines(path, "scores"), start=1):
            words = line.split()
            if len(words) != _TRIPLE:
                raise UserError(
                    f"{path}: expected 'utterance language score' in line {number}, found {line[:100]!r}. "
                    "Write the file again."
                )
            name, language, score = words
            row = scores.setdefault(name, {})
            if language in row:
                raise UserError(f"{path}: expected one score of {name} for {language}, found two. Remove one.")
            row[language] = parse_number(path, number, score)
            classes[language] = None
        for name, row in scores.items():
            if len(row) < len(classes):
                raise UserError(
                    f"{path}: expected a score of every utterance for every language, found none of {name} for "
                    f"{next(language for language in classes if language not in row)}. Write the file again."
                )
        table = np.array([[row[language] for language in classes] for row in scores.values()])
        make = self.scored if values is Values.LIKELIHOODS else self.scored_by_ratios
        return make(path, tuple(classes), np.array(list(scores)), table)

    def write(self, path: Path, output: SystemOutput) -> None:
        """Write the log-likelihoods."""
        values = np.asarray(output.log_likelihoods)
        _check_table(output, values, one_word=True)
        pairs = itertools.product(output.ids.tolist(), output.classes)
        rows = zip(pairs, values.ravel().tolist(), strict=True)
        write_lines(path, (f"{name} {language} {value:.9g}" for (name, language), value in rows))


class LidTrn(Format):
    """The predictions that ML-SUPERB's scorer reads."""

    key = FileFormat.TRN
    name = "lid.trn"
    has_scores = False

    def recognise(self, opening: Opening) -> bool:
        """Return whether a line is three tab-separated fields."""
        fields = opening.line.split("\t")
        return len(fields) == _TRIPLE and all(fields)

    def read(self, path: Path, values: Values) -> SystemOutput:
        """Read lines; see `Format.read`."""
        rows = [line.split("\t") for line in read_lines(path, "ML-SUPERB's lid.trn")]
        for number, row in enumerate(rows, start=1):
            if len(row) != _TRIPLE or not all(field.strip() for field in row):
                raise UserError(
                    f"{path}: expected true class, predicted class and utterance, tab-separated, in line {number}, "
                    f"found {' '.join(row)[:100]!r}. Write the file again."
                )
        unique_ids(path, [row[2] for row in rows])
        truth, predictions, ids = np.array(rows).T
        classes = tuple(sorted({*truth.tolist(), *predictions.tolist()}))
        return SystemOutput(path, self, classes, ids, predictions, np.full(len(ids), np.nan), truth)

    def write(self, path: Path, output: SystemOutput) -> None:
        """Write the predictions; no name may have a tab or a line break."""
        columns = np.asarray(output.truth), output.predictions, output.ids
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        check_names(name for row in rows for name in row)
        write_lines(path, map("\t".join, rows))


def write_s3prl_predictions(
    expdir: Path | str,
    split: str,
    ids: Sequence[str] | np.ndarray,
    predictions: Sequence[str] | np.ndarray,
    truth: Sequence[str] | np.ndarray,
) -> None:
    """Write S3PRL's two files, ``SPLIT_predict.txt`` and ``SPLIT_truth.txt``, one line ``id label`` per utterance.

    White space in a class name is written as ``_``, because a line ends with its label.

    `split`: for example ``"dev"``. `ids`, `predictions`, `truth`: (N,) str; the latter two are class names.
    """
    words = _words({*map(str, predictions), *map(str, truth)})
    for name, labels in (("predict", predictions), ("truth", truth)):
        lines = [f"{utterance} {words[str(label)]}" for utterance, label in zip(ids, labels, strict=True)]
        write_lines(Path(expdir) / f"{split}_{name}.txt", lines)


def _words(names: set[str]) -> dict[str, str]:
    """Return names without white space, which differ where the names do."""
    words = {name: name for name in names if name.split() == [name]}
    for name in sorted(names - words.keys()):
        word = "_".join(name.split()) or "_"
        while word in words.values():
            word += "_"
        words[name] = word
    return words


def _check_table(output: SystemOutput, values: np.ndarray, *, one_word: bool) -> None:
    expected = (len(output.ids), len(output.classes))
    if values.shape != expected or np.isnan(values).any():
        raise ValueError(f"expected scores {expected}, found {values.shape}, or NaN")
    check_names((*output.ids.tolist(), *output.classes), one_word=one_word)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
