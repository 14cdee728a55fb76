"""The closed choices of scoring, as flags and settings name them.

Nothing heavy is imported here: a parser lists them in no time.
"""

from enum import StrEnum

# What --calibrate names is a kept calibration where it ends so, and a file of scores to fit one on elsewhere.
CALIBRATION_SUFFIX = ".json"


class Average(StrEnum):
    """What of an utterance's windows is averaged, by `metrics.average_windows`.

    probabilities : their softmax, as in the Map-Mix paper; each window has its say.
    log_likelihoods : their log-softmax, whose exponentials are made to sum to 1 again: a geometric mean, by which a
        window that rules a class out is hard to overrule, as if windows were independent.
    """

    PROBABILITIES = "probabilities"
    LOG_LIKELIHOODS = "log_likelihoods"


class Kind(StrEnum):
    """How much a calibration may change; see calibration.py."""

    TEMPERATURE = "temperature"
    VECTOR = "vector"
    FULL = "full"


class FileFormat(StrEnum):
    """The formats of scores and of answers; files/formats.py has a class for each."""

    SCORES = "scores"
    NIST = "nist"
    KALDI = "kaldi"
    TRN = "trn"
    S3PRL = "s3prl"
    MAPMIX = "mapmix"


class Values(StrEnum):
    """What the scores of a file in Kaldi's format are."""

    LIKELIHOODS = "log-likelihoods"
    RATIOS = "ratios"
