r"""Train variants with several seeds by the very command a user types; print scores, time and peak memory.

    .venv/bin/python bench/variants.py --data data/demo --config downstream/lid_mapmix/demo.yaml --steps 700 \
        --into result/demo-table

Every run takes the same number of optimizer steps (the data map of mapmix comes on top, and its time is in mapmix's).
A run that is complete is not made again, so the command can be stopped and repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

_LAUNCHER = Path(__file__).resolve().parents[1] / "run_downstream.py"
_SCORES = ("acc", "wf1", "c_acc", "ece")


def main() -> None:
    """Run the grid and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--into", required=True, type=Path)
    parser.add_argument("--upstream", default="fbank")
    parser.add_argument("--variants", nargs="+", default=["baseline", "latent_random", "mapmix"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, required=True, help="optimizer steps of each run")
    options = parser.parse_args()
    for seed in options.seeds:
        for variant in options.variants:
            _train(options, variant, seed)
    print(_table(options))


def _train(options: argparse.Namespace, variant: str, seed: int) -> None:
    folder = _folder(options, variant, seed)
    if (folder / "run.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(_LAUNCHER), "-d", "lid_mapmix", "-u", options.upstream, "-v", variant, "-a"]
    command += ["--data", str(options.data), "-c", str(options.config), "-p", str(folder), "--seed", str(seed)]
    command += ["-o", f"config.runner.total_steps={options.steps}"]
    print(" ".join(command), file=sys.stderr)
    start = time.monotonic()
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        # Of this child alone; the usage of all children would remember the largest of them.
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"failed, see {folder / 'output.txt'}")
    run = {"seconds": time.monotonic() - start, "peak_gib": usage.ru_maxrss / 2**20}
    (folder / "run.json").write_text(json.dumps(run))


def _table(options: argparse.Namespace) -> str:
    lines = [
        f"{len(options.seeds)} seeds, {options.steps} steps, mean ± sd",
        "",
        f"| variant | {' | '.join(_SCORES)} | minutes | peak GiB |",
        "|---" * (len(_SCORES) + 3) + "|",
    ]
    for variant in options.variants:
        folders = [_folder(options, variant, seed) for seed in options.seeds]
        scores = [json.loads((folder / "test_metrics.json").read_text())["overall"] for folder in folders]
        runs = [json.loads((folder / "run.json").read_text()) for folder in folders]
        cells = [_mean_and_deviation([score[name] for score in scores]) for name in _SCORES]
        minutes = np.mean([run["seconds"] for run in runs]) / 60
        peak = max(run["peak_gib"] for run in runs)
        lines.append(f"| {variant} | {' | '.join(cells)} | {minutes:.1f} | {peak:.1f} |")
    return "\n".join(lines)


def _mean_and_deviation(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.3f}"


def _folder(options: argparse.Namespace, variant: str, seed: int) -> Path:
    return options.into / f"{variant}-{seed}"


if __name__ == "__main__":
    main()
