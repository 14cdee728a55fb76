r"""Speed of reading training audio: crops from long files, and the time that training waits for batches.

    .venv/bin/python bench/dataload.py
    .venv/bin/python bench/dataload.py --tables starvation --data data/demo

crops       8 s crops read per second from 60 s files, by seeking (as lid_mapmix does) and by reading, downmixing and
            resampling the whole file; alternately, with one thread and files in the page cache.
starvation  fraction of the time of a training run with the demo settings spent waiting for batches, by workers.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import torchaudio
from lid_mapmix.apps.runs import launch
from lid_mapmix.data.audio.reading import SAMPLE_RATE, read_audio
from lid_mapmix.data.loader import TaskLoader
from tidy import tidy_when_stopped

_DEMO = Path(__file__).resolve().parents[1] / "downstream/lid_mapmix/config/demo.yaml"
_SECONDS, _CROP_SECONDS = 60, 8
_KINDS = {
    "flac, 16 kHz": ("flac", 16_000, {}),
    "flac, 44.1 kHz, stereo": ("flac", 44_100, {"channels": 2}),
    "SPHERE, 8 kHz µ-law": ("sph", 8_000, {"format": "NIST", "subtype": "ULAW"}),
    "wav, 16 kHz": ("wav", 16_000, {}),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ["crops", "starvation"]
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables)
    parser.add_argument("--files", type=int, default=10, help="files of each kind; default: 10")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions; default: 5")
    parser.add_argument("--data", type=Path, default=Path("data/demo"), help="prepared corpus; default: data/demo")
    parser.add_argument("--steps", type=int, default=100, help="training steps; default: 100")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1], help="numbers of workers; default: 0 and 1")
    options = parser.parse_args()
    tidy_when_stopped()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if "crops" in options.tables:
            _print_crops(Path(folder), options.files, options.repeats)
        if "starvation" in options.tables:
            _print_starvation(Path(folder), options)


def _print_crops(folder: Path, count: int, repeats: int) -> None:
    print(f"{_CROP_SECONDS} s crops a second from {_SECONDS} s files, median of {repeats}:")
    print(f"{'':24}{'seeking':>10}{'whole file':>12}{'ratio':>8}")
    for kind, (suffix, sample_rate, form) in _KINDS.items():
        paths = _write_files(folder, count, suffix, sample_rate, **form)
        rates: dict[str, list[float]] = {"seeking": [], "whole": []}
        generator = np.random.default_rng(0)
        for repeat in range(repeats):
            starts = generator.integers((_SECONDS - _CROP_SECONDS) * SAMPLE_RATE, size=count).tolist()
            sides = [("seeking", read_audio), ("whole", _read_whole)]
            for name, read in sides if repeat % 2 else reversed(sides):
                begin = time.perf_counter()
                crops = [
                    read(path, start, _CROP_SECONDS * SAMPLE_RATE) for path, start in zip(paths, starts, strict=True)
                ]
                rates[name].append(count / (time.perf_counter() - begin))
                assert all(len(crop) == _CROP_SECONDS * SAMPLE_RATE for crop in crops)
        seeking, whole = np.median(rates["seeking"]), np.median(rates["whole"])
        print(f"{kind:24}{seeking:10.0f}{whole:12.0f}{seeking / whole:8.1f}")


def _write_files(folder: Path, count: int, suffix: str, sample_rate: int, channels: int = 1, **form: str) -> list[Path]:
    """Write noise whose level goes up and down as that of speech does."""
    generator = np.random.default_rng(0)
    paths = []
    for number in range(count):
        frames = np.arange(_SECONDS * sample_rate)
        level = 0.05 * (1 + np.sin(2 * np.pi * 3 * frames / sample_rate))
        audio = level[:, None] * generator.standard_normal((len(frames), channels))
        paths.append(folder / f"{sample_rate}-{number}.{suffix}")
        soundfile.write(paths[-1], audio.clip(-1, 1), sample_rate, **form)
    return paths


def _read_whole(path: Path, start: int, count: int) -> np.ndarray:
    """Read a crop in the usual way: all of the file, mixed and resampled, of which a part is kept."""
    audio, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = torch.from_numpy(audio.mean(axis=1))
    if sample_rate != SAMPLE_RATE:
        mono = torchaudio.functional.resample(mono, sample_rate, SAMPLE_RATE)
    return mono[start : start + count].numpy()


def _print_starvation(folder: Path, options: argparse.Namespace) -> None:
    print(f"\nwaiting for data in {options.steps} steps of the demo's settings on {options.data}:")
    print(f"{'workers':>8}{'training s':>12}{'waiting s':>12}{'share':>8}")
    for workers in options.workers:
        total, waiting = _train(options.data, folder / f"run-{workers}", options.steps, workers)
        print(f"{workers:8}{total:12.1f}{waiting:12.1f}{waiting / total:8.1%}")


def _train(data: Path, expdir: Path, steps: int, workers: int) -> tuple[float, float]:
    """Train; return the seconds from asking for the first batch to the end of the last step, and those waited."""
    waits: list[tuple[float, float]] = []  # when, and for how long
    ends: list[float] = []
    iterate = TaskLoader.__iter__

    def timed(loader: TaskLoader) -> Iterator[Any]:
        batches = iterate(loader)
        while True:
            begin = time.perf_counter()
            batch = next(batches, None)
            waits.append((begin, time.perf_counter() - begin))
            if batch is None:
                return
            yield batch
            ends.append(time.perf_counter())

    overrides = [f"config.runner.total_steps={steps}", "config.runner.eval_dataloaders=[]"]
    overrides += [f"config.downstream_expert.data.workers={workers}", f"config.runner.save_step={steps}"]
    flags = ["-d", "lid_mapmix", "-u", "fbank", "-v", "latent_random", "-c", str(_DEMO), "--data", str(data)]
    flags += ["-p", str(expdir), "--device", "cpu", "-o", ",,".join(overrides)]
    TaskLoader.__iter__ = timed  # type: ignore[method-assign]
    try:
        if launch.main(flags) != 0:
            raise SystemExit("the training failed")
    finally:
        TaskLoader.__iter__ = iterate  # type: ignore[method-assign]
    # What comes after the last step is the evaluation of the test split.
    end = ends[steps - 1]
    return end - waits[0][0], sum(seconds for begin, seconds in waits if begin < end)


if __name__ == "__main__":
    main()
