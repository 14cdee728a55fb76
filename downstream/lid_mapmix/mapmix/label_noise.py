"""Label noise: an estimate of which training labels are wrong, from the predictions recorded in training.

The model is that of Dawid and Skene (Applied Statistics 28, 1979): every utterance has a true class, and several
annotators answer with a class, each with its own confusion matrix. Here the label is one annotator, and the predictions
of an epoch are another. Expectation maximization estimates the confusions and the distribution of the true class of
each utterance. An utterance that a network merely learns late is predicted as various classes, like others of its
label; one with a wrong label is predicted as the utterances of another class are.

Two constants, both chosen on data maps with known label noise before the experiment in docs/results.md:

- The epochs of a run are not independent annotators, because one network makes the same errors again: the
  log-likelihood of their answers has weight .7.
- Labels are trusted as if 30 more utterances per class were labelled right. It keeps whole classes of few utterances
  from changing places.
"""

from dataclasses import dataclass

import numpy as np

from .datamap import Region

_ANSWER_WEIGHT = 0.7
_TRUSTED_COUNT = 30.0
_INITIAL_NOISE = 0.05
_MAX_ITERATIONS = 50
_TOLERANCE = 1e-4  # of the noise rate
_CHUNK_ELEMENTS = 2**22  # of a matrix of utterances and classes


@dataclass(frozen=True, eq=False)
class LabelNoise:
    """The estimate for N utterances and C classes."""

    right: np.ndarray  # (N,) float64, probability that the label is right; NaN if no prediction was recorded
    preferred: np.ndarray  # (N,) int64, the most probable other class
    true_classes: np.ndarray  # (C, C) float64, row c: expected number of utterances labelled c, by true class

    @property
    def is_wrong(self) -> np.ndarray:
        """Whether each label is probably wrong, (N,) bool."""
        return self.right < 0.5  # noqa: PLR2004

    def regions(self, regions: np.ndarray) -> np.ndarray:
        """Return regions, (N,) str, of which hard are those whose label is probably wrong; others become ambiguous."""
        regions = np.where(regions == Region.HARD, Region.AMBIGUOUS.value, regions)
        return np.where(self.is_wrong, Region.HARD.value, regions)


def estimate_label_noise(
    predictions: np.ndarray, is_read: np.ndarray, target_classes: np.ndarray, class_count: int
) -> LabelNoise:
    """Estimate which labels are wrong.

    `predictions`: (E, N) int, the most probable class, one row per epoch. `is_read`: (E, N) bool, false where the audio
    could not be read, whose predictions are not used. `target_classes`: (N,) int, class number of each label.
    """
    epoch_count, count = predictions.shape
    rows = max(_CHUNK_ELEMENTS // class_count, 1)
    chunks = [slice(start, start + rows) for start in range(0, count, rows)]
    has_answer = np.any(is_read, axis=0)
    # Before the first iteration, each label is right with the same probability.
    of_label = np.full((class_count, class_count), _INITIAL_NOISE / max(class_count - 1, 1))
    np.fill_diagonal(of_label, 1 - _INITIAL_NOISE)
    of_label, of_answer, rate = np.log(of_label), np.zeros((epoch_count, class_count, class_count)), np.inf
    right, preferred = np.empty(count), np.empty(count, dtype=np.int64)
    for _ in range(_MAX_ITERATIONS):
        true_classes = np.zeros((class_count, class_count))
        answers = np.ones((epoch_count, class_count, class_count))  # (epoch, answer, true class); one of each before
        for chunk in chunks:
            labels, used = target_classes[chunk], has_answer[chunk]
            log_posterior = of_label[:, labels].T.copy()
            for epoch in range(epoch_count):
                answer_is_used = is_read[epoch, chunk, None]
                log_posterior += np.where(answer_is_used, of_answer[epoch, predictions[epoch, chunk]], 0.0)
            posterior = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
            posterior /= posterior.sum(axis=1, keepdims=True)
            for epoch in range(epoch_count):
                read = is_read[epoch, chunk]
                answers[epoch] += _sums(predictions[epoch, chunk][read], posterior[read], class_count)
            true_classes += _sums(labels[used], posterior[used], class_count)
            numbers = np.arange(len(labels))
            right[chunk] = np.where(used, posterior[numbers, labels], np.nan)
            posterior[numbers, labels] = -1
            preferred[chunk] = posterior.argmax(axis=1)
        # Columns are true classes: of_label[true class, label], of_answer[epoch, answer, true class].
        trusted = true_classes + _TRUSTED_COUNT * np.eye(class_count) + 1 / class_count
        of_label = np.log(trusted / trusted.sum(axis=0)).T
        of_answer = _ANSWER_WEIGHT * np.log(answers / answers.sum(axis=1, keepdims=True))
        previous, rate = rate, float(1 - np.nanmean(right))
        if abs(previous - rate) < _TOLERANCE:
            break
    return LabelNoise(right, preferred, true_classes)


def _sums(groups: np.ndarray, values: np.ndarray, group_count: int) -> np.ndarray:
    """Return the sum of the rows of `values`, (N, C), of each group, (group_count, C)."""
    return np.stack([np.bincount(groups, column, group_count) for column in values.T], axis=1)
