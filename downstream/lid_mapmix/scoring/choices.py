"""The choices of scoring, as flags and settings name them.

Nothing slow is imported here, so that a parser can list them at once.
"""

from enum import StrEnum

# --calibrate takes a fitted calibration if the name ends so, otherwise a file of scores to fit one on.
CALIBRATION_SUFFIX = ".json"
# Prior of recordings of none of the classes, in the open-set condition of NIST LRE09.
P_OOS = 0.2


class Average(StrEnum):
    """What `metrics.average_windows` averages over the windows of an utterance.

    probabilities : the softmax, as in the Map-Mix paper; an arithmetic mean.
    log_likelihoods : the log-softmax, normalised afterwards; a geometric mean, as for independent windows, in which
        one window can rule a class out.
    """

    PROBABILITIES = "probabilities"
    LOG_LIKELIHOODS = "log_likelihoods"


class Kind(StrEnum):
    """The kind of a calibration; see calibration.py."""

    TEMPERATURE = "temperature"
    AFFINE = "affine"
    VECTOR = "vector"
    FULL = "full"


class FileFormat(StrEnum):
    """The formats of files of scores or predictions; files/formats.py has a class for each."""

    SCORES = "scores"
    NIST = "nist"
    KALDI = "kaldi"
    TRN = "trn"


class Values(StrEnum):
    """The kind of scores in a file in Kaldi's format."""

    LIKELIHOODS = "log-likelihoods"
    RATIOS = "ratios"
