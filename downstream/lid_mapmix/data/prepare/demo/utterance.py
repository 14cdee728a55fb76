"""One utterance of the demo corpus, from its text to a file.

Speed, pitch, noise, spectral tilt and level are drawn for each file, so that nothing but the pronunciation goes with
the dialect.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from ....utils.randomness import keyed_generator, keyed_seed
from ...audio.reading import SAMPLE_RATE
from . import espeak
from .dialects import Dialect

# How hard the corpus is: speech level over noise, and how much a recording's spectrum is tilted.
NOISE_RATIO_DECIBELS = (5.0, 20.0)
LARGEST_TILT = 0.5
LEVEL_DECIBELS = (-36.0, -24.0)
WORDS_PER_MINUTE = (140, 190)
PITCH = (35, 65)
SECONDS = (4.0, 10.0)

_SEED_LIMIT = 2**31
_LARGEST_SAMPLE = 32_767


@dataclass(frozen=True)
class Utterance:
    """What one file says; those of one split and index say the same in all dialects of a cluster.

    Attributes
    ----------
    id : unique name.
    dialect : the class.
    split : ``train``, ``dev`` or ``test``.
    index : number within the split.
    speaker : eSpeak's voice variant.
    text : the words, in the dialect's locale.
    """

    id: str
    dialect: Dialect
    split: str
    index: int
    speaker: str
    text: str

    @property
    def audio_path(self) -> str:
        """The file, relative to the folder of the corpus."""
        return f"audio/{self.dialect.name}/{self.id}.wav"


def write_utterance(utterance: Utterance, folder: Path, seed: int) -> float:
    """Say an utterance, write its file and return its duration in seconds.

    Parameters
    ----------
    utterance : what to say and who says it.
    folder : of the corpus; the folder of the audio is there already.
    seed : the corpus's seed, of speed, pitch, noise and level.
    """
    purpose = f"speak {utterance.dialect.name} {utterance.split}"
    generator = keyed_generator(seed, purpose, utterance.index)
    voice_seed = keyed_seed(seed, purpose, utterance.index) % _SEED_LIMIT
    speed, pitch = int(generator.integers(*WORDS_PER_MINUTE)), int(generator.integers(*PITCH))

    def say(words_per_minute: int) -> np.ndarray:
        voice = espeak.Voice(utterance.dialect.language, utterance.speaker, words_per_minute, pitch)
        return espeak.synthesise(utterance.text, voice, voice_seed)

    spoken = say(speed)
    seconds = len(spoken) / espeak.SAMPLE_RATE
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        # Said again at the speed that brings it inside; a twentieth more, since pauses do not follow the speed.
        factor = 1.05 * seconds / SECONDS[1] if seconds > SECONDS[1] else 0.95 * seconds / SECONDS[0]
        spoken = say(round(speed * factor))
    samples = _through_channel(_resample(spoken), generator)
    soundfile.write(folder / utterance.audio_path, samples, SAMPLE_RATE, subtype="PCM_16")
    return round(len(samples) / SAMPLE_RATE, 3)


def _resample(spoken: np.ndarray) -> np.ndarray:
    waveform = torch.from_numpy(spoken / np.float32(_LARGEST_SAMPLE + 1))
    return torchaudio.functional.resample(waveform, espeak.SAMPLE_RATE, SAMPLE_RATE).numpy()


def _through_channel(speech: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Tilt the spectrum, add noise and set the level: (samples,) float32 → (samples,) int16."""
    tilted = np.convolve(speech, [1.0, generator.uniform(-LARGEST_TILT, LARGEST_TILT)])[: len(speech)]
    noise = np.convolve(
        generator.standard_normal(len(speech)), [1.0, generator.uniform(-LARGEST_TILT, LARGEST_TILT)], mode="same"
    )
    ratio = generator.uniform(*NOISE_RATIO_DECIBELS)
    mixture = tilted + noise * _level(tilted) / _level(noise) * 10 ** (-ratio / 20)
    mixture *= 10 ** (generator.uniform(*LEVEL_DECIBELS) / 20) / _level(mixture)
    return np.rint(np.clip(mixture, -1, 1) * _LARGEST_SAMPLE).astype(np.int16)


def _level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))
