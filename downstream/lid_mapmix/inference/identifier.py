"""``from lid_mapmix import Identifier``: what is spoken in a recording, as ``lid-mapmix predict`` says it.

::

    identifier = Identifier.from_pretrained("result/downstream/demo")
    print(identifier(wav, sample_rate).answer)

Recordings are cut into windows as in evaluation, and the windows' softmax is averaged. Windows of several recordings
share a batch; only the audio of one batch is in memory.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.audio.reading import SAMPLE_RATE
from ..scoring.metrics import average_windows
from ..utils.errors import UserError
from .answer import Identification, make_answer, rejection_threshold
from .batching import Heard, Listener
from .exported import holds_export, read_export
from .recording import Recording
from .segments import Segment, find_segments
from .trained import Trained, read_run

# Recordings whose windows share batches.
_TOGETHER = 64
# Windows of a label track start every so often; a language is then located to about this.
_TRACK_HOPS = 4  # a window


class Identifier:
    """Says which of the classes of a trained run is spoken in a recording.

    Parameters
    ----------
    trained : the run.
    detect_speech : whether silence, noise and music are told from speech; otherwise each sound is given a class.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, trained: Trained, *, detect_speech: bool = True) -> None:
        self.trained = trained
        self._listener = Listener(trained, detect_speech=detect_speech)

    @classmethod
    def from_pretrained(
        cls,
        folder: Path | str,
        device: str | None = None,
        *,
        detect_speech: bool = True,
        upstream_weights: str | None = None,
    ) -> "Identifier":
        """Load the folder of a run, or one that ``lid-mapmix export`` has written, from which nothing is unpickled.

        Parameters
        ----------
        folder : of the run; no training data is needed.
        device : where to compute; by default a GPU where there is one.
        detect_speech : see the class.
        upstream_weights : of the upstream that a run was trained on (-k), where they lie elsewhere now.

        Raises
        ------
        UserError : neither a run nor an export, damaged, or its upstream is not to be had any more.
        """
        folder = Path(folder)
        trained = read_export(folder, device) if holds_export(folder) else read_run(folder, device, upstream_weights)
        return cls(trained, detect_speech=detect_speech)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the labels."""
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
        reject : share of utterances of known languages that may be called "none of these"; None to reject nothing.

        Raises
        ------
        UserError : under 25 ms, not finite, or of another shape or type.
        """
        return self._answers([Recording.of_samples(wav, sample_rate)], reject)[0]

    def batch(self, wavs: Sequence[Any], sample_rate: int, *, reject: float | None = None) -> list[Identification]:
        """Identify several, in batches; see :meth:`__call__`."""
        return self._answers(
            [Recording.of_samples(wav, sample_rate, f"audio {n}") for n, wav in enumerate(wavs)], reject
        )

    def file(self, path: Path | str, *, reject: float | None = None) -> Identification:
        """Identify a file of any length; only a batch of its windows is in memory.

        Raises
        ------
        UserError : unreadable, or under 25 ms.
        """
        return self._answers([Recording.of_file(path)], reject)[0]

    def identify(
        self,
        recordings: Iterable[Recording],
        *,
        reject: float | None = None,
        progress: Callable[[float], None] = lambda seconds: None,
    ) -> Iterator[Identification | UserError]:
        """Identify recordings in batches across them, and yield the answers in order.

        Parameters
        ----------
        recordings : what to identify; drawn as needed.
        reject : see :meth:`__call__`.
        progress : is told how many seconds of audio were heard, after each batch.

        Yields
        ------
        the answer, or what is wrong with the audio.
        """
        threshold = rejection_threshold(self.trained.confidence, reject)
        hop = self.trained.evaluation.hop_seconds
        for together in _parts(recordings):
            for heard in self._listener.hear(together, hop, progress):
                yield heard.error or self._answer(heard, threshold)

    def segments(
        self,
        recording: Recording | Path | str,
        *,
        reject: float | None = None,
        progress: Callable[[float], None] = lambda seconds: None,
    ) -> list[Segment]:
        """Say what is spoken when in a long recording.

        Parameters
        ----------
        recording : a file, or what :class:`.Recording` makes.
        reject : see :meth:`__call__`; holds for each segment.
        progress : as for :meth:`identify`.

        Returns
        -------
        segments that cover it from start to end, neighbours of different answers.

        Raises
        ------
        UserError : as :meth:`file`.
        """
        threshold = rejection_threshold(self.trained.confidence, reject)
        recording = recording if isinstance(recording, Recording) else Recording.of_file(recording)
        window = self.trained.evaluation.window_seconds
        hop = min(window / _TRACK_HOPS, self.trained.evaluation.hop_seconds)
        heard = self._listener.hear([recording], hop, progress, keeps_frames=True)[0]
        if heard.error is not None:
            raise heard.error
        return find_segments(
            heard.windows,
            self._calibrated(heard.probabilities),
            heard.speech,
            self.trained.labels,
            samples=recording.samples,
            hop=round(hop * SAMPLE_RATE),
            threshold=threshold,
        )

    def _answers(self, recordings: Sequence[Recording], reject: float | None) -> list[Identification]:
        answers = []
        for answer in self.identify(recordings, reject=reject):
            if isinstance(answer, UserError):
                raise answer
            answers.append(answer)
        return answers

    def _answer(self, heard: Heard, threshold: float) -> Identification:
        one = np.zeros(len(heard.windows), dtype=np.int64)
        _, averages = average_windows(one, heard.probabilities, self.trained.evaluation.average)
        average = averages[0]
        return make_answer(
            heard.recording.name,
            heard.recording.seconds,
            self.trained.labels,
            average,
            self._calibrated(average[None])[0],
            is_speech=heard.is_speech,
            threshold=threshold,
        )

    def _calibrated(self, probabilities: np.ndarray) -> np.ndarray:
        if self.trained.calibration is None:
            return probabilities
        with np.errstate(divide="ignore"):
            return np.exp(self.trained.calibration.log_probabilities(np.log(probabilities)))


def _parts(recordings: Iterable[Recording]) -> Iterator[list[Recording]]:
    iterator = iter(recordings)
    while part := list(itertools.islice(iterator, _TOGETHER)):
        yield part
