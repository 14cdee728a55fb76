"""``from lid_mapmix import Identifier``: identifies the class of a recording, as ``lid-mapmix predict`` does.

::

    identifier = Identifier.from_pretrained("result/downstream/demo")
    print(identifier(wav, sample_rate).answer)

Recordings are cut into windows as in evaluation, and the windows' softmax is averaged. Windows of several recordings
share a batch; only the audio of one batch is in memory.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.audio.reading import SAMPLE_RATE
from ..scoring.choices import P_OOS
from ..scoring.class_priors import ordered_priors
from ..scoring.metrics import average_windows
from ..scoring.open_set import auroc, best_threshold
from ..utils.errors import UserError
from .answer import Identification, Outcome, rejection_threshold
from .batching import ScoredRecording, WindowScorer
from .exported import holds_export, read_export
from .hub import find_folder
from .recording import Recording
from .segments import Segment, find_segments
from .trained import Trained, read_run

# Number of recordings whose windows share batches.
_TOGETHER = 64
# Hops per window for segments; it sets the resolution in time.
_SEGMENT_HOPS = 4


class Identifier:
    """Identifies the class of recordings with a trained run.

    Parameters
    ----------
    trained : the trained run.
    detect_speech : whether to answer "no speech" for silence, noise and music, by voice-activity detection; otherwise
        every recording is assigned a class.
    prior : (classes,) float, class priors of the recordings in the order of the labels; None for those of training.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, trained: Trained, *, detect_speech: bool = True, prior: Sequence[float] | None = None) -> None:
        self.trained, self._prior = trained, prior
        self.max_novelty = math.inf  # answers of recordings above it are "none of these"; segments have no novelty
        self._scorer = WindowScorer(trained, detect_speech=detect_speech)

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        device: str | None = None,
        *,
        detect_speech: bool = True,
        upstream_weights: str | None = None,
        prior: str | Mapping[str, float] = "training",
    ) -> "Identifier":
        """Load the folder of a run, or an exported folder (``lid-mapmix export``), which needs no unpickling.

        Parameters
        ----------
        folder : of the run; no training data is needed. Or USER/NAME[@REVISION] of an export on the Hugging Face Hub.
        device : where to compute; None for a GPU if there is one, else the CPU.
        detect_speech : see the class.
        upstream_weights : weights of the run's upstream (-k), if they are no longer where they were.
        prior : class priors of the recordings: ``training``, ``equal``, or class → prior.

        Raises
        ------
        UserError : neither a run nor an export, a damaged file, or the run's upstream is not available; or priors of
            other classes, or for a run without a calibration.
        """
        folder = find_folder(folder)
        trained = (read_export if holds_export(folder) else read_run)(folder, device, upstream_weights)
        return cls(trained, detect_speech=detect_speech, prior=_checked_prior(prior, trained))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the labels."""
        return self.trained.labels.classes

    @property
    def is_calibrated(self) -> bool:
        """Whether probabilities are calibrated."""
        return self.trained.calibration is not None

    def __call__(self, wav: Any, sample_rate: int, *, reject: float | None = None) -> Identification:
        """Identify samples.

        Parameters
        ----------
        wav : (samples,), (channels, samples) or (samples, channels), NumPy or torch; see :meth:`.Recording.of_samples`.
        sample_rate : of `wav`; any.
        reject : fraction of the utterances of known classes that may be rejected; None to reject nothing.

        Raises
        ------
        UserError : shorter than 25 ms, not finite, or of another shape or type.
        """
        return self._answers([Recording.of_samples(wav, sample_rate)], reject)[0]

    def batch(self, wavs: Sequence[Any], sample_rate: int, *, reject: float | None = None) -> list[Identification]:
        """Identify several recordings in batches; see :meth:`__call__`."""
        return self._answers(
            [Recording.of_samples(wav, sample_rate, f"audio {n}") for n, wav in enumerate(wavs)], reject
        )

    def file(self, path: Path | str, *, reject: float | None = None) -> Identification:
        """Identify a file of any length; only one batch of its windows is in memory.

        Raises
        ------
        UserError : the file is unreadable or shorter than 25 ms.
        """
        return self._answers([Recording.of_file(path)], reject)[0]

    def identify(
        self,
        recordings: Iterable[Recording],
        *,
        reject: float | None = None,
        progress: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator[Identification | UserError]:
        """Identify recordings, with batches across recordings, and yield the answers in order.

        Parameters
        ----------
        recordings : the recordings; iterated as needed.
        reject : see :meth:`__call__`.
        progress : called after each batch with the seconds of audio in it.

        Yields
        ------
        the answer, or the error of a recording that cannot be read.
        """
        threshold = rejection_threshold(self.trained.confidence, reject)
        hop = self.trained.evaluation.hop_seconds
        for together in _parts(recordings):
            for scored in self._scorer.score(together, hop, progress):
                yield scored.error or self._answer(scored, threshold)

    def reject_with(self, recordings: Iterable[Recording], p_oos: float = P_OOS) -> str:
        """Set `max_novelty`, so that recordings like these, of none of the classes, are answered "none of these".

        Returns a line that says what is rejected. Raises UserError: no recording has speech, one cannot be read, or the
        run has no novelty.safetensors.

        `p_oos`: prior of such recordings; the threshold has the fewest errors on these and on dev, weighted by it.
        """
        novelties = [answer.novelty for answer in self._answers(recordings, None)]
        outside = np.array([novelty for novelty in novelties if novelty is not None])
        if self.trained.novelty is None or not len(outside):
            raise UserError(
                "reject_with: expected recordings with speech, and a run with novelty.safetensors, found none. Use "
                "others, or write novelty.safetensors by -m evaluate -t dev."
            )
        dev = self.trained.novelty.of_dev
        self.max_novelty = limit = best_threshold(dev, outside, p_oos)
        return (
            f"'none of these': novelty above {limit:.3f}: {(outside > limit).mean():.1%} of {len(outside)} others and "
            f"{(dev > limit).mean():.1%} of {len(dev)} dev utterances (AUROC {auroc(dev, outside):.3f})"
        )

    def segments(
        self,
        recording: Recording | Path | str,
        *,
        reject: float | None = None,
        progress: Callable[[float], None] = lambda seconds: None,
    ) -> list[Segment]:
        """Identify the classes spoken in a long recording, and when.

        Parameters
        ----------
        recording : a file, or a :class:`.Recording`.
        reject : see :meth:`__call__`; applies to each segment.
        progress : as for :meth:`identify`.

        Returns
        -------
        consecutive segments that cover the recording; neighbours have different answers.

        Raises
        ------
        UserError : as :meth:`file`.
        """
        threshold = rejection_threshold(self.trained.confidence, reject)
        recording = recording if isinstance(recording, Recording) else Recording.of_file(recording)
        window = self.trained.evaluation.window_seconds
        hop = min(window / _SEGMENT_HOPS, self.trained.evaluation.hop_seconds)
        scored = self._scorer.score([recording], hop, progress, keeps_frames=True)[0]
        if scored.error is not None:
            raise scored.error
        return find_segments(
            scored.windows,
            self._calibrated(scored.probabilities, scored.windows[:, 1] / SAMPLE_RATE),
            scored.speech,
            self.trained.labels,
            samples=recording.samples,
            hop=round(hop * SAMPLE_RATE),
            threshold=threshold,
        )

    def _answers(self, recordings: Iterable[Recording], reject: float | None) -> list[Identification]:
        answers = []
        for answer in self.identify(recordings, reject=reject):
            if isinstance(answer, UserError):
                raise answer
            answers.append(answer)
        return answers

    def _answer(self, scored: ScoredRecording, threshold: float) -> Identification:
        name, seconds, labels = scored.recording.name, scored.recording.seconds, self.trained.labels
        one = np.zeros(len(scored.windows), dtype=np.int64)
        _, (average,) = average_windows(one, scored.probabilities, self.trained.evaluation.average)
        if not scored.is_speech:
            return Identification(name, Outcome.NO_SPEECH, (), np.empty(0), None, seconds, average)
        calibrated, remarks, novelty = self._calibrated(average[None], seconds)[0], self._remarks(seconds), None
        order = np.argsort(-calibrated, kind="stable")
        is_rejected = bool(calibrated[order[0]] < threshold)
        if self.trained.novelty is not None:
            latent = scored.latent / len(scored.windows)
            novelty = float(self.trained.novelty(latent[None], np.array([seconds]))[0])
            is_rejected |= novelty > self.max_novelty
            remarks += ("unlike training data",) * (novelty > 1)
        return Identification(
            name,
            Outcome.REJECTED if is_rejected else Outcome.IDENTIFIED,
            tuple(labels.classes[number] for number in order),
            calibrated[order],
            None if is_rejected else list(labels.clusters)[labels.cluster_indices[order[0]]],
            seconds,
            average,
            remarks,
            novelty,
        )

    def _remarks(self, seconds: float) -> tuple[str, ...]:
        calibration = self.trained.calibration
        if calibration is None or calibration.seconds is None or seconds >= calibration.seconds[1]:
            return ()
        return (f"shorter than {calibration.seconds[1]:.3g} s, the shortest audio of the calibration",)

    def _calibrated(self, probabilities: np.ndarray, seconds: np.ndarray | float) -> np.ndarray:
        if self.trained.calibration is None:
            return probabilities
        with np.errstate(divide="ignore"):
            return np.exp(
                self.trained.calibration.log_probabilities(np.log(probabilities), self._prior, seconds=seconds)
            )


def _checked_prior(prior: str | Mapping[str, float], trained: Trained) -> list[float] | None:
    """Return class priors in the order of the labels, with sum 1; None for those of training."""
    if prior == "training":
        return None
    if trained.calibration is None:
        raise UserError(
            "prior: expected a run with calibration.json, which has the class priors of training, found none. Evaluate "
            "the run with evaluation.calibration affine."
        )
    classes = trained.labels.classes
    given = dict.fromkeys(classes, 1.0) if prior == "equal" else prior
    try:
        if not isinstance(given, Mapping):
            raise ValueError(f"{given!r}")
        return ordered_priors(given, classes)
    except ValueError as error:
        raise UserError(
            f"prior: expected training, equal, or a number above 0 for each of {', '.join(classes)}, found: {error}."
        ) from None


def _parts(recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
    iterator = iter(recordings)
    while part := list(itertools.islice(iterator, _TOGETHER)):
        yield part
