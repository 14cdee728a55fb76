"""Class probabilities and speech of all windows of some recordings; windows of several recordings share batches."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from ..data.audio.reading import SAMPLE_RATE
from ..data.windows import sliding_windows, window_batches
from ..utils.errors import UserError
from .recording import Recording
from .speech import has_speech, speech_frames
from .trained import Trained

_READERS = 2


@dataclass(eq=False)
class ScoredRecording:
    """The windows of a recording, W of them, with class probabilities and speech."""

    recording: Recording
    windows: np.ndarray  # (W, 2) int64, first sample and number of samples
    probabilities: np.ndarray  # (W, classes) float64, softmax of each window
    latent: np.ndarray  # (dim,) float64, sum of the windows' latents
    # (frames,) bool per window, see :mod:`.speech`; None where it was not computed.
    speech: list[np.ndarray | None] = field(default_factory=list)
    is_speech: bool = False  # whether a window has speech; true without voice-activity detection
    # The fault of its audio, if that could not be read; all other values are then invalid.
    error: UserError | None = None


@dataclass(frozen=True, eq=False)
class WindowScorer:
    """Runs the network, and voice-activity detection, on windows."""

    trained: Trained
    detect_speech: bool

    def score(
        self,
        recordings: Sequence[Recording],
        hop: float,
        progress: Callable[[float], None],
        *,
        keeps_frames: bool = False,
    ) -> list[ScoredRecording]:
        """Score all windows of some recordings.

        `recordings`: at most one batch of their windows is in memory. `hop`: seconds from the start of one window to
        the next. `progress`: called after each batch with the seconds of audio in it. `keeps_frames`: whether to detect
        speech in every window; otherwise only until a recording is known to have speech.
        """
        evaluation, classes, dim = self.trained.evaluation, len(self.trained.labels.classes), self.trained.model.dim
        counts = np.array([recording.samples for recording in recordings], dtype=np.int64)
        windows = sliding_windows(counts, evaluation.window_seconds, hop)
        number_in = np.arange(len(windows)) - np.searchsorted(windows[:, 0], windows[:, 0])
        scored = []
        for index, recording in enumerate(recordings):
            own = windows[windows[:, 0] == index, 1:]
            scored.append(
                ScoredRecording(recording, own, np.zeros((len(own), classes)), np.zeros(dim), [None] * len(own))
            )
        batches = window_batches(windows[:, 2], evaluation.batch_seconds, mix_lengths=evaluation.mix_lengths)
        with ThreadPoolExecutor(_READERS) as readers:
            for batch in batches:
                loaded = list(readers.map(lambda number: _read(scored, windows[number]), batch))
                there = [(number, wav) for number, wav in zip(batch, loaded, strict=True) if wav is not None]
                if there:
                    places = [(int(windows[number, 0]), int(number_in[number])) for number, _ in there]
                    self._score_batch(scored, places, [wav for _, wav in there], keeps_frames=keeps_frames)
                progress(float(windows[batch, 2].sum()) / SAMPLE_RATE)
        return scored

    def _score_batch(
        self,
        scored: list[ScoredRecording],
        places: Sequence[tuple[int, int]],
        wavs: Sequence[np.ndarray],
        *,
        keeps_frames: bool,
    ) -> None:
        """Score windows; each place is the number of its recording and its own number in that."""
        for (index, place), row, latent in zip(places, *self._outputs(wavs), strict=True):
            scored[index].probabilities[place] = row
            scored[index].latent += latent
            scored[index].is_speech |= not self.detect_speech
        if not self.detect_speech:
            return
        if keeps_frames:
            self._detect_speech(scored, places, wavs)
            return
        # For most recordings, one window is enough to find speech.
        firsts = list({index: number for number, (index, _) in reversed(list(enumerate(places)))}.values())
        for chosen in (firsts, sorted(set(range(len(places))) - set(firsts))):
            open_ = [number for number in chosen if not scored[places[number][0]].is_speech]
            self._detect_speech(scored, [places[number] for number in open_], [wavs[number] for number in open_])

    @staticmethod
    def _detect_speech(
        scored: list[ScoredRecording], places: Sequence[tuple[int, int]], wavs: Sequence[np.ndarray]
    ) -> None:
        for (index, place), wav, frames in zip(places, wavs, speech_frames(wavs), strict=True):
            scored[index].speech[place] = frames
            scored[index].is_speech |= has_speech(wav, frames)

    @torch.inference_mode()
    def _outputs(self, wavs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return softmax (windows, classes) and latents (windows, dim), float64, of (samples,) float32 windows."""
        features, model = self.trained.features, self.trained.model
        counts = torch.tensor([len(wav) for wav in wavs], device=features.device)
        with features.autocast():
            frames = features([torch.from_numpy(np.ascontiguousarray(wav)).to(features.device) for wav in wavs])
            latents = model.latents(frames, torch.zeros_like(counts), counts)
            logits = model.logits(latents)
        return logits.cpu().double().softmax(dim=1).numpy(), latents.cpu().double().numpy()


def _read(scored: list[ScoredRecording], window: np.ndarray) -> np.ndarray | None:
    """Return a window's (samples,) float32, or None if its recording cannot be read."""
    index, start, count = map(int, window)
    one = scored[index]
    if one.error is None:
        try:
            return one.recording.read(start, count)
        except UserError as error:
            one.error = error
    return None
