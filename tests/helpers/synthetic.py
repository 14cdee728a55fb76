"""Small corpora that tests make: each class hums in a pitch of its own, so that a model learns it in a few steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from lid_mapmix.data.dataset import Split
from lid_mapmix.data.labels import Labels, labels_from_manifest
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from lid_mapmix.utils.randomness import keyed_generator

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


def write_sphere_ulaw(path: Path, codes: bytes, sample_rate: int = 8_000) -> Path:
    """Write a NIST SPHERE file of µ-law bytes, as the telephone corpora of the LDC come."""
    header = (
        "NIST_1A\n   1024\n"
        f"channel_count -i 1\nsample_count -i {len(codes)}\nsample_rate -i {sample_rate}\n"
        "sample_n_bytes -i 1\nsample_coding -s4 ulaw\nend_head\n"
    )
    path.write_bytes(header.encode("ascii").ljust(1024) + codes)
    return path


def open_split(folder: Path, name: str = "train") -> tuple[Split, Labels]:
    """Open a split of a small corpus and derive its labels."""
    manifest = read_manifest(folder / f"{name}.csv")
    labels = labels_from_manifest(manifest)
    return Split.open(manifest, labels), labels
