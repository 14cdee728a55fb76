r"""Train variants with several seeds, as the leaderboard does, and write a table of the results.

    .venv/bin/python bench/table.py bench/demo_table.yaml --data data/table --out result/table --jobs 2
    .venv/bin/python bench/table.py bench/demo_table.yaml --data data/table --out result/table --write docs/results.md

The YAML file holds regimes: training utterances per class, settings, optimizer steps per run, and runs, each a variant
with its own settings. Runs of one seed that need a data map share it; it is trained first, with additional steps.
Complete runs are not repeated, so the command can be stopped and run again, also in several processes at once.
"""

import argparse
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from lid_mapmix.apps.leaderboard.grid import Grid, GridUpstream, GridVariant, Run
from lid_mapmix.apps.leaderboard.jobs import make_jobs
from lid_mapmix.apps.leaderboard.running import Work
from lid_mapmix.apps.leaderboard.state import Status
from lid_mapmix.config.sources import TASK_KEY, merge
from lid_mapmix.data.labels import read_labels, write_labels
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from lid_mapmix.scoring.calibration_fit import fit
from lid_mapmix.scoring.choices import Kind
from lid_mapmix.scoring.files.own import read_scores
from lid_mapmix.scoring.metrics import expected_calibration_error
from scipy.stats import t as student

_DATA = "data"
_SCORES = {"acc": "Acc", "wf1": "WF1", "c_acc": "C.Acc", "ece": "ECE", "ece_calibrated": "ECE cal.", "nll": "NLL"}


@dataclass(frozen=True)
class Regime:
    """One table: the same data and settings for all of its runs.

    Attributes
    ----------
    name : of the regime, and of its folder.
    title : title of the table.
    utterances : training utterances per class.
    steps : optimizer steps per run.
    seeds : one run per seed.
    reference : run that the others are compared to.
    settings : override those of the defaults and the variant.
    runs : name → variant and settings.
    """

    name: str
    title: str
    utterances: int
    steps: int
    seeds: list[int]
    reference: str
    settings: dict[str, Any]
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)


def main() -> None:
    """Run what is missing, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("regimes", type=Path, metavar="YAML", help="file of the regimes")
    parser.add_argument("--data", required=True, type=Path, help="folder with train.csv, dev.csv, test.csv")
    parser.add_argument("--out", required=True, type=Path, help="folder of the runs")
    parser.add_argument("--upstream", default="fbank")
    parser.add_argument("--only", nargs="+", metavar="REGIME", help="train only these regimes")
    parser.add_argument("--runs", nargs="+", metavar="RUN", help="train only these runs")
    parser.add_argument("--seeds", nargs="+", type=int, help="seeds instead of those of the file")
    parser.add_argument("--jobs", type=int, default=1, help="parallel runs; default: 1")
    parser.add_argument(
        "--write", type=Path, metavar="MD", help="file in which to replace the tables between the marks"
    )
    parser.add_argument("--reference", metavar="RUN", help="compare to this run instead of that of the file")
    parser.add_argument("--difference", choices=list(_SCORES), default="wf1", help="score to compare; default: wf1")
    options = parser.parse_args()
    if options.write and (options.only or options.runs or options.seeds or options.reference):
        parser.error("--write replaces all tables: remove --only, --runs, --seeds and --reference")
    regimes = _read_regimes(options)
    for regime in regimes:
        data = _few(options.data, options.out / regime.name / _DATA, regime.utterances)
        grid = _grid(options, regime, data)
        work = Work(make_jobs(grid), grid.folder)
        work.work(options.jobs)
        if failed := [state.fault for state in work.outcomes.values() if state.status is not Status.COMPLETE]:
            raise SystemExit(f"{regime.name}: {failed[0]}")
    tables = "\n\n".join(_table(options, regime) for regime in regimes)
    if options.write is None:
        print(tables)
    else:
        _replace_between_marks(options.write, tables)


def _read_regimes(options: argparse.Namespace) -> list[Regime]:
    content = yaml.safe_load(options.regimes.read_text(encoding="utf-8"))
    regimes = [Regime(name=name, **values) for name, values in content.items() if name in (options.only or content)]
    for regime in regimes:
        if options.seeds:
            regime.seeds[:] = options.seeds
        for name in [name for name in regime.runs if options.runs and name not in options.runs]:
            del regime.runs[name]
    return regimes


def _few(data: Path, out: Path, utterances: int) -> Path:
    """Make a folder of the same data with the first utterances of each training class only."""
    out.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev", "test"):
        manifest = read_manifest(data / f"{split}.csv")
        seen: dict[str, int] = {}
        kept = []
        for number, name in enumerate(manifest.columns["class"].tolist()):
            seen[name] = seen.get(name, 0) + 1
            if split != "train" or seen[name] <= utterances:
                kept.append(number)
        audio = [os.path.relpath(manifest.audio_path(number), out) for number in kept]
        columns = {name: values[kept] for name, values in manifest.columns.items()}
        write_manifest(out / f"{split}.csv", columns | {"audiopath": np.array(audio)})
    write_labels(out / "labels.yaml", read_labels(data / "labels.yaml"))
    return out


def _grid(options: argparse.Namespace, regime: Regime, data: Path) -> Grid:
    """Return the leaderboard's grid of a regime: the same folders, data maps and locks serve here."""
    return Grid(
        upstreams={options.upstream: GridUpstream()},
        variants={
            name: GridVariant(run["variant"], {TASK_KEY: run.get("settings", {})}) for name, run in regime.runs.items()
        },
        data={_DATA: str(data)},
        seeds=regime.seeds,
        settings=merge(regime.settings, {"runner": {"total_steps": regime.steps}}),
        out=str(options.out / regime.name),
    )


def _scores(folder: Path) -> dict[str, float]:
    """Return the scores of a run's test split, and those after one temperature fitted on dev."""
    scores = json.loads((folder / "test_metrics.json").read_text())["overall"]
    dev, test = read_scores(folder / "dev_scores.csv"), read_scores(folder / "test_scores.csv")
    calibration = fit(Kind.TEMPERATURE, dev.log_probabilities, dev.truth_indices, dev.classes)
    calibrated = calibration.log_probabilities(test.log_probabilities)
    likelihood = calibrated[np.arange(len(test.ids)), test.truth_indices]
    return scores | {
        "ece_calibrated": expected_calibration_error(np.exp(calibrated), test.truth_indices),
        "nll": float(-likelihood.mean()),
        "temperature": 1 / calibration.matrix[0][0],
    }


def _table(options: argparse.Namespace, regime: Regime) -> str:
    """Return a Markdown table of means over seeds, and of differences to the reference, seed by seed."""

    def scores_of(name: str, seed: int) -> dict[str, float]:
        return _scores(options.out / regime.name / Run(options.upstream, name, _DATA, seed).folder)

    scores = {name: [scores_of(name, seed) for seed in regime.seeds] for name in regime.runs}
    compared = options.reference or regime.reference
    reference = scores.get(compared)
    name_of_score = _SCORES[options.difference]
    lines = [
        f"{regime.title}: {len(regime.seeds)} seeds, {regime.steps} optimizer steps per run, {regime.utterances} "
        "training utterances per class. Mean ± standard deviation over seeds; T is the temperature fitted on dev; "
        f"Δ{name_of_score} times 100 relative to {compared}, paired by seed, with a 95 % interval (Student). "
        "All runs have the same settings except those in their name; data maps take additional epochs.",
        "",
        f"| run | {' | '.join(_SCORES.values())} | T | Δ{name_of_score} |",
        "|---" * (len(_SCORES) + 3) + "|",
    ]
    for name, runs in scores.items():
        cells = [_mean_and_deviation([run[key] for run in runs]) for key in _SCORES]
        cells.append(f"{np.mean([run['temperature'] for run in runs]):.2f}")
        cells.append("" if reference is None or runs is reference else _difference(runs, reference, options.difference))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean_and_deviation(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.3f}"


def _difference(runs: list[dict[str, float]], reference: list[dict[str, float]], score: str) -> str:
    points = [100 * (one[score] - other[score]) for one, other in zip(runs, reference, strict=True)]
    if len(points) < 2:  # noqa: PLR2004
        return f"{points[0]:+.1f}"
    half = student.ppf(0.975, len(points) - 1) * np.std(points, ddof=1) / np.sqrt(len(points))
    return f"{np.mean(points):+.1f} ± {half:.1f}"


def _replace_between_marks(path: Path, tables: str) -> None:
    before, mark, rest = path.read_text(encoding="utf-8").partition("<!-- tables -->\n")
    _, end, after = rest.partition("<!-- end of tables -->")
    if not mark or not end:
        raise SystemExit(f"{path}: has no '<!-- tables -->' and '<!-- end of tables -->' to write between")
    path.write_text(f"{before}{mark}\n{tables}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
