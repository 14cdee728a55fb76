"""What a check can find, how bad each of it is, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from .thresholds import EXAMPLES


class Severity(StrEnum):
    """How bad it is; training is safe where there is no error."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes
    ----------
    severity : how bad it is.
    says : what was found, in words.
    remedy : what to do, or what --fix does.
    """

    severity: Severity
    says: str
    remedy: str


_DROPPED = "--fix drops them"
KINDS = {
    # files, from their headers
    "missing": Kind(
        Severity.ERROR, "no such audio file", f"paths are relative to the folder of the manifest; {_DROPPED}"
    ),
    "empty": Kind(Severity.ERROR, "no audio in the file", _DROPPED),
    "unreadable": Kind(Severity.ERROR, "no audio that libsndfile can read", f"convert them to wav; {_DROPPED}"),
    "unknown length": Kind(Severity.ERROR, "the header does not say how long it is", f"convert to wav; {_DROPPED}"),
    "truncated": Kind(Severity.ERROR, "the file ends before its header says", f"restore them; {_DROPPED}"),
    "shorter": Kind(Severity.ERROR, "the audio is shorter than the manifest says", f"restore them; {_DROPPED}"),
    "too short": Kind(Severity.ERROR, "under 400 samples at 16 kHz (25 ms)", _DROPPED),
    "longer": Kind(Severity.NOTE, "the audio is longer than the manifest says", "none where seconds count speech only"),
    "rate in doubt": Kind(
        Severity.WARNING,
        "the header contradicts itself or names a rate too low for speech, or the length fits the manifest at another "
        "rate",
        "listen: does it play too fast or too slowly?",
    ),
    "sample rates": Kind(Severity.NOTE, "rates other than 16 kHz, resampled as they are read", "none"),
    "channels": Kind(Severity.NOTE, "several channels, averaged as they are read", "none where both are one speaker"),
    # samples
    "breaks off": Kind(Severity.ERROR, "cannot be decoded to its end", f"restore them; {_DROPPED}"),
    "not finite": Kind(Severity.ERROR, "samples that are NaN or infinite", _DROPPED),
    "silent": Kind(Severity.ERROR, "nothing above -60 dB", _DROPPED),
    "clipped": Kind(Severity.WARNING, "more than 0.1 % of the samples are cut off at full scale", "record anew"),
    "offset": Kind(Severity.WARNING, "the mean is a quarter of the deviation or more", "subtract the mean"),
    "band": Kind(Severity.NOTE, "a few band-limited among others", "none while no class has more of them"),
    "band and class": Kind(
        Severity.WARNING,
        "band-limited audio goes along with classes: a model can learn the channel",
        "bring all audio to the lowest rate first",
    ),
    "band is class": Kind(
        Severity.ERROR,
        "the band tells the class: a model will learn the channel, and the scores will not show it",
        "bring all audio to the lowest rate first (8 kHz)",
    ),
    # columns
    "duplicate": Kind(Severity.WARNING, "the same audio again in its split", "--fix keeps the first"),
    "duplicate across splits": Kind(
        Severity.ERROR, "the same audio in two splits", "--fix keeps that of test, then of dev"
    ),
    "contradictory labels": Kind(Severity.ERROR, "the same audio under two classes", _DROPPED),
    "speaker across splits": Kind(
        Severity.ERROR, "a speaker in two splits", "--fix leaves them in test, then in dev, only"
    ),
    "group across splits": Kind(
        Severity.ERROR, "a group in two splits", "--fix leaves them in test, then in dev, only"
    ),
    "recording across splits": Kind(
        Severity.ERROR, "parts of one file in two splits", "--fix leaves them in test, then in dev, only"
    ),
    "split missing": Kind(Severity.WARNING, "no dev.csv", "train with -o config.runner.eval_dataloaders=[]"),
    "no training data": Kind(Severity.ERROR, "no train.csv", "add it"),
    "unknown class": Kind(Severity.ERROR, "a class that labels.yaml lacks", f"add it there; {_DROPPED}"),
    "class not trained": Kind(Severity.ERROR, "a class without an utterance in train", _DROPPED),
    "one class": Kind(Severity.ERROR, "nothing to tell apart in train", "is it the right column that is named class?"),
    "class not evaluated": Kind(
        Severity.WARNING, "a class without an utterance in dev or test", "no score tells of it"
    ),
    "spelt in two ways": Kind(
        Severity.ERROR,
        "class names that differ in case, hyphens or spaces only",
        "--fix takes the one in most rows",
    ),
    "nearly the same name": Kind(
        Severity.WARNING, "class names that are one slip apart", "correct one, unless both are meant"
    ),
    "imbalance": Kind(Severity.NOTE, "classes of unlike size in train", "none up to 20 times"),
    "strong imbalance": Kind(Severity.WARNING, "classes of unlike size in train", "collect, or leave some out"),
}


@dataclass(frozen=True, eq=False)
class Finding:
    """Something found.

    Attributes
    ----------
    name : of its kind, in :data:`KINDS`.
    count : how many.
    unit : of what, in the singular.
    examples : the first few, in words.
    rows : (n,) numbers of the utterances that a cleaned corpus lacks because of it.
    seen_in : (n,) numbers of those that it is seen in; None where they are the same.
    figures : what was measured, for the JSON.
    """

    name: str
    count: int
    unit: str = "utterance"
    examples: tuple[str, ...] = ()
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    seen_in: np.ndarray | None = None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What is known of its kind."""
        return KINDS[self.name]


def counted(count: int, unit: str) -> str:
    """Return a number with what it counts."""
    return f"{count} {unit}" + ("" if count == 1 else "es" if unit.endswith("s") else "s")


def first(values: Iterable[str]) -> tuple[str, ...]:
    """Return the first few examples of many, without making the others."""
    return tuple(value for value, _ in zip(values, range(EXAMPLES), strict=False))


def count_errors(findings: Iterable[Finding]) -> int:
    """Return how many kinds of error there are."""
    return sum(finding.kind.severity is Severity.ERROR for finding in findings)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return what was found, the worst first, and each severity in the order of :data:`KINDS`."""
    severities, names = list(Severity), list(KINDS)
    return sorted(findings, key=lambda finding: (severities.index(finding.kind.severity), names.index(finding.name)))
