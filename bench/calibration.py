"""What a calibration fitted on few dev utterances gains and loses, by simulation.

    .venv/bin/python bench/calibration.py                   # a temperature; about 10 minutes on one core
    .venv/bin/python bench/calibration.py --kinds temperature affine vector --offsets 1

Scores of C classes: log-probabilities of observations with unit variance around C orthogonal points, at the distance
that gives an accuracy. They are calibrated; the system's scores are these times 1 / T*, plus offsets per class. A
calibration is fitted on N dev utterances, many times; its loss (nats) is on 10 thousand others. Printed are the
mean losses over that of the system's own scores (`raw`) and of the calibrated ones (`oracle`, which with offsets no
temperature reaches). The constants of lid_mapmix/scoring/calibration_fit.py were chosen by it.
"""

import argparse

import numpy as np
from lid_mapmix.scoring.calibration_fit import fit
from lid_mapmix.scoring.choices import Kind
from lid_mapmix.scoring.proper import log_loss
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

_TEST = 10_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=[kind.value for kind in Kind], default=["temperature"])
    parser.add_argument("--classes", nargs="+", type=int, default=[2, 20, 100])
    parser.add_argument("--accuracies", nargs="+", type=float, default=[0.6, 0.8, 0.95, 0.99, 0.998])
    parser.add_argument("--temperatures", nargs="+", type=float, default=[0.37, 1.0, 2.7], help="T*")
    parser.add_argument("--utterances", nargs="+", type=int, default=[5, 20, 50, 200, 500], help="of dev")
    parser.add_argument("--offsets", type=float, default=0.0, help="standard deviation of the offsets per class")
    parser.add_argument("--repeats", type=int, default=60)
    options = parser.parse_args()
    print(f"{'classes':>7} {'acc':>6} {'T*':>5} {'dev':>5} {'errors':>7}  loss over raw and over oracle, %:", end=" ")
    print(*options.kinds, sep=", ")
    worst = dict.fromkeys(options.kinds, -np.inf)
    for classes in options.classes:
        for accuracy in options.accuracies:
            distance = _distance(accuracy, classes)
            test = _draw(_TEST, classes, distance, np.random.default_rng(1))
            for temperature in options.temperatures:
                for utterances in options.utterances:
                    over, errors = _losses(options, distance, test, temperature, utterances)
                    cells = "  ".join(f"{100 * raw:+7.2f} {100 * best:+7.2f}" for raw, best in over.values())
                    print(
                        f"{classes:7} {accuracy:6.3f} {temperature:5.2f} {utterances:5} {errors:7.1f}  {cells}",
                        flush=True,
                    )
                    worst = {kind: max(worst[kind], over[kind][0]) for kind in worst}
    print("most over raw, %:", ", ".join(f"{kind} {100 * value:+.2f}" for kind, value in worst.items()))


def _losses(
    options: argparse.Namespace,
    distance: float,
    test: tuple[np.ndarray, np.ndarray],
    temperature: float,
    utterances: int,
) -> tuple[dict[str, tuple[float, float]], float]:
    """Return kind → mean loss over raw and over the oracle, less 1; and the mean number of dev errors."""
    right, truth = test
    classes = right.shape[1]
    names = [str(number) for number in range(classes)]
    generator = np.random.default_rng(2)
    raw, errors, found = [], [], {kind: [] for kind in options.kinds}
    for _ in range(options.repeats):
        offsets = generator.normal(0, options.offsets, classes) if options.offsets else np.zeros(classes)
        dev, dev_truth = _draw(utterances, classes, distance, generator)
        scores = (dev + offsets) / temperature
        errors.append((scores.argmax(axis=1) != dev_truth).sum())
        others = (right + offsets) / temperature
        raw.append(log_loss(softmax(others, axis=1), truth))
        for kind, losses in found.items():
            calibrated = fit(kind, scores, dev_truth, names).log_probabilities(others)
            losses.append(log_loss(np.exp(calibrated), truth))
    oracle = log_loss(np.exp(right), truth)
    means = {kind: np.mean(losses) for kind, losses in found.items()}
    return {kind: (mean / np.mean(raw) - 1, mean / oracle - 1) for kind, mean in means.items()}, float(np.mean(errors))


def _draw(count: int, classes: int, distance: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return calibrated log-probabilities (N, C) and classes (N,)."""
    truth = generator.integers(classes, size=count)
    observed = generator.standard_normal((count, classes)) + distance * np.eye(classes)[truth]
    return log_softmax(distance * observed, axis=1), truth


def _distance(accuracy: float, classes: int) -> float:
    """Return the distance of the classes that gives an accuracy."""
    noise = np.random.default_rng(0).standard_normal((20_000, classes))

    def surplus(distance: float) -> float:
        return float((noise[:, 0] + distance > noise[:, 1:].max(axis=1)).mean()) - accuracy

    return float(brentq(surplus, 0, 20, xtol=1e-3))


if __name__ == "__main__":
    main()
