"""Small corpora that tests make: each class hums in a pitch of its own, so that a model learns it in a few steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from lid_mapmix.data.manifest import write_manifest
from lid_mapmix.randomness import keyed_generator

CLASSES = ("xaa-one", "xaa-two", "ybb-one", "ybb-two")
SIZES = {"train": 8, "dev": 3, "test": 3}


def hum(seconds: float, pitch: float, seed: int, sample_rate: int = 16_000) -> np.ndarray:
    """Return (samples,) float32: a harmonic tone with vibrato in noise."""
    generator = keyed_generator(seed, "hum")
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * pitch * time + 2 * np.sin(2 * np.pi * 5 * time + generator.uniform(0, 6))
    tone = sum(np.sin(phase * harmonic) / harmonic for harmonic in range(1, 6))
    return (0.1 * tone + 0.02 * generator.standard_normal(len(time))).astype(np.float32)


def make_corpus(
    folder: Path,
    *,
    classes: Sequence[str] = CLASSES,
    sizes: Mapping[str, int] | None = None,
    seconds: float = 1.0,
) -> Path:
    """Write train.csv, dev.csv and test.csv with `sizes` utterances a class, and return the folder."""
    for split, size in (sizes or SIZES).items():
        columns: dict[str, list] = {name: [] for name in ("audiopath", "class", "seconds", "source")}
        for number, name in enumerate(classes):
            for index in range(size):
                path = folder / "audio" / split / f"{name}-{index}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = hash_number(split, name, index)
                length = seconds * (1 + 0.1 * (index % 3))
                soundfile.write(path, hum(length, 120 * 1.5**number, seed), 16_000)
                columns["audiopath"].append(path.relative_to(folder).as_posix())
                columns["class"].append(name)
                columns["seconds"].append(round(length, 3))
                columns["source"].append("hum")
        write_manifest(folder / f"{split}.csv", columns)
    return folder


def hash_number(*parts: object) -> int:
    """Return a number below 2**32 for a seed."""
    return int(keyed_generator(0, "|".join(map(str, parts))).integers(2**32))
