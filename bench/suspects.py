r"""Swap some labels, record a data map, and count how many swapped labels are at the top of a list of suspects.

    .venv/bin/python bench/suspects.py --data data/demo \
        --config downstream/lid_mapmix/config/demo.yaml --out result/suspects

A fraction of the training labels (default 5 %) is replaced by a class drawn uniformly from the others. A data map is
recorded with the training command. Each candidate score ranks all utterances, from a number of epochs at the start of
the run. The result is the fraction of swapped labels among the first N of the ranking, where N is the number of swapped
labels. Complete runs are not repeated, so the command can be stopped and run again.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from lid_mapmix.config.schema import DatamapConfig
from lid_mapmix.data.labels import Labels, labels_from_manifest, read_labels, write_labels
from lid_mapmix.data.manifest.manifest import Manifest, read_manifest, write_manifest
from lid_mapmix.mapmix.dynamics import Dynamics
from lid_mapmix.mapmix.suspects import find_suspects
from lid_mapmix.training.dynamics import label_noise_of, read_map
from lid_mapmix.utils.randomness import keyed_generator

_LAUNCHER = Path(__file__).resolve().parents[1] / "run_downstream.py"
# Each takes dynamics, target classes and their number, and is greatest for the most suspicious.
_Score = Callable[[Dynamics, np.ndarray, int], np.ndarray]


def main() -> None:
    """Make the runs that are missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--upstream", default="fbank")
    parser.add_argument("--fraction", type=float, default=0.05, help="fraction of labels to swap; default: 0.05")
    parser.add_argument(
        "--epochs", nargs="+", type=int, default=[5, 10], help="epochs of the data map to use; default: 5 10"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], help="seeds of swaps and training; default: 0 1 2"
    )
    options = parser.parse_args()
    manifest = read_manifest(options.data / "train.csv")
    named = options.data / "labels.yaml"
    labels = read_labels(named) if named.is_file() else labels_from_manifest(manifest)
    true = labels.class_indices(manifest)
    tables: dict[int, list[dict[str, float]]] = {epochs: [] for epochs in options.epochs}
    for seed in options.seeds:
        swapped = swap_labels(true, len(labels.classes), options.fraction, seed)
        data, run = options.out / f"data-{seed}", options.out / f"run-{seed}"
        _write_data(data, manifest, labels, swapped)
        _train(options, data, run, seed)
        for epochs, rows in tables.items():
            rows.append(_evaluate(data, run, labels, true, epochs))
    for epochs, rows in tables.items():
        print(f"\n{epochs} epochs, {round(options.fraction * len(true))} of {len(true)} labels swapped\n")
        print(f"| score | mean | {' | '.join(f'seed {seed}' for seed in options.seeds)} |")
        print("|---" * (len(rows) + 2) + "|")
        for name in rows[0]:
            found = [row[name] for row in rows]
            print(f"| {name} | {np.mean(found):.3f} | {' | '.join(f'{value:.3f}' for value in found)} |")


def swap_labels(
    target_classes: np.ndarray, class_count: int, fraction: float, seed: int, clusters: np.ndarray | None = None
) -> np.ndarray:
    """Return class numbers, a fraction of which is replaced uniformly by others, (utterances,) int64.

    `clusters`: (class_count,) cluster numbers; the others are then those of the cluster.
    """
    generator = keyed_generator(seed, "swapped labels")
    chosen = generator.choice(len(target_classes), size=round(fraction * len(target_classes)), replace=False)
    swapped = target_classes.copy()
    if clusters is None:
        swapped[chosen] = (target_classes[chosen] + generator.integers(1, class_count, size=len(chosen))) % class_count
        return swapped
    for row in chosen.tolist():
        siblings = np.flatnonzero(clusters == clusters[target_classes[row]])
        swapped[row] = generator.choice(siblings[siblings != target_classes[row]])
    return swapped


def _candidates() -> dict[str, _Score]:
    def confidence(dynamics: Dynamics, *_: object) -> np.ndarray:
        return -dynamics.probabilities.mean(axis=0, dtype=np.float64)

    def last(dynamics: Dynamics, *_: object) -> np.ndarray:
        return -dynamics.probabilities[-1].astype(np.float64)

    def surprise(dynamics: Dynamics, target_classes: np.ndarray, class_count: int) -> np.ndarray:
        """Mean -log p of the label, minus its mean over the class, as in version 0.1.0."""
        values = -np.log(np.maximum(dynamics.probabilities, np.finfo(np.float32).eps)).mean(axis=0, dtype=np.float64)
        sums = np.bincount(target_classes, weights=values, minlength=class_count)
        return values - (sums / np.bincount(target_classes, minlength=class_count))[target_classes]

    def chosen(dynamics: Dynamics, target_classes: np.ndarray, class_count: int) -> np.ndarray:
        return -label_noise_of(dynamics, target_classes, class_count).right

    return {
        "**probability that the label is right (`--suspects`)**": chosen,
        "surprise: mean −log p less the class's mean": surprise,
        "low confidence": confidence,
        "low confidence, last epoch": last,
    }


def _evaluate(data: Path, run: Path, labels: Labels, true: np.ndarray, epochs: int) -> dict[str, float]:
    """Return, per score, the fraction of the swapped labels that it ranks first."""
    manifest = read_manifest(data / "train.csv")
    target_classes = labels.class_indices(manifest)
    swapped = target_classes != true
    count = int(swapped.sum())
    dynamics, _ = read_map(run / "dynamics", manifest, labels, DatamapConfig(), keep_first=epochs)
    if len(dynamics.epochs) < epochs:
        sys.exit(f"{run}: has {len(dynamics.epochs)} epochs, {epochs} are asked for. Name another folder by --out.")
    classes = len(labels.classes)
    found = {}
    for name, score in _candidates().items():
        first = np.argsort(-score(dynamics, target_classes, classes), kind="stable")[:count]
        found[name] = float(swapped[first].mean())
    suspects = find_suspects(label_noise_of(dynamics, target_classes, classes), dynamics.predictions, count)
    hits = swapped[suspects.utterances]
    right = suspects.preferred == true[suspects.utterances]
    found["(of those found, the preferred class is the true one)"] = float(right[hits].mean())
    return found


def _write_data(folder: Path, manifest: Manifest, labels: Labels, classes: np.ndarray) -> None:
    """Write a folder with the training split under other labels; its audio stays where it is."""
    audio = [str(manifest.audio_path(index).resolve()) for index in range(len(manifest))]
    columns = {**manifest.columns, "audiopath": audio, "class": np.array(labels.classes)[classes]}
    write_labels(folder / "labels.yaml", labels)
    write_manifest(folder / "train.csv", columns)


def _train(options: argparse.Namespace, data: Path, folder: Path, seed: int) -> None:
    if (folder / "complete").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(_LAUNCHER), "-d", "lid_mapmix", "-u", options.upstream, "-v", "datamap", "-a"]
    command += ["--data", str(data), "-c", str(options.config), "-p", str(folder), "--seed", str(seed)]
    # Neither dev nor test is looked at: what a run is evaluated on does not change how it trains. Nor does its length,
    # without a scheduler: the first epochs of the longest run are those of a shorter one.
    epochs = max(options.epochs)
    command += ["-o", f"config.downstream_expert.datamap.epochs={epochs},,config.runner.eval_dataloaders=[]"]
    print(" ".join(command), file=sys.stderr)
    with (folder / "output.txt").open("w") as output:
        status = subprocess.call(command, stdout=output, stderr=subprocess.STDOUT)
    if status != 0:
        sys.exit(f"failed, see {folder / 'output.txt'}")
    (folder / "complete").touch()


if __name__ == "__main__":
    main()
