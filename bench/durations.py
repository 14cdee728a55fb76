"""What a calibration by duration gains and loses on few dev utterances, by simulation.

    .venv/bin/python bench/durations.py        # about 2 minutes on one core

Observations of an utterance grow with the square root of its duration; scores are calibrated log-probabilities at 8 s,
and at other durations they are divided by (seconds / 8) ** exponent, so they claim too much where the exponent is
above 0. An affine calibration is fitted on N dev utterances of 8 s, and the dependence on duration on these and on
cuts of 0.5, 1 and 3 s. Printed are the mean losses on 20 thousand others over those of the scores as they are, with
their standard errors, with and without the dependence.
"""

import argparse

import numpy as np
from lid_mapmix.scoring.calibration import Calibration
from lid_mapmix.scoring.calibration_fit import fit, fit_duration
from lid_mapmix.scoring.proper import log_loss
from scipy.special import log_softmax

_SECONDS = (0.5, 1.0, 3.0, 8.0)
_TEST = 20_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", nargs="+", type=int, default=[2, 5, 20])
    parser.add_argument("--distances", nargs="+", type=float, default=[1.0, 3.0], help="of the classes at 8 s")
    parser.add_argument("--exponents", nargs="+", type=float, default=[0.0, 0.5])
    parser.add_argument("--utterances", nargs="+", type=int, default=[5, 20, 50, 200], help="of dev")
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    print(
        "classes distance exponent  dev  fitted  loss over raw at", *(f"{each:g} s" for each in _SECONDS), "(without)"
    )
    worst = -np.inf
    for classes in options.classes:
        for distance in options.distances:
            for exponent in options.exponents:
                test, truth = _draw(_TEST, classes, distance, exponent, np.random.default_rng(1))
                raw = [log_loss(np.exp(scores), truth) for scores in test]
                for count in options.utterances:
                    names, generator = [str(number) for number in range(classes)], np.random.default_rng(2)
                    found, ratios = [], []
                    for _ in range(options.repeats):
                        dev, dev_truth = _draw(count, classes, distance, exponent, generator)
                        whole = fit("affine", dev[-1], dev_truth, names)
                        rows, seconds = np.concatenate(dev), np.repeat(_SECONDS, count)
                        by_duration = fit_duration(whole, rows, np.tile(dev_truth, len(dev)), seconds, _SECONDS[-1])
                        found.append(by_duration.exponent)
                        ratios.append([_ratios(one, test, truth, raw) for one in (by_duration, whole)])
                    means = np.mean(ratios, axis=0)
                    errors = np.std(ratios, axis=0)[0] / np.sqrt(options.repeats)
                    worst = max(worst, float(means[0].max()))
                    cells = zip(means[0], errors, means[1], strict=True)
                    text = "  ".join(f"{mean:.3f} ± {error:.3f} ({without:.3f})" for mean, error, without in cells)
                    print(f"{classes:7} {distance:8} {exponent:8} {count:4} {np.mean(found):7.2f}  {text}", flush=True)
    print(f"largest ratio with the dependence: {worst:.3f}")


def _draw(
    count: int, classes: int, distance: float, exponent: float, generator: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return log-probabilities (count, classes) per duration, and the classes (count,)."""
    truth, scores = generator.integers(classes, size=count), []
    for seconds in _SECONDS:
        relative = seconds / _SECONDS[-1]
        far = distance * np.sqrt(relative)
        observed = generator.standard_normal((count, classes)) + far * np.eye(classes)[truth]
        scores.append(log_softmax(far * observed / relative**exponent, axis=1))
    return scores, truth


def _ratios(calibration: Calibration, test: list[np.ndarray], truth: np.ndarray, raw: list[float]) -> list[float]:
    """Return the loss over the raw one at each duration."""
    return [
        log_loss(np.exp(calibration.log_probabilities(scores, seconds=seconds)), truth) / loss
        for scores, seconds, loss in zip(test, _SECONDS, raw, strict=True)
    ]


if __name__ == "__main__":
    main()
