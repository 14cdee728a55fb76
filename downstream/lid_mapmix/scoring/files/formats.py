"""All formats of scores and predictions: recognising, reading and writing them.

docs/scores.md lists the formats, and which of them have the truth or scores.

Priors are assumed to be equal: normalised log-likelihoods are log-probabilities, and vice versa. Costs and EER are
computed from a file's own ratios, as NIST does. Only scores of probabilities (ECE, Cllr, calibration) use likelihoods
that are computed from the ratios by `detection.log_likelihoods_from_ratios`.
"""

from pathlib import Path

from ...utils.errors import UserError
from ..choices import FileFormat, Values
from .own import ScoresCsv
from .rows import read_opening
from .system_output import Format, SystemOutput
from .toolkits import KaldiLines, LidTrn, NistTable

FORMATS: tuple[Format, ...] = (ScoresCsv(), NistTable(), KaldiLines(), LidTrn())


def format_of(key: FileFormat) -> Format:
    """Return the format with this flag value."""
    return next(form for form in FORMATS if form.key is key)


def recognise(path: Path | str) -> Format:
    """Return the format of a file, from its name and first line.

    Raises UserError: no such file, a folder, an empty file, none of the formats.
    """
    opening = read_opening(Path(path))
    for form in FORMATS:
        if form.recognise(opening):
            return form
    line = opening.line
    raise UserError(
        f"{path}: expected a file in one of the formats {', '.join(form.name for form in FORMATS)}, found "
        f"{f'the line {line[:60]!r}' if line else 'no text in its first line'}. Convert it first."
    )


def read_output(path: Path | str, values: Values = Values.LIKELIHOODS) -> SystemOutput:
    """Read a file in any of the formats; `values` is the kind of scores in Kaldi's.

    Raises UserError: none of the formats, a damaged file, or an utterance without a possible class.
    """
    return recognise(path).read(Path(path), values)


def write_output(path: Path, form: Format, output: SystemOutput) -> None:
    """Write a system's output in a format, complete or not at all: log-likelihoods in Kaldi's, ratios in NIST's.

    Raises UserError: the output lacks scores or the truth, which the format needs, or the format cannot hold a name.
    """
    if form.has_truth and output.truth is None:
        raise UserError(
            f"{output.path}: expected the true classes, which format {form.key} needs, found none. Give --key FILE."
        )
    if form.has_scores and output.log_likelihoods is None:
        answers = " or ".join(other.key for other in FORMATS if not other.has_scores)
        raise UserError(
            f"{output.path}: expected scores, which format {form.key} needs, found predictions only. Convert to "
            f"{answers}."
        )
    form.write(path, output)
