r"""Train variants with several seeds under several amounts of label noise, and write tables of the results.

    .venv/bin/python bench/table.py bench/demo_table.yaml --data data/table --out result/table
    .venv/bin/python bench/table.py bench/demo_table.yaml --write docs/results.md

Each seed has its own training utterances, wrong labels and weights; dev and test keep their labels. A data map is
trained once per regime and seed. From it come the label-noise map of mapmix_auto, and the cleaned training data of rows
with `data: clean`. Complete runs are not repeated, nor those whose scores are in the file --scores, so the command can
be stopped and run again, on another machine too, and in several processes at once, each with its own --out.
"""

import argparse
import csv
import json
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from lid_mapmix.apps.leaderboard.grid import Grid, GridUpstream, GridVariant, Run
from lid_mapmix.apps.leaderboard.jobs import make_jobs
from lid_mapmix.apps.leaderboard.running import Work
from lid_mapmix.apps.leaderboard.state import Status
from lid_mapmix.apps.runs.recorded_datamap import RecordedDatamap
from lid_mapmix.config.sources import TASK_KEY, merge
from lid_mapmix.data.labels import Labels, read_labels, write_labels
from lid_mapmix.data.manifest.manifest import Manifest, read_manifest, write_manifest
from lid_mapmix.utils.randomness import keyed_generator
from lid_mapmix.utils.run_folder import RunFolder
from scipy.stats import t as student
from suspects import swap_labels

_UPSTREAM, _MAP, _CLEAN = "fbank", "map", "clean"
_REFERENCE = "latent_random"
# Column of the scores → path in test_metrics.json.
_SCORES = {
    "wf1": ("overall", "wf1"),
    "c_acc": ("overall", "c_acc"),
    "log_loss": ("overall", "log_loss"),
    "ece": ("overall", "ece"),
    "log_loss_calibrated": ("calibrated", "overall", "log_loss"),
    "cllr_calibrated": ("calibrated", "overall", "cllr"),
    "ece_calibrated": ("calibrated", "overall", "ece"),
    "ece_floor": ("calibrated", "overall", "ece_floor"),
}
_TITLES = {
    "wf1": "WF1",
    "c_acc": "C.Acc",
    "ece": "ECE",
    "log_loss_calibrated": "log loss cal.",
    "cllr_calibrated": "Cllr cal.",
    "ece_calibrated": "ECE cal.",
    "ece_floor": "its floor",
}
_SUSPECTS = ("rate", "estimated", "precision", "recall", "cleanlab_estimated", "cleanlab_precision", "cleanlab_recall")
_COLUMNS = ("regime", "row", "seed", *_SCORES, *_SUSPECTS)


@dataclass(frozen=True)
class Regime:
    """One table: size of the training data and label noise."""

    title: str
    utterances: int  # per class
    noise: float  # fraction of wrong labels
    within: bool  # whether a wrong label is of the same cluster
    seeds: list[int]
    settings: dict[str, Any]  # override those of the file


def main() -> None:
    """Run what is missing, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path, metavar="YAML", help="file of the regimes and rows")
    parser.add_argument("--data", type=Path, help="folder with train.csv, dev.csv, test.csv; default: train nothing")
    parser.add_argument("--out", type=Path, help="folder of the runs; needed with --data")
    parser.add_argument("--only", nargs="+", metavar="REGIME", help="train only these regimes")
    parser.add_argument("--seeds", nargs="+", type=int, help="train only these seeds")
    parser.add_argument("--jobs", type=int, default=1, help="parallel runs; default: 1")
    parser.add_argument("--scores", type=Path, help="CSV of the scores; default: that of the experiment's name")
    parser.add_argument("--write", type=Path, metavar="MD", help="replace the tables between the marks of a file")
    options = parser.parse_args()
    path = options.scores or options.experiment.with_suffix(".csv")
    content = yaml.safe_load(options.experiment.read_text(encoding="utf-8"))
    regimes = {name: Regime(**values) for name, values in content["regimes"].items()}
    if options.data:
        for name, regime in regimes.items():
            for seed in regime.seeds:
                if name in (options.only or regimes) and seed in (options.seeds or regime.seeds):
                    _run(options, content, name, seed, path)
    found = {name: _table(name, regime, _read(path)) for name, regime in regimes.items()}
    missing = ", ".join(name for name, text in found.items() if not text)
    rest = [_suspect_table(_read(path)), *([f"Without a complete seed yet: {missing}."] if missing else [])]
    tables = "\n\n".join([*filter(None, found.values()), *rest])
    if options.write is None:
        print(tables)
    else:
        _replace_between_marks(options.write, tables)


def _run(options: argparse.Namespace, content: dict[str, Any], name: str, seed: int, path: Path) -> None:
    """Train the rows of a regime and seed that have no scores yet."""
    regime, known = (
        Regime(**content["regimes"][name]),
        {(row["regime"], row["row"], row["seed"]) for row in _read(path)},
    )
    rows = {row: dict(each) for row, each in content["rows"].items() if (name, row, str(seed)) not in known}
    if not rows:
        return
    root = options.out / name / f"seed-{seed}"
    data = _noisy(options.data, root / "data", regime, seed)
    settings = merge(content["settings"], regime.settings)
    maps = {_MAP: {"variant": "datamap"}}
    # As many epochs as datamap.epochs says.
    by_epochs = merge(settings, {"runner": dict.fromkeys(["total_steps", "eval_step", "save_step", "log_step"])})
    _train(root, data, by_epochs, seed, maps, options.jobs)
    recorded = RunFolder(root / Run(_UPSTREAM, _MAP, "data", seed).folder)
    if not (root / _CLEAN).exists():
        found = RecordedDatamap.read(recorded, None, {"label_noise": True})
        found.write_clean(root / _CLEAN, found.suspects(None), relabel=False)
        with RunFolder(root / "label_noise").held("wait"):
            found.write_numbers(RunFolder(root / "label_noise"), None, overwrite=True)
    for each in rows.values():
        chosen = "label_noise" if each["variant"] == "mapmix_auto" else recorded.path.relative_to(root)
        datamap = RunFolder((root / chosen).resolve()).datamap
        each["settings"] = merge({"mapmix": {"datamap": str(datamap)}}, each.get("settings", {}))
    for source in ("data", _CLEAN):
        mine = {row: each for row, each in rows.items() if each.get("data", "data") == source}
        if mine:
            _train(root, root / source, settings, seed, mine, options.jobs)
    for row, each in rows.items():
        folder = root / Run(_UPSTREAM, row, Path(each.get("data", "data")).name, seed).folder
        _append(path, {"regime": name, "row": row, "seed": seed, **_scores(folder)})
    _append(path, {"regime": name, "row": "suspects", "seed": seed, **_judge_suspects(recorded, root / "data")})


def _train(  # noqa: PLR0917
    root: Path, data: Path, settings: dict[str, Any], seed: int, rows: dict[str, dict[str, Any]], jobs: int
) -> None:
    """Train runs as the leaderboard does: with its folders, locks and repetitions."""
    grid = Grid(
        upstreams={_UPSTREAM: GridUpstream()},
        variants={
            row: GridVariant(each["variant"], {TASK_KEY: each.get("settings", {})}) for row, each in rows.items()
        },
        data={data.name: str(data)},
        seeds=[seed],
        settings=settings,
        out=str(root),
    )
    work = Work(make_jobs(grid), grid.folder)
    work.work(jobs)
    if failed := [state.fault for state in work.outcomes.values() if state.status is not Status.COMPLETE]:
        raise SystemExit(f"{root}: {failed[0]}")


def _noisy(data: Path, out: Path, regime: Regime, seed: int) -> Path:
    """Write the data with some training utterances of each class, and wrong labels; true_class is the right one."""
    if (out / "labels.yaml").exists():
        return out
    out.mkdir(parents=True, exist_ok=True)
    labels = read_labels(data / "labels.yaml")
    for split in ("train", "dev", "test"):
        manifest = read_manifest(data / f"{split}.csv")
        columns = {**manifest.columns, "audiopath": manifest.audiopaths_from(out)}
        columns["true_class"] = columns["class"]
        if split == "train":
            columns = _with_noise(manifest, columns, labels, regime, seed)
        write_manifest(out / f"{split}.csv", columns)
    write_labels(out / "labels.yaml", labels)
    return out


def _with_noise(
    manifest: Manifest, columns: dict[str, np.ndarray], labels: Labels, regime: Regime, seed: int
) -> dict[str, np.ndarray]:
    of_class = labels.class_indices(manifest)
    generator = keyed_generator(seed, "training utterances")
    drawn = [
        generator.choice(np.flatnonzero(of_class == number), regime.utterances, replace=False)
        for number in range(len(labels.classes))
    ]
    kept = np.sort(np.concatenate(drawn))
    clusters = labels.cluster_indices if regime.within else None
    swapped = swap_labels(of_class[kept], len(labels.classes), regime.noise, seed, clusters)
    return {name: values[kept] for name, values in columns.items()} | {"class": np.array(labels.classes)[swapped]}


def _judge_suspects(recorded: RunFolder, data: Path) -> dict[str, float]:
    """Return precision and recall of the estimated suspects, and of cleanlab's from the same records."""
    from cleanlab.filter import find_label_issues  # noqa: PLC0415 - in the extra bench only

    found = RecordedDatamap.read(recorded, None, {})
    is_wrong = read_manifest(data / "train.csv").columns["true_class"] != found.manifest.columns["class"]
    # The records hold the probability of the label and the predicted class; the rest of the probability is given to the
    # predicted class, or equally to all others where the label was predicted.
    probabilities, count = np.zeros((len(is_wrong), len(found.labels.classes))), len(found.labels.classes)
    rows = np.arange(len(is_wrong))
    for of_label, predicted in zip(found.dynamics.probabilities, found.dynamics.predictions, strict=True):
        is_label = predicted == found.targets
        epoch = np.where(is_label, (1 - of_label) / (count - 1), 0.0)[:, None] * np.ones(count)
        epoch[rows, predicted] = np.where(is_label, of_label, 1 - of_label)
        epoch[rows, found.targets] = of_label
        probabilities += epoch / len(found.dynamics.epochs)
    # Rows sum to 1 up to rounding, as cleanlab expects.
    by_cleanlab = find_label_issues(found.targets, probabilities / probabilities.sum(axis=1, keepdims=True))
    mine = np.zeros(len(is_wrong), dtype=bool)
    mine[found.suspects(None).utterances] = True

    def judge(flagged: np.ndarray) -> list[float]:
        hits = np.count_nonzero(flagged & is_wrong)
        return [flagged.mean(), hits / max(flagged.sum(), 1), hits / max(is_wrong.sum(), 1)]

    return dict(zip(_SUSPECTS, [is_wrong.mean(), *judge(mine), *judge(by_cleanlab)], strict=True))


def _scores(folder: Path) -> dict[str, float]:
    content = json.loads((folder / "test_metrics.json").read_text())
    return {name: float(reduce(operator.getitem, keys, content)) for name, keys in _SCORES.items()}


def _append(path: Path, row: dict[str, Any]) -> None:
    """Append one row in one write, so that several processes may append to one file."""
    if not path.exists():
        path.write_text(",".join(_COLUMNS) + "\n")
    texts = [f"{value:.4f}" if isinstance(value, float) else str(value) for value in (row.get(c, "") for c in _COLUMNS)]
    with path.open("a") as file:
        file.write(",".join(texts) + "\n")


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _table(name: str, regime: Regime, scores: Sequence[dict[str, str]]) -> str:
    """Return a Markdown table of means over seeds, and of differences to the reference, paired by seed; or nothing."""
    mine: dict[str, dict[int, dict[str, float]]] = {}
    for row in scores:
        if row["regime"] == name and row["row"] != "suspects":
            values = {column: float(row[column]) for column in _SCORES}
            mine.setdefault(row["row"], {})[int(row["seed"])] = values
    seeds = sorted(set.intersection(*(set(runs) for runs in mine.values()))) if mine else []
    if not seeds:
        return ""
    head = [*_TITLES.values(), "ΔWF1", "Δ log loss cal."]
    lines = [f"**{regime.title}** ({name}, {len(seeds)} of {len(regime.seeds)} seeds)", ""]
    lines += [f"| row | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name_of_row, runs in mine.items():
        cells = [f"{np.mean([runs[seed][column] for seed in seeds]):.3f}" for column in _TITLES]
        for column, scale, digits in (("wf1", 100, 1), ("log_loss_calibrated", 1, 3)):
            differences = [scale * (runs[seed][column] - mine[_REFERENCE][seed][column]) for seed in seeds]
            cells.append("" if name_of_row == _REFERENCE else _with_interval(differences, digits))
        lines.append(f"| {name_of_row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_interval(values: Sequence[float], digits: int) -> str:
    """Return the mean with half its 95 % interval (Student)."""
    mean = f"{np.mean(values):+.{digits}f}"
    if len(values) < 2:  # noqa: PLR2004
        return mean
    return f"{mean} ± {student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"


def _suspect_table(scores: Sequence[dict[str, str]]) -> str:
    lines = ["**Suspects** (means over seeds; fractions of all training utterances, precision, recall)", ""]
    lines += [f"| regime | seeds | {' | '.join(name.replace('_', ' ') for name in _SUSPECTS)} |"]
    lines += ["|---" * (len(_SUSPECTS) + 2) + "|"]
    for regime in dict.fromkeys(row["regime"] for row in scores):
        rows = [row for row in scores if row["regime"] == regime and row["row"] == "suspects"]
        cells = [f"{np.mean([float(row[column]) for row in rows]):.2f}" for column in _SUSPECTS] if rows else []
        lines.append(f"| {regime} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _replace_between_marks(path: Path, tables: str) -> None:
    before, mark, rest = path.read_text(encoding="utf-8").partition("<!-- tables -->\n")
    _, end, after = rest.partition("<!-- end of tables -->")
    if not mark or not end:
        raise SystemExit(f"{path}: has no '<!-- tables -->' and '<!-- end of tables -->' to write between")
    path.write_text(f"{before}{mark}\n{tables}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
