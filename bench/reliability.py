"""Reliability of a run's test split truncated to several durations, before and after calibration.

    .venv/bin/python bench/reliability.py result/downstream/demo docs/reliability.png

Prints per duration accuracy, mean top probability and ECE before and after, and the ECE of a perfectly calibrated
system of this size and accuracy (the floor).
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lid_mapmix.apps.report.figures import new_figure, save_figure
from lid_mapmix.apps.runs.launch import prepare_use
from lid_mapmix.apps.runs.procedure import run_of_use
from lid_mapmix.apps.settings.arguments import make_parser
from lid_mapmix.evaluation.truncation import TruncationEvaluation
from lid_mapmix.scoring.calibration import read_calibration
from lid_mapmix.scoring.metrics import calibration_scores, logarithms, reliability_curve

_SHOWN = (0.5, 1.0, 3.0, math.inf)


class _Reliability(TruncationEvaluation):
    """Keeps probabilities before and after calibration, and prints the scores of each duration."""

    found: list[tuple[np.ndarray, np.ndarray]]
    truth: np.ndarray

    def conclude(self, name: str, records: Mapping[str, list], step: int) -> tuple[dict[str, float], bool]:
        split, calibration = self.corpus.split(name), read_calibration(self.folder.calibration)
        self.truth, self.found = split.target_classes, []
        print(f"{'seconds':>8} {'acc':>6} {'top p':>12} {'ECE':>12} {'floor':>6}")
        for seconds, before in zip(self.seconds, self.averages(name, records, step), strict=True):
            kept = np.minimum(split.seconds, seconds)
            after = np.exp(calibration.log_probabilities(logarithms(before), seconds=kept))
            self.found.append((before, after))
            raw, cal = (calibration_scores(values, self.truth) for values in (before, after))
            right = (after.argmax(axis=1) == self.truth).mean()
            tops = " ".join(f"{values.max(axis=1).mean():.3f}" for values in (before, after))
            print(f"{seconds:8g} {right:6.3f} {tops:>12} {raw['ece']:6.3f}{cal['ece']:6.3f} {cal['ece_floor']:6.3f}")
        return {}, False


def main() -> None:
    """Evaluate, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.25, 0.5, 1, 2, 3, 4, math.inf])
    options = parser.parse_args()
    evaluation = make_parser("reliability").parse_args(["-m", "evaluate", "-e", str(options.run), "-t", "test"])
    prepare_use(evaluation)
    kept: list[_Reliability] = []
    run_of_use(evaluation).evaluate(lambda expert: kept.append(_Reliability.of(expert, options.seconds)))
    _draw(options.figure, kept[0], options.seconds)


def _draw(path: Path, evaluation: Any, seconds: Sequence[float]) -> None:
    chosen = [each for each in _SHOWN if each in seconds]
    figure = new_figure(path, 2.5 * len(chosen), 2.9)
    for axes, each in zip(figure.subplots(1, len(chosen), sharey=True), chosen, strict=True):
        axes.plot([0, 1], [0, 1], color="0.25", linewidth=0.9, linestyle=(0, (4, 2)))
        pairs = zip(("before", "after"), ("#d95f02", "#1b4e9b"), evaluation.found[seconds.index(each)], strict=True)
        for label, colour, probabilities in pairs:
            points = reliability_curve(probabilities, evaluation.truth)
            error = calibration_scores(probabilities, evaluation.truth)["ece"]
            x, y = ([point[name] for point in points] for name in ("confidence", "accuracy"))
            axes.plot(x, y, marker="o", markersize=3.5, linewidth=1.2, color=colour, label=f"{label}: ECE {error:.2f}")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=f"{each:g} s" if math.isfinite(each) else "whole")
        axes.grid(color="0.9")
        axes.legend(fontsize=7, loc="upper left")
        axes.set_xlabel("probability", fontsize=9)
    figure.axes[0].set_ylabel("accuracy", fontsize=9)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
