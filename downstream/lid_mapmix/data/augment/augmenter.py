"""Augmentation of training crops: the draws for each crop, and the folders of noise and impulse responses.

Every draw is keyed by seed, epoch, utterance and role, so that it does not depend on the number of workers or on where
a run was interrupted. Evaluation augments nothing. The settings are ``data.augment`` in config.yaml.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import UserError
from ...utils.randomness import keyed_generator
from ..audio.folders import EXTENSIONS, audio_below
from ..audio.reading import MINIMUM_SAMPLES, read_audio, read_header
from .effects import Codec, add_noise, change_speed, reverberate, through_telephone


@dataclass(frozen=True, eq=False)
class AudioFolder:
    """The recordings of a folder, in the order of their paths."""

    paths: Sequence[Path]  # of the files
    counts: np.ndarray  # (files,) int64, lengths in samples at 16 kHz

    @classmethod
    def open(cls, folder: str, setting: str) -> "AudioFolder":
        """List the audio of a folder and its subfolders, and read all headers.

        Raises UserError: no such folder, no audio in it, or unreadable audio; the message names the setting.
        """
        try:
            if not Path(folder).is_dir():
                raise UserError(f"{folder}: no such folder. Use a folder with audio, or null.")
            # Sorted by their parts: a draw gives the same file wherever the folder is.
            paths = audio_below(Path(folder))
            if not paths:
                expected = f"audio in it or its subfolders ({', '.join(EXTENSIONS)})"
                raise UserError(f"{folder}: expected {expected}, found none. Use another folder, or null.")
            return cls(paths, np.array([read_header(path).samples for path in paths]))
        except UserError as error:
            raise UserError(f"data.augment.{setting}: {error}") from None

    def read_looped(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Draw a file and a start, and read (count,) float32 samples; a shorter file is repeated."""
        number = int(generator.integers(len(self.paths)))
        path, available = self.paths[number], int(self.counts[number])
        if available >= count:
            return read_audio(path, int(generator.integers(available - count + 1)), count)
        start = int(generator.integers(available))
        return np.resize(np.roll(read_audio(path), -start), count)

    def read_whole(self, generator: np.random.Generator) -> np.ndarray:
        """Draw a file and read all of it, (samples,) float32."""
        return read_audio(self.paths[int(generator.integers(len(self.paths)))])


@dataclass(frozen=True, eq=False)
class Augmenter:
    """Augmentation of training crops, in this order: speed, reverberation, noise, codec."""

    seed: int  # of the draws
    speeds: Sequence[float]  # factors, one drawn per crop; none for the recorded speed
    # noise, noise_snr, noise_probability: recordings, minimum and maximum ratio in dB, fraction of crops with noise.
    noise: AudioFolder | None
    noise_snr: Sequence[float]
    noise_probability: float
    # rir, rir_probability: room impulse responses, fraction of crops with reverberation.
    rir: AudioFolder | None
    rir_probability: float
    # codecs, codec_probability: codecs, one drawn per crop, fraction of coded crops.
    codecs: Sequence[Codec]
    codec_probability: float

    @classmethod
    def open(cls, seed: int, *, noise: str | None, rir: str | None, **others: Any) -> "Augmenter | None":
        """Open the folders; None without augmentation. The settings are those of ``data.augment``.

        Raises UserError: a folder is missing or empty, or has unreadable audio.
        """
        if not (noise or rir or others["speeds"] or others["codecs"]):
            return None
        noises = AudioFolder.open(noise, "noise") if noise else None
        responses = AudioFolder.open(rir, "rir") if rir else None
        return cls(seed=seed, noise=noises, rir=responses, **others)

    def draw_speed(self, available: int, *key: int) -> float:
        """Draw the speed of a crop.

        `available`: samples of its utterance at 16 kHz; an utterance too short for a faster speed is not changed.
        `key`: epoch, utterance, role, …
        """
        if not self.speeds:
            return 1.0
        speed = float(keyed_generator(self.seed, "speed", *key).choice(self.speeds))
        return speed if available >= MINIMUM_SAMPLES * speed else 1.0

    def augment(self, audio: np.ndarray, speed: float, *key: int) -> np.ndarray:
        """Augment the audio of a crop, without its padding; returns (⌈samples / speed⌉,) float32.

        Raises UserError: a recording of noise, or an impulse response, cannot be read.

        `audio`: (samples,) float32 at 16 kHz. It is not changed. `speed`: as drawn for the crop. `key`: epoch,
        utterance, role, …
        """
        audio = change_speed(audio, speed)
        if self.rir is not None:
            generator = keyed_generator(self.seed, "rir", *key)
            if generator.random() < self.rir_probability:
                audio = reverberate(audio, self.rir.read_whole(generator))
        if self.noise is not None:
            generator = keyed_generator(self.seed, "noise", *key)
            if generator.random() < self.noise_probability:
                lowest, highest = self.noise_snr
                snr = generator.uniform(lowest, highest)
                audio = add_noise(audio, self.noise.read_looped(len(audio), generator), snr)
        if self.codecs:
            generator = keyed_generator(self.seed, "codec", *key)
            if generator.random() < self.codec_probability:
                audio = through_telephone(audio, self.codecs[int(generator.integers(len(self.codecs)))])
        return audio
