"""The network run over all windows of some recordings, whose windows share batches, and what is heard in them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from ..data.audio import SAMPLE_RATE
from ..data.windows import sliding_windows, window_batches
from ..errors import UserError
from .recording import Recording
from .speech import has_speech, speech_frames
from .trained import Trained

_READERS = 2


@dataclass(eq=False)
class Heard:
    """What was heard in a recording of W windows.

    Attributes
    ----------
    recording : it.
    windows : (W, 2) int64, first sample and number of samples.
    probabilities : (W, classes) float64, each window's softmax.
    speech : (frames,) bool for each window, see :mod:`.speech`; None where speech was not looked for.
    is_speech : whether somebody speaks in a window, or nobody has looked.
    error : what is wrong with its audio, where it could not be read; nothing else counts then.
    """

    recording: Recording
    windows: np.ndarray
    probabilities: np.ndarray
    speech: list[np.ndarray | None] = field(default_factory=list)
    is_speech: bool = False
    error: UserError | None = None


class Listener:
    """Runs the network of a trained run.

    Parameters
    ----------
    trained : the run.
    detect_speech : whether to look for speech as well.
    """

    def __init__(self, trained: Trained, *, detect_speech: bool) -> None:
        self.trained = trained
        self.detect_speech = detect_speech

    def hear(self, recordings: Sequence[Recording], hop: float, progress: Callable[[float], None]) -> list[Heard]:
        """Run the network on all windows of some recordings.

        Parameters
        ----------
        recordings : of which no more than a batch of windows is read at once.
        hop : seconds from the start of a window to that of the next.
        progress : is told how many seconds of audio were heard, after each batch.
        """
        evaluation, classes = self.trained.evaluation, len(self.trained.labels.classes)
        counts = np.array([recording.samples for recording in recordings], dtype=np.int64)
        windows = sliding_windows(counts, evaluation.window_seconds, hop)
        number_in = np.arange(len(windows)) - np.searchsorted(windows[:, 0], windows[:, 0])
        heard = []
        for index, recording in enumerate(recordings):
            own = windows[windows[:, 0] == index, 1:]
            heard.append(Heard(recording, own, np.zeros((len(own), classes)), [None] * len(own)))
        batches = window_batches(windows[:, 2], evaluation.batch_seconds, mix_lengths=evaluation.mix_lengths)
        with ThreadPoolExecutor(_READERS) as readers:
            for batch in batches:
                loaded = list(readers.map(lambda number: _read(heard, windows[number]), batch))
                pairs = [(number, wav) for number, wav in zip(batch, loaded, strict=True) if wav is not None]
                if pairs:
                    self._hear_batch(heard, windows, number_in, pairs)
                progress(float(windows[batch, 2].sum()) / SAMPLE_RATE)
        return heard

    def _hear_batch(
        self, heard: list[Heard], windows: np.ndarray, number_in: np.ndarray, pairs: list[tuple[int, np.ndarray]]
    ) -> None:
        wavs = [wav for _, wav in pairs]
        speech = speech_frames(wavs) if self.detect_speech else [None] * len(wavs)
        for (number, wav), frames, row in zip(pairs, speech, self._probabilities(wavs), strict=True):
            one, place = heard[windows[number, 0]], number_in[number]
            one.probabilities[place], one.speech[place] = row, frames
            one.is_speech |= frames is None or has_speech(wav, frames)

    @torch.inference_mode()
    def _probabilities(self, wavs: Sequence[np.ndarray]) -> np.ndarray:
        """Return (windows, classes) float64 softmax of (samples,) float32 windows."""
        features, model = self.trained.features, self.trained.model
        counts = torch.tensor([len(wav) for wav in wavs], device=features.device)
        with features.autocast():
            frames = features([torch.from_numpy(np.ascontiguousarray(wav)).to(features.device) for wav in wavs])
            logits = model.logits(model.latents(frames, torch.zeros_like(counts), counts))
        return logits.cpu().double().softmax(dim=1).numpy()


def _read(heard: list[Heard], window: np.ndarray) -> np.ndarray | None:
    """Return a window's (samples,) float32, or None where its recording has turned out to be broken."""
    index, start, count = map(int, window)
    one = heard[index]
    if one.error is None:
        try:
            return one.recording.read(start, count)
        except UserError as error:
            one.error = error
    return None
