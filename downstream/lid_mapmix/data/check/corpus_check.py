"""All checks of a corpus together; what was read of it is handed in, so that a part of it can be checked anew."""

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from ..labels import Labels
from .audio_checks import check_headers, check_samples, is_silent
from .channel_checks import bands, check_bands
from .findings import Finding, in_order
from .reading import Headers, Samples, spans
from .split_checks import check_classes, check_duplicates, check_leaks, check_splits
from .utterances import Utterances


@dataclass(frozen=True, eq=False)
class Subject:
    """A corpus and what was read of its audio.

    Attributes
    ----------
    utterances : of all splits.
    labels : of labels.yaml; None where there is none.
    headers : of all files.
    samples : of all utterances; None where only headers were read.
    """

    utterances: Utterances
    labels: Labels | None
    headers: Headers
    samples: Samples | None = None

    def select(self, kept: np.ndarray) -> "Subject":
        """Return the utterances of a (utterances,) bool mask, and what was read of them."""
        samples = None if self.samples is None else self.samples.select(kept)
        return replace(self, utterances=self.utterances.select(kept), samples=samples)


def check_corpus(subject: Subject) -> list[Finding]:
    """Return all that is wrong with a corpus, the worst first."""
    utterances, headers, samples = subject.utterances, subject.headers, subject.samples
    found = chain(
        check_headers(utterances, headers),
        () if samples is None else check_samples(utterances, headers, samples),
        check_bands(utterances, bands(utterances, headers, samples)),
        check_duplicates(utterances, content_numbers(subject)),
        check_leaks(utterances),
        check_splits(utterances),
        check_classes(utterances, subject.labels),
    )
    return in_order(found)


def content_numbers(subject: Subject) -> np.ndarray:
    """Number what the utterances hold, (utterances,) int64: equal for equal audio, -1 where it is not known.

    Without samples, the same part of the same file is the same audio. Silence says nothing of who is silent.
    """
    utterances, samples = subject.utterances, subject.samples
    if samples is not None:
        number = np.unique(samples.digest, return_inverse=True)[1].astype(np.int64)
        return np.where(samples.read & ~is_silent(samples), number, -1)
    starts, counts = spans(utterances, subject.headers)
    file = utterances.file.codes
    order = np.lexsort((counts, starts, file))
    parts = np.stack([file, starts, counts])[:, order]
    number = np.zeros(len(utterances), dtype=np.int64)
    number[order] = np.concatenate([[0], np.cumsum((parts[:, 1:] != parts[:, :-1]).any(axis=0))])
    return np.where(subject.headers.sample_rate[file] > 0, number, -1)
