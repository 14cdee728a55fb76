"""The network run over all windows of some recordings, whose windows share batches, and what is heard in them."""

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
class Heard:
    """What was heard in a recording of W windows.

    Attributes
    ----------
    recording : it.
    windows : (W, 2) int64, first sample and number of samples.
    probabilities : (W, classes) float64, each window's softmax.
    speech : (frames,) bool for each window, see :mod:`.speech`; None where speech was not looked for in it.
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

    def hear(
        self,
        recordings: Sequence[Recording],
        hop: float,
        progress: Callable[[float], None],
        *,
        keeps_frames: bool = False,
    ) -> list[Heard]:
        """Run the network on all windows of some recordings.

        Parameters
        ----------
        recordings : of which no more than a batch of windows is read at once.
        hop : seconds from the start of a window to that of the next.
        progress : is told how many seconds of audio were heard, after each batch.
        keeps_frames : whether to say of all windows where in them somebody speaks, and not only of whole recordings
            whether somebody does.
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
                there = [(number, wav) for number, wav in zip(batch, loaded, strict=True) if wav is not None]
                if there:
                    places = [(int(windows[number, 0]), int(number_in[number])) for number, _ in there]
                    self._hear_batch(heard, places, [wav for _, wav in there], keeps_frames=keeps_frames)
                progress(float(windows[batch, 2].sum()) / SAMPLE_RATE)
        return heard

    def _hear_batch(
        self,
        heard: list[Heard],
        places: Sequence[tuple[int, int]],
        wavs: Sequence[np.ndarray],
        *,
        keeps_frames: bool,
    ) -> None:
        """Hear windows, each with the number of its recording and of itself within that."""
        for (index, place), row in zip(places, self._probabilities(wavs), strict=True):
            heard[index].probabilities[place] = row
            heard[index].is_speech |= not self.detect_speech
        if not self.detect_speech:
            return
        if keeps_frames:
            self._look_for_speech(heard, places, wavs)
            return
        # Of most recordings one window is enough to know that somebody speaks.
        firsts = list({index: number for number, (index, _) in reversed(list(enumerate(places)))}.values())
        for chosen in (firsts, sorted(set(range(len(places))) - set(firsts))):
            open_ = [number for number in chosen if not heard[places[number][0]].is_speech]
            self._look_for_speech(heard, [places[number] for number in open_], [wavs[number] for number in open_])

    @staticmethod
    def _look_for_speech(heard: list[Heard], places: Sequence[tuple[int, int]], wavs: Sequence[np.ndarray]) -> None:
        for (index, place), wav, frames in zip(places, wavs, speech_frames(wavs), strict=True):
            heard[index].speech[place] = frames
            heard[index].is_speech |= has_speech(wav, frames)

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
