r"""Speed of reading audio from tar shards (``lid-mapmix pack``), compared to separate files.

    .venv/bin/python bench/shards.py
    .venv/bin/python bench/shards.py --out DIR --tables sequential --files 20000

crops       8 s crops read per second at random positions of random utterances of 20 s, as in training, with and without
            the audio in the page cache.
sequential  utterances per second when a split of many short ones is read in the order of its manifest, without the page
            cache. Files are written in that order, or in another, as for a split drawn from a corpus.

Both are read alternately with one thread. With the page cache, seconds are CPU time, which depends less on other load.
Without it they are wall-clock time: as root, the caches of the system are dropped before each pass; otherwise only the
cached content of each file is dropped, which favours separate files. Caches of the disk or of the host of a virtual
machine cannot be dropped.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from lid_mapmix.data.audio.reading import SAMPLE_RATE, read_audio
from lid_mapmix.data.export.packing import pack
from lid_mapmix.data.manifest.manifest import Manifest, read_manifest, write_manifest
from tidy import tidy_when_stopped

_DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_CROP_SECONDS, _CROP_FILE_SECONDS = 8, 20
_SHORT_SECONDS = (1.0, 3.0)
_FOLDERS = 50
_KINDS = {
    "wav, 16 kHz": ("wav", 16_000, {}),
    "flac, 16 kHz": ("flac", 16_000, {}),
    "SPHERE, 8 kHz µ-law": ("sph", 8_000, {"format": "NIST", "subtype": "ULAW"}),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ["crops", "sequential"]
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder on the disk to measure; default: TMPDIR")
    parser.add_argument(
        "--crop-files", type=int, default=300, help="files of the table crops, of each kind; default: 300"
    )
    parser.add_argument("--files", type=int, default=5000, help="files of the table sequential; default: 5000")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions; default: 5")
    options = parser.parse_args()
    tidy_when_stopped()
    torch.set_num_threads(1)
    how = "all of the system's caches" if os.access(_DROP_CACHES, os.W_OK) else "the content of each file only"
    print(f"out of the cache: {how} dropped before each pass; medians of {options.repeats}")
    if "crops" in options.tables:
        _print_crops(options)
    if "sequential" in options.tables:
        _print_sequential(options)


def _print_crops(options: argparse.Namespace) -> None:
    print(f"\n{_CROP_SECONDS} s crops a second from {options.crop_files} utterances of {_CROP_FILE_SECONDS} s:")
    print(f"{'':26}{'cache':>8}{'files':>10}{'shards':>10}{'ratio':>8}")
    for kind, (suffix, sample_rate, form) in _KINDS.items():
        with tempfile.TemporaryDirectory(dir=options.out) as folder:
            lengths = [_CROP_FILE_SECONDS] * options.crop_files
            loose, packed = _write(Path(folder), lengths, suffix, sample_rate, range(len(lengths)), **form)
            for cache in ("in", "out"):
                rates = _compare(
                    [loose, packed],
                    _read_crops,
                    options.repeats,
                    cold=cache == "out",
                )
                _print_row(kind, cache, rates)


def _print_sequential(options: argparse.Namespace) -> None:
    generator = np.random.default_rng(1)
    lengths = generator.uniform(*_SHORT_SECONDS, size=options.files).tolist()
    print(f"\nutterances a second, {options.files} of {_SHORT_SECONDS[0]:g} to {_SHORT_SECONDS[1]:g} s read in order:")
    print(f"{'':26}{'cache':>8}{'files':>10}{'shards':>10}{'ratio':>8}")
    orders = {"in that order": range(len(lengths)), "in another": generator.permutation(len(lengths)).tolist()}
    for suffix, sample_rate, form in _KINDS.values():
        for name, order in orders.items():
            with tempfile.TemporaryDirectory(dir=options.out) as folder:
                sides = _write(Path(folder), lengths, suffix, sample_rate, order, **form)
                rates = _compare(sides, lambda manifest, _: _read_all(manifest), options.repeats, cold=True)
                _print_row(f"{suffix}, written {name}", "out", rates)


def _print_row(kind: str, cache: str, rates: np.ndarray) -> None:
    loose, packed = np.median(rates, axis=0)
    ratio = np.median(rates[:, 1] / rates[:, 0])
    print(f"{kind:26}{cache:>8}{loose:10.0f}{packed:10.0f}{ratio:8.2f}", flush=True)


def _write(
    folder: Path, lengths: Sequence[float], suffix: str, sample_rate: int, order: Iterable[int], **form: str
) -> tuple[Manifest, Manifest]:
    """Write noise, in `order`, and return the manifest of the files and that of their shards.

    Parameters
    ----------
    lengths : of the utterances in the order of the manifest, in seconds.
    """
    noise = 0.05 * np.random.default_rng(0).standard_normal(round(2 * max(lengths) * sample_rate))
    loose = folder / "loose"
    names = [f"{number % _FOLDERS:02d}/{number:06d}.{suffix}" for number in range(len(lengths))]
    for number in range(_FOLDERS):
        (loose / f"{number:02d}").mkdir(parents=True)
    for number in order:
        count = round(lengths[number] * sample_rate)
        start = number * 997 % (len(noise) - count)
        soundfile.write(loose / names[number], noise[start : start + count], sample_rate, **form)
    write_manifest(
        loose / "train.csv",
        {
            "audiopath": names,
            "class": ["a-a", "a-b"] * (len(names) // 2) + ["a-a"] * (len(names) % 2),
            "seconds": lengths,
        },
    )
    pack(loose, folder / "packed", shard_bytes=10**8)
    os.sync()
    return read_manifest(loose / "train.csv"), read_manifest(folder / "packed/train.csv")


def _compare(
    manifests: Sequence[Manifest], read: Callable[[Manifest, int], int], repeats: int, *, cold: bool
) -> np.ndarray:
    """Return what `read` counts, a second, (repeats, sides)."""
    rates = np.zeros((repeats, len(manifests)))
    clock = time.perf_counter if cold else time.process_time
    if not cold:
        for manifest in manifests:
            _read_all(manifest)
    for repeat in range(repeats):
        sides = range(len(manifests))
        for side in sides if repeat % 2 else reversed(sides):
            if cold:
                _drop_caches(manifests[side].path.parent)
            begin = clock()
            count = read(manifests[side], repeat)
            rates[repeat, side] = count / (clock() - begin)
    return rates


def _read_crops(manifest: Manifest, seed: int) -> int:
    generator = np.random.default_rng(seed)
    numbers = generator.permutation(len(manifest)).tolist()
    starts = generator.integers((_CROP_FILE_SECONDS - _CROP_SECONDS) * SAMPLE_RATE, size=len(numbers)).tolist()
    for number, start in zip(numbers, starts, strict=True):
        read_audio(manifest.audio_path(number), start, _CROP_SECONDS * SAMPLE_RATE)
    return len(numbers)


def _read_all(manifest: Manifest) -> int:
    for number in range(len(manifest)):
        read_audio(manifest.audio_path(number))
    return len(manifest)


def _drop_caches(folder: Path) -> None:
    if os.access(_DROP_CACHES, os.W_OK):
        _DROP_CACHES.write_text("3")
        return
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


if __name__ == "__main__":
    main()
