r"""Cost of training dynamics: recording them in a training step, and computing the data map of millions of utterances.

    .venv/bin/python bench/dynamics.py                                        # all three tables, about six minutes
    .venv/bin/python bench/dynamics.py --tables step                          # recording compared to a training step
    .venv/bin/python bench/dynamics.py --tables map naive --utterances 1000000 --out /var/tmp

step   recording inside training steps of the demo model (forward, backward, clipping, Adam; audio is read beforehand),
       alternating steps with and without it; then alone, by size of corpus and batch.
map    --utterances × --epochs, written by EpochRecorder and turned into a data map. "input" is the memory used before:
       interpreter, torch, manifest, target classes.
naive  the same, compared to the published implementation (a dict of arrays that grow by copying, and a loop over
       utterances), both with --naive-utterances, alternately, each time in a new process.

Needs Linux, and 10 bytes of disk per utterance and epoch and 80 per utterance for datamap.csv. Only ratios within one
run are meaningful. Seconds are wall-clock time, which depends on other load, unless marked as CPU time.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dynamics_step import BATCH, BATCHES, CLASSES, CORPORA, recording_cost, step_cost
from lid_mapmix.mapmix.datamap import Measures, fixed_regions, measures, quantile_regions
from lid_mapmix.mapmix.datamap_files import write_datamap
from lid_mapmix.mapmix.dynamics import EpochRecorder, read_dynamics, write_epoch
from tidy import tidy_when_stopped

_CHUNK = 65536
_FINGERPRINT = "made up"
_GIB = 2**30


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=["step", "map", "naive"], default=["step", "map", "naive"])
    parser.add_argument("--steps", type=int, default=60, help="training steps, half of them recorded; default: 60")
    parser.add_argument(
        "--utterances", type=int, default=10_000_000, help="utterances of the table map; default: 10 million"
    )
    parser.add_argument(
        "--naive-utterances", type=int, default=100_000, help="utterances of the table naive; default: 100 thousand"
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of the table naive; default: 3")
    # With more, torch waits for whatever else keeps a core busy, and that would be measured.
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; default: 1")
    parser.add_argument("--out", type=Path, help="folder for temporary files")
    options = parser.parse_args()
    tidy_when_stopped()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # for the processes started below
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        if "step" in options.tables:
            _print_step(
                _in_fresh_process(step_cost, folder, options.steps),
                _in_fresh_process(recording_cost, min(20, options.steps)),
            )
        if "map" in options.tables:
            _in_fresh_process(write_epochs, folder, options.utterances, options.epochs)
            _print_map(options, *_in_fresh_process(make_map, folder, options.utterances))
        if "naive" in options.tables:
            size = (options.naive_utterances, options.epochs)
            runs = []
            for _ in range(options.repeats):
                runs.append((_in_fresh_process(naive, *size), _in_fresh_process(ours, folder, *size)))
            _print_naive(options.naive_utterances, runs)


def _in_fresh_process(work: Callable, *arguments: Any) -> Any:
    # The peak of a process never falls, and a new one takes over that of the process it is started from: hence one for
    # each piece of work, and nothing large in this one.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


# The map of many utterances ----------------------------------------------------------------------------------------


def write_epochs(folder: str, utterances: int, epochs: int) -> None:
    """Write made-up epochs by EpochRecorder; how an utterance is learnt depends on its number."""
    target_classes = _target_classes(utterances)
    for epoch in range(epochs):
        generator = np.random.default_rng(epoch)
        order = generator.permutation(utterances)
        recorder = EpochRecorder(utterances, len(CLASSES))
        for start in range(0, utterances, _CHUNK):
            rows = order[start : start + _CHUNK]
            softmax = generator.random((len(rows), len(CLASSES)), dtype=np.float32)
            softmax[np.arange(len(rows)), target_classes[rows]] *= 1 + rows % 97
            recorder.add(rows, target_classes[rows], softmax / softmax.sum(axis=1, keepdims=True))
        write_epoch(Path(folder) / "dynamics", epoch, recorder, _FINGERPRINT)


def make_map(folder: str, utterances: int) -> tuple[float, list[tuple[str, float, float, float]]]:
    """Return the GiB of the input, and (stage, seconds, its CPU's, peak GiB so far) of each stage of the map."""
    target_classes = _target_classes(utterances)
    ids = np.arange(utterances, 2 * utterances).astype("U8")
    columns = {
        "audiopath": ids,
        "class": np.array(CLASSES)[target_classes],
        "seconds": np.full(utterances, 3.0),
        "id": ids,
    }
    before, stages = _resident_gib(), []

    def timed(stage: str, work: Callable[[], Any]) -> Any:
        start, cpu_start = time.perf_counter(), time.process_time()
        result = work()
        stages.append((stage, time.perf_counter() - start, time.process_time() - cpu_start, _peak_gib()))
        return result

    read = timed(
        "read_dynamics", lambda: read_dynamics(Path(folder) / "dynamics", target_classes, len(CLASSES), _FINGERPRINT)
    )
    measured = timed("measures", lambda: measures(read.probabilities, read.correct))
    timed("quantile_regions, all", lambda: quantile_regions(measured.confidence))
    timed("quantile_regions, per class", lambda: quantile_regions(measured.confidence, groups=target_classes))
    regions = timed("fixed_regions", lambda: fixed_regions(measured.confidence, measured.variability))
    timed("write_datamap", lambda: write_datamap(Path(folder) / "datamap.csv", columns, measured, regions))
    return before, stages


# Against the published way -----------------------------------------------------------------------------------------


def naive(utterances: int, epochs: int) -> dict[str, float]:
    """Record into a dict of arrays that grow by copying, reduce by a loop; return seconds, GiB, mean confidence."""
    probabilities: dict[str, np.ndarray] = {}
    correct: dict[str, np.ndarray] = {}
    seconds, before = 0.0, 0.0
    for epoch in range(epochs):
        made_up = _epoch(utterances, epoch)
        before = before or _resident_gib()
        start = time.perf_counter()
        for indices, target_classes, logits in _batches(*made_up):
            softmax = logits.float().softmax(dim=1).numpy()
            for index, label, row in zip(indices.tolist(), target_classes.tolist(), softmax, strict=True):
                name = f"utterance-{index}"
                probabilities[name] = np.append(probabilities.get(name, np.zeros(0, np.float32)), row[label])
                correct[name] = np.append(correct.get(name, np.zeros(0, bool)), row.argmax() == label)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    found = {}
    for name, values in probabilities.items():
        confidence, variability = values.mean(), values.std()
        easy, hard = confidence > 0.6 and variability < 0.3, confidence < 0.3 and variability < 0.2  # noqa: PLR2004
        region = "easy" if easy else "hard" if hard else "ambiguous"
        found[name] = confidence, variability, correct[name].mean(), region
    mean = float(np.mean([each[0] for each in found.values()]))
    return _outcome(seconds, time.perf_counter() - start, before, mean)


def ours(folder: str, utterances: int, epochs: int) -> dict[str, float]:
    """Do the same as :func:`naive` with this package, files included."""
    directory = Path(folder) / "small"
    seconds, before = 0.0, 0.0
    for epoch in range(epochs):
        made_up = _epoch(utterances, epoch)
        before = before or _resident_gib()
        start = time.perf_counter()
        recorder = EpochRecorder(utterances, len(CLASSES))
        for indices, target_classes, logits in _batches(*made_up):
            recorder.add(indices, target_classes, logits.float().softmax(dim=1))
        write_epoch(directory, epoch, recorder, _FINGERPRINT)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    read = read_dynamics(directory, _target_classes(utterances), len(CLASSES), _FINGERPRINT)
    found: Measures = measures(read.probabilities, read.correct)
    fixed_regions(found.confidence, found.variability)
    return _outcome(seconds, time.perf_counter() - start, before, float(found.confidence.mean()))


def _epoch(utterances: int, epoch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(epoch)
    order = torch.randperm(utterances, generator=generator)
    return order, order % len(CLASSES), 3 * torch.randn(utterances, len(CLASSES), generator=generator)


def _batches(*columns: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    return zip(*(column.split(BATCH) for column in columns), strict=True)


def _outcome(record: float, reduce: float, before: float, mean: float) -> dict[str, float]:
    return {"record": record, "reduce": reduce, "growth": _peak_gib() - before, "mean": mean}


def _target_classes(utterances: int) -> np.ndarray:
    return np.arange(utterances) % len(CLASSES)


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB


def _resident_gib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / _GIB


# Tables ------------------------------------------------------------------------------------------------------------


def _print_step(step: dict[str, float], recording: dict[tuple[int, int], float]) -> None:
    print(
        f"training step of the demo, batch {BATCH}: {1e3 * step['without']:.1f} ms without recording, "
        f"{1e3 * step['with']:.1f} ms with it (medians)\n"
        f"recording in it: {1e6 * step['recording']:.0f} µs, {step['recording'] / step['without']:.3%}\n"
    )
    print("recording a step, µs     " + "".join(f"{f'batch {batch}':>14}" for batch in BATCHES))
    for corpus in CORPORA:
        print(f"{corpus:>14,} utterances" + "".join(f"{1e6 * recording[corpus, batch]:>14.0f}" for batch in BATCHES))
    print(flush=True)


def _print_map(options: argparse.Namespace, before: float, stages: list[tuple[str, float, float, float]]) -> None:
    print(f"data map of {options.utterances:,} utterances × {options.epochs} epochs; input {before:.2f} GiB")
    print(f"{'':<30}{'seconds':>9}{'CPU':>9}{'peak GiB so far':>17}{'above input':>13}")
    total = ("all of them", *np.sum([stage[1:3] for stage in stages], axis=0), stages[-1][3])
    for stage, seconds, cpu, peak in [*stages, total]:
        print(f"{stage:<30}{seconds:>9.1f}{cpu:>9.1f}{peak:>17.2f}{peak - before:>13.2f}")
    print(flush=True)


def _print_naive(utterances: int, runs: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    sides = list(zip(*runs, strict=True))
    if not np.allclose(*([run["mean"] for run in side] for side in sides), rtol=1e-5):
        raise SystemExit("naive and ours disagree about the mean confidence")
    print(f"{utterances:,} utterances, batches of {BATCH}, median of {len(runs)} alternating runs")
    print(f"{'':<30}{'naive':>9}{'ours':>9}{'ratio':>9}")
    for key, title in (
        ("record", "recording, s"),
        ("reduce", "making the map, s"),
        ("growth", "peak above input, MiB"),
    ):
        old, new = (float(np.median([run[key] for run in side])) * (1024 if key == "growth" else 1) for side in sides)
        print(f"{title:<30}{old:>9.2f}{new:>9.2f}{old / new:>9.1f}")


if __name__ == "__main__":
    main()
