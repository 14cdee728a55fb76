r"""Time and memory of bootstrap confidence intervals of all scores, and of a plain bootstrap of the accuracy.

    .venv/bin/python bench/bootstrap.py --trials 100000 --classes 100 --samples 1000

The limit at that size is 60 s and 4 GB on 2 cores. Peak memory is that of the whole process.
"""

import argparse
import resource
import statistics
import time

import numpy as np
from lid_mapmix.scoring.bootstrap import bootstrap
from lid_mapmix.scoring.weighted import WeightedScores
from scipy.special import log_softmax


def main() -> None:
    """Make scores, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="number of utterances; default: 2000")
    parser.add_argument("--classes", type=int, default=10, help="number of classes; default: 10")
    parser.add_argument("--samples", type=int, default=100, help="bootstrap resamples; default: 100")
    parser.add_argument(
        "--repeats", type=int, default=1, help="repetitions, of which the median is printed; default: 1"
    )
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    truth = generator.integers(options.classes, size=options.trials)
    logits = generator.normal(size=(options.trials, options.classes)) * 2
    logits[np.arange(options.trials), truth] += 3
    values = log_softmax(logits, axis=1)
    group = (np.arange(options.trials) // 2).astype(str)
    wall, processor, drawing = [], [], []
    for _ in range(options.repeats):
        start, used = time.perf_counter(), time.process_time()
        found = bootstrap(
            WeightedScores(values, truth, np.arange(options.classes) // 3), group, samples=options.samples
        )
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
        drawing.append(_draw_again(values, truth, options.samples))
    for name, interval in found.items():
        print(f"{name:15} {interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(
        f"\n{options.trials} trials, {options.classes} classes, {options.samples} samples: all {len(found)} scores in "
        f"{statistics.median(wall):.1f} s ({statistics.median(processor):.1f} s of processors), peak {peak:.2f} GiB\n"
        f"drawn again for the accuracy alone: {statistics.median(drawing):.1f} s, ratio "
        f"{statistics.median(drawing) / statistics.median(wall):.2f}"
    )


def _draw_again(values: np.ndarray, truth: np.ndarray, samples: int, measured: int = 10) -> float:
    """Return the seconds that copying the drawn rows takes, from the first few samples."""
    generator = np.random.default_rng(1)
    start = time.perf_counter()
    for _ in range(min(samples, measured)):
        rows = generator.integers(len(truth), size=len(truth))
        (values[rows].argmax(axis=1) == truth[rows]).mean()
    return (time.perf_counter() - start) * samples / min(samples, measured)


if __name__ == "__main__":
    main()
