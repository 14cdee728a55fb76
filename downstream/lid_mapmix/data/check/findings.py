"""The kinds of findings of a check: severity, meaning and remedy of each."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

import numpy as np

from .thresholds import EXAMPLES


class Severity(StrEnum):
    """Severity of a finding; training is safe without errors."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Kind:
    """A kind of finding."""

    severity: Severity
    says: str  # what was found
    remedy: str  # what to do, or what --fix does


_DROPPED = "--fix drops them"
_LAST_SPLIT = "--fix keeps it in test, or else in dev"
_LOWEST = "resample all audio to the lowest rate first (8 kHz)"
_ERROR, _WARNING, _NOTE = Severity
KINDS = {
    # files, from their headers
    "missing": Kind(_ERROR, "no such audio file", f"paths are relative to the folder of the manifest; {_DROPPED}"),
    "empty": Kind(_ERROR, "no audio in the file", _DROPPED),
    "unreadable": Kind(_ERROR, "no audio that libsndfile can read", f"convert them to wav; {_DROPPED}"),
    "unknown length": Kind(_ERROR, "the header has no valid length", f"convert them to wav; {_DROPPED}"),
    "joined": Kind(_ERROR, "several files in one, of which the first would be read", f"convert them; {_DROPPED}"),
    "truncated": Kind(_ERROR, "the file is shorter than in its header", f"restore them; {_DROPPED}"),
    "shorter": Kind(_ERROR, "the audio is shorter than in the manifest", f"restore them; {_DROPPED}"),
    "ends late": Kind(_ERROR, "utterances that end up to 0.5 s after their audio", "--fix shortens them"),
    "too short": Kind(_ERROR, "under 400 samples at 16 kHz (25 ms)", _DROPPED),
    "longer": Kind(_NOTE, "the audio is longer than in the manifest", "none if seconds count speech only"),
    "rate in doubt": Kind(
        _WARNING,
        "the header contradicts itself or has a rate too low for speech",
        "listen for audio that plays too fast or too slowly",
    ),
    "sample rates": Kind(_NOTE, "rates other than 16 kHz, which are resampled when read", "none"),
    "channels": Kind(_NOTE, "several channels, which are mixed when read", "none if all have one speaker"),
    # samples
    "breaks off": Kind(_ERROR, "cannot be decoded to its end", f"restore them; {_DROPPED}"),
    "not finite": Kind(_ERROR, "samples that are NaN, infinite or above 1e10", _DROPPED),
    "silent": Kind(_ERROR, "nothing above -60 dB", _DROPPED),
    "opposite channels": Kind(
        _WARNING,
        "channels that cancel each other: their mean is 10 dB below the louder one, which is read instead",
        "invert one channel",
    ),
    "band": Kind(_NOTE, "some utterances are band-limited", "none unless some classes have more of them"),
    "bandwidth and class": Kind(_WARNING, "bandwidth is associated with the class, so that it is learned", _LOWEST),
    "bandwidth by class": Kind(
        _ERROR, "bandwidth predicts the class: a model will learn the channel, and the scores will not show it", _LOWEST
    ),
    # columns
    "repeated id": Kind(
        _ERROR,
        "an id twice in a split; without a column id, the file is the id",
        "add that column; --fix numbers repeated ids",
    ),
    "duplicate": Kind(_WARNING, "the same audio twice in a split", "--fix keeps the first"),
    "duplicate across splits": Kind(_ERROR, "the same audio in two splits", _LAST_SPLIT),
    "contradictory labels": Kind(_ERROR, "the same audio with two classes", _DROPPED),
    "speaker across splits": Kind(_ERROR, "a speaker in two splits", _LAST_SPLIT),
    "group across splits": Kind(_ERROR, "a group in two splits", _LAST_SPLIT),
    "recording across splits": Kind(_ERROR, "parts of one file in two splits", _LAST_SPLIT),
    "split missing": Kind(_WARNING, "no dev.csv", "train with -o config.runner.eval_dataloaders=[]"),
    "no training data": Kind(_ERROR, "no train.csv", "add it"),
    "unknown class": Kind(_ERROR, "a class that is not in labels.yaml", f"add it there; {_DROPPED}"),
    "class not trained": Kind(_ERROR, "a class without an utterance in train", _DROPPED),
    "one class": Kind(_ERROR, "only one class in train", "check that the column named class is the right one"),
    "class not evaluated": Kind(_WARNING, "a class without an utterance in dev or test", "none; no score covers it"),
    "spelt in two ways": Kind(
        _ERROR, "class names that differ only in case, hyphens or spaces", "--fix renames them to the most frequent one"
    ),
    "imbalance": Kind(_NOTE, "unbalanced classes in train", "none up to a ratio of 20"),
    "strong imbalance": Kind(_WARNING, "unbalanced classes in train", "add data, or remove some"),
}


@dataclass(frozen=True, eq=False)
class Finding:
    """A finding of a check."""

    name: str  # of its kind, in :data:`KINDS`
    count: int  # number of units
    unit: str = "utterance"  # what is counted, in the singular
    examples: tuple[str, ...] = ()  # the first few, as text
    # (n,) numbers of the utterances that cleaning drops because of it.
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    seen_in: np.ndarray | None = None  # (n,) numbers of the affected utterances; None if they are the same
    figures: dict[str, float] = field(default_factory=dict)  # measured values, for the JSON

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return KINDS[self.name]


def counted(count: int, unit: str) -> str:
    """Return a count with its unit."""
    return f"{count} {unit}" + ("" if count == 1 else "es" if unit.endswith("s") else "s")


def first(values: Iterable[str]) -> tuple[str, ...]:
    """Return the first few examples, without computing the others."""
    return tuple(islice(values, EXAMPLES))


def count_errors(findings: Iterable[Finding]) -> int:
    """Return the number of findings that are errors."""
    return sum(finding.kind.severity is Severity.ERROR for finding in findings)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, the most severe first, and each severity in the order of :data:`KINDS`."""
    severities, names = list(Severity), list(KINDS)
    return sorted(findings, key=lambda finding: (severities.index(finding.kind.severity), names.index(finding.name)))
