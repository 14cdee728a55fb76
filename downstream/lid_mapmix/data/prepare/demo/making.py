"""Generates the audio and manifests of the demo corpus from its plan.

Speed, pitch, noise, spectral tilt and level are drawn for each file, so that only the pronunciation depends on the
dialect.
"""

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
from tqdm import tqdm

from ....utils.errors import UserError
from ....utils.files import write_csv
from ....utils.randomness import keyed_generator, keyed_seed
from ....utils.threads import usable_cores
from ... import SPLITS
from ...audio.reading import SAMPLE_RATE
from ...labels import Labels
from ..steps.prepared_folder import cannot_write, preparation, remove_manifests, write_corpus
from . import espeak
from .demo import CLUSTERS, Dialect

# To be raised whenever the same settings give different audio.
RECIPE = 2
MINIMUM_UTTERANCES = 5
# Difficulty of the corpus: ratio of speech to noise, and maximum spectral tilt of a recording.
NOISE_RATIO_DECIBELS = (5.0, 20.0)
LARGEST_TILT = 0.5
LEVEL_DECIBELS = (-36.0, -24.0)
WORDS_PER_MINUTE = (140, 190)
PITCH = (35, 65)
SECONDS = (4.0, 10.0)

_SEED_LIMIT = 2**31
_LARGEST_SAMPLE = 32_767


@dataclass(frozen=True)
class PlannedUtterance:
    """The content of a file; those with the same split and index have the same phrases in all dialects of a cluster."""

    id: str  # unique name
    dialect: Dialect  # the class
    split: str  # ``train``, ``dev`` or ``test``
    index: int  # number within the split
    speaker: str  # eSpeak's voice variant
    text: str  # the words, in the dialect's locale

    @property
    def audio_path(self) -> str:
        """Path of the file, relative to the folder of the corpus."""
        return f"audio/{self.dialect.name}/{self.id}.wav"


def make_demo(
    folder: Path,
    *,
    utterances: int,
    clusters: Sequence[str] = tuple(CLUSTERS),
    seed: int = 0,
    overwrite: bool = False,
    processes: int | None = None,
) -> Path:
    """Generate the demo corpus in a folder, which is returned.

    Raises UserError: too few utterances, a missing package, or a folder that cannot be written.

    `utterances`: per dialect, over all splits. `seed`: the same seed gives the same files, byte for byte. `processes`:
    by default one per core.
    """
    if utterances < MINIMUM_UTTERANCES:
        raise UserError(
            f"--utterances {utterances}: expected at least {MINIMUM_UTTERANCES}, so that each split has one. Raise it."
        )
    chosen = {name: CLUSTERS[name] for name in CLUSTERS if name in clusters}
    settings = {"corpus": "demo", "recipe": RECIPE, "utterances": utterances, "clusters": list(chosen), "seed": seed}
    with preparation(folder, settings, overwrite=overwrite) as needed:
        if not needed:
            return folder
        try:
            # Babel comes with an extra; other commands work without it.
            from . import planning  # noqa: PLC0415
        except ModuleNotFoundError as error:
            if error.name != "babel":
                raise
            raise UserError(
                "the demo corpus needs the package babel, which is not installed. Run 'pip install babel "
                "espeakng-loader'."
            ) from None
        planned = [
            utterance
            for cluster, members in chosen.items()
            for utterance in planning.plan_cluster(cluster, members, utterances, seed)
        ]
        try:
            remove_manifests(folder)
            for members in chosen.values():
                for dialect in members:
                    (folder / "audio" / dialect.name).mkdir(parents=True, exist_ok=True)
            seconds = _speak(planned, folder, seed, processes or usable_cores())
            # For human readers.
            write_csv(folder / "texts.csv", ("id", "text"), ((utterance.id, utterance.text) for utterance in planned))
        except OSError as error:
            raise cannot_write(folder, error) from None
        labels = Labels({cluster: tuple(member.name for member in members) for cluster, members in chosen.items()})
        return write_corpus(folder, settings, _manifests(planned, seconds), labels)


def _speak(planned: Sequence[PlannedUtterance], folder: Path, seed: int, processes: int) -> list[float]:
    """Write all files in parallel, and return their durations in seconds."""
    say = partial(write_utterance, folder=folder, seed=seed)
    progress = partial(tqdm, total=len(planned), desc="Speaking", unit="item")
    if processes == 1:
        return list(progress(map(say, planned)))
    # Spawned, not forked, because this process may have torch threads running.
    with multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool:
        return list(progress(pool.imap(say, planned, chunksize=max(1, min(16, len(planned) // processes)))))


def _manifests(planned: Sequence[PlannedUtterance], seconds: Sequence[float]) -> dict[str, dict[str, Sequence]]:
    rows_of: dict[str, list] = {split: [] for split in SPLITS}
    for utterance, duration in zip(planned, seconds, strict=True):
        rows_of[utterance.split].append(
            (utterance.audio_path, utterance.dialect.name, duration, utterance.id, utterance.speaker, "espeak-ng")
        )
    names = ("audiopath", "class", "seconds", "id", "speaker", "source")
    return {split: dict(zip(names, zip(*sorted(rows), strict=True), strict=True)) for split, rows in rows_of.items()}


def write_utterance(utterance: PlannedUtterance, folder: Path, seed: int) -> float:
    """Synthesise an utterance, write its file into the folder of the corpus, and return its duration in seconds."""
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
        # Repeated at a speed that fits the limits; 5 % more, because pauses do not follow the speed.
        factor = 1.05 * seconds / SECONDS[1] if seconds > SECONDS[1] else 0.95 * seconds / SECONDS[0]
        spoken = say(round(speed * factor))
    waveform = torch.from_numpy(spoken / np.float32(_LARGEST_SAMPLE + 1))
    speech = torchaudio.functional.resample(waveform, espeak.SAMPLE_RATE, SAMPLE_RATE).numpy()
    samples = _through_channel(speech, generator)
    soundfile.write(folder / utterance.audio_path, samples, SAMPLE_RATE, subtype="PCM_16")
    return round(len(samples) / SAMPLE_RATE, 3)


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
