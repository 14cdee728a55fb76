r"""Seconds from the command to the first training step, and from the last step to scores, model card and report.

    .venv/bin/python bench/startup.py
    .venv/bin/python bench/startup.py --against OTHER_CHECKOUT

Trains filter banks for four steps on a manifest with many rows, once with one short wav per row and once with rows that
share long files, each in a new process; dev and test have a hundredth of the rows. With another checkout of the
project both are measured alternately, and the ratio is printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from lid_mapmix.data.manifest.manifest import write_manifest
from tidy import tidy_when_stopped

_HERE = Path(__file__).resolve().parents[1]
_CLASSES = ("aaa-x", "aaa-y", "bbb-x", "bbb-y")
_RATE, _SECONDS = 16_000, 0.1
_LONG_FILES = 20
# A file system allows only so many names of one file.
_NAMES_PER_FILE = 10_000
_MEASURED = """\
import json, runpy, sys, time
began = time.time()
checkout, result, *flags = sys.argv[1:]
sys.path.insert(0, checkout + "/downstream")
steps = []
from lid_mapmix import expert
forward = expert.DownstreamExpert.forward
def timed(self, split, *arguments, **keywords):
    if split == "train":
        steps.append(time.time())
    return forward(self, split, *arguments, **keywords)
expert.DownstreamExpert.forward = timed
sys.argv = ["run_downstream.py", *flags]
try:
    runpy.run_path(checkout + "/run_downstream.py", run_name="__main__")
except SystemExit as exit_:
    assert not exit_.code, exit_.code
with open(result, "w") as file:
    json.dump([steps[0] - began, time.time() - steps[-1]], file)
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="rows of train.csv; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions; default: %(default)s")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout to compare to")
    options = parser.parse_args()
    tidy_when_stopped()
    checkouts = {"here": _HERE, **({"against": options.against.resolve()} if options.against else {})}
    print(f"{options.rows:,} rows; seconds, median of {options.repeats} (to the first step, from the last step)")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("short", "shared"):
            data = _make_data(Path(folder, kind), options.rows, shared=kind == "shared")
            found: dict[str, list[list[float]]] = {name: [] for name in checkouts}
            for number in range(options.repeats):
                for name, checkout in checkouts.items():
                    found[name].append(_measure(checkout, data, Path(folder, f"{kind}-{name}-{number}")))
            medians = {
                name: [statistics.median(each) for each in zip(*runs, strict=True)] for name, runs in found.items()
            }
            for name, (first, last) in medians.items():
                print(f"{kind:8}{name:10}{first:10.2f}{last:10.2f}")
            if options.against:
                ratios = [other / own for own, other in zip(medians["here"], medians["against"], strict=True)]
                print(f"{kind:8}{'ratio':10}{ratios[0]:10.2f}{ratios[1]:10.2f}")


def _make_data(folder: Path, rows: int, *, shared: bool) -> Path:
    """Write a corpus whose rows are short files of their own, or parts of a few long ones."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    length = max(1, -(-rows // _LONG_FILES)) * _SECONDS if shared else _SECONDS
    files = _LONG_FILES if shared else -(-rows // _NAMES_PER_FILE)
    for number in range(files):
        samples = generator.normal(0, 0.1, round(length * _RATE)).astype(np.float32)
        soundfile.write(folder / f"file-{number}.wav", samples, _RATE)
    for split, count in (("train", rows), ("dev", rows // 100), ("test", rows // 100)):
        columns = {
            "id": [f"{split}-{row}" for row in range(count)],
            "audiopath": [f"file-{row % files}.wav" for row in range(count)],
            "class": [_CLASSES[row % len(_CLASSES)] for row in range(count)],
            "seconds": [_SECONDS] * count,
        }
        if shared:
            columns["start"] = [round(row // files * _SECONDS, 3) for row in range(count)]
            columns["end"] = [round((row // files + 1) * _SECONDS, 3) for row in range(count)]
        else:
            (folder / split).mkdir()
            columns["audiopath"] = [f"{split}/{row}.wav" for row in range(count)]
            for row in range(count):
                os.link(folder / f"file-{row // _NAMES_PER_FILE}.wav", folder / split / f"{row}.wav")
        write_manifest(folder / f"{split}.csv", columns)
    return folder


def _measure(checkout: Path, data: Path, run: Path) -> list[float]:
    task = "config.downstream_expert"
    settings = (
        f"config.runner.total_steps=4,,{task}.data.crop_seconds={_SECONDS},,{task}.model.encoder=none,,"
        f"{task}.data.workers=0,,{task}.evaluation.bootstrap_samples=0"
    )
    flags = ["-u", "fbank", "-v", "latent_random", "--data", data, "-p", run / "run", "--device", "cpu", "-o", settings]
    run.mkdir()
    command = [sys.executable, "-c", _MEASURED, checkout, run / "seconds.json", *flags]
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return json.loads((run / "seconds.json").read_text())


if __name__ == "__main__":
    main()
