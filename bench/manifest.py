r"""Cost of a manifest with millions of rows: time to open it, memory, and memory per worker process.

    .venv/bin/python bench/manifest.py
    .venv/bin/python bench/manifest.py --rows 1000000

open      seconds from the file to checked columns and class numbers, and the peak memory of the process, including
          Python, NumPy and torch; each in its own process, CSV and Parquet alternately.
worker    private memory of a DataLoader worker after it has read every row once, minus that of one that reads nothing.
list      the same for a list of dicts read from CSV, as in most training code; a tenth of the rows without --list-rows.
"""

import argparse
import csv
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lid_mapmix.data.labels import labels_from_manifest
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from torch.utils.data import DataLoader, Dataset

_CLASSES, _SPEAKERS = 100, 20_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of the manifest; default: %(default)s")
    parser.add_argument("--list-rows", type=int, help="rows of the list of dicts; default: a tenth of --rows")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions; default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("train.csv", "train.parquet")]
        columns = _columns(options.rows)
        for path in paths:
            write_manifest(path, columns)
        few = Path(folder) / "few.csv"
        list_rows = options.list_rows or options.rows // 10
        write_manifest(few, {name: values[:list_rows] for name, values in columns.items()})
        del columns
        print(f"{options.rows:,} rows; median of {options.repeats}, each in a new process")
        print(f"{'':10}{'rows':>12}{'MB of file':>12}{'open s':>10}{'CPU s':>8}{'peak GB':>10}{'worker MB':>12}")
        # In turn, so that what else the machine does meets all of them.
        found: dict[Path, list[tuple[float, ...]]] = {path: [] for path in (*paths, few)}
        for _ in range(options.repeats):
            for path, measured in found.items():
                measured.append(_in_a_process(_open_list if path == few else _open_columns, path))
        for path, measured in found.items():
            name, rows = ("list", list_rows) if path == few else (path.suffix[1:], options.rows)
            seconds, processor, peak, worker = (statistics.median(values) for values in zip(*measured, strict=True))
            size = path.stat().st_size / 1e6
            print(f"{name:10}{rows:>12,}{size:>12.0f}{seconds:>10.1f}{processor:>8.1f}{peak:>10.2f}{worker:>12.1f}")


def _columns(rows: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    classes, speakers = generator.integers(_CLASSES, size=rows), generator.integers(_SPEAKERS, size=rows)
    return {
        "audiopath": [
            f"audio/class-{name:03d}/speaker-{speaker:05d}/recording-{number:08d}.flac"
            for number, (name, speaker) in enumerate(zip(classes.tolist(), speakers.tolist(), strict=True))
        ],
        "class": [f"class-{name:03d}" for name in classes.tolist()],
        "seconds": generator.uniform(3, 30, size=rows).round(3),
        "speaker": [f"speaker-{speaker:05d}" for speaker in speakers.tolist()],
    }


class _Rows(Dataset):
    """Says of each row how long its path is, which needs a look at it."""

    def __init__(self, row: Callable[[int], tuple[str, float]], rows: int) -> None:
        self.row, self.rows = row, rows

    def __getitem__(self, numbers: range) -> int:
        before = _own_bytes()
        for number in numbers:
            self.row(number)
        return _own_bytes() - before


def _open_columns(path: Path) -> tuple[float, ...]:
    start, processor = time.perf_counter(), time.process_time()
    manifest = read_manifest(path)
    labels_from_manifest(manifest).class_indices(manifest)
    opened = time.perf_counter() - start, time.process_time() - processor, _peak()
    columns = manifest.columns

    def row(number: int) -> tuple[str, float]:
        return str(manifest.audio_path(number)), float(columns["seconds"][number])

    return (*opened, _worker_bytes(row, len(manifest)) / 1e6)


def _open_list(path: Path) -> tuple[float, ...]:
    start, processor = time.perf_counter(), time.process_time()
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    opened = time.perf_counter() - start, time.process_time() - processor, _peak()

    def row(number: int) -> tuple[str, float]:
        return str(path.parent / rows[number]["audiopath"]), float(rows[number]["seconds"])

    return (*opened, _worker_bytes(row, len(rows)) / 1e6)


def _worker_bytes(row: Callable[[int], tuple[str, float]], rows: int) -> float:
    looks = DataLoader(
        _Rows(row, rows),
        batch_size=None,
        sampler=[range(0), range(rows)],  # type: ignore[arg-type]
        num_workers=1,
        multiprocessing_context="fork",  # as training runs have it; this process was not forked itself
    )
    nothing, everything = (int(value) for value in looks)
    return everything - nothing


def _own_bytes() -> int:
    """Return how much memory this process shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty", "Private_Clean")))


def _peak() -> float:
    # Not resource.getrusage, which counts what the process that started this one held.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e9


def _in_a_process(work: Callable[[Path], tuple[float, ...]], path: Path) -> tuple[float, ...]:
    # Not a fork of this one, whose memory it would begin with.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, path, sender))
    process.start()
    sender.close()  # so that a process that fails is not waited for
    result = receiver.recv()
    process.join()
    return result


def _send(work: Callable[[Path], tuple[float, ...]], path: Path, sender: Any) -> None:
    torch.set_num_threads(1)
    sender.send(work(path))


if __name__ == "__main__":
    main()
