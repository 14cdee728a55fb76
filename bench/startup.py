r"""Seconds from the command to the first training step, and from the last step to scores, model card and report.

    .venv/bin/python bench/startup.py
    .venv/bin/python bench/startup.py --against OTHER_CHECKOUT
    .venv/bin/python bench/startup.py --rows 400 --repeats 15 --against OTHER_CHECKOUT

Trains filter banks for four steps on a manifest with many rows, once with one short wav per row and once with rows that
share long files, each in a new process; dev and test have a hundredth of the rows. Then `lid-mapmix predict` of a wav
of 5 s takes turns with `import torch`, which is most of it. With another checkout of the project both are measured
alternately, and the ratio is printed. Processor seconds depend less on other work than seconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
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
from lid_mapmix.apps.runs import launch
set_up = launch._set_up_host
def patched(options):  # when torch has been imported by the command itself
    set_up(options)
    from lid_mapmix import expert
    forward = expert.DownstreamExpert.forward
    def timed(self, split, *arguments, **keywords):
        if split == "train":
            steps.append((time.time(), time.process_time()))
        return forward(self, split, *arguments, **keywords)
    expert.DownstreamExpert.forward = timed
launch._set_up_host = patched
sys.argv = ["run_downstream.py", *flags]
try:
    runpy.run_path(checkout + "/run_downstream.py", run_name="__main__")
except SystemExit as exit_:
    assert not exit_.code, exit_.code
with open(result, "w") as file:
    last, used = steps[-1]
    json.dump([steps[0][0] - began, time.time() - last, steps[0][1], time.process_time() - used], file)
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
    print(
        f"{options.rows:,} rows, load {os.getloadavg()[0]:.1f}, median of {options.repeats}: seconds to the first "
        "step and from the last one, processor seconds of both"
    )
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("short", "shared"):
            data = _make_data(Path(folder, kind), options.rows, shared=kind == "shared")
            found: dict[str, list[list[float]]] = {name: [] for name in checkouts}
            for number in range(options.repeats):
                for name, checkout in [*checkouts.items()][:: 1 if number % 2 else -1]:
                    found[name].append(_measure(checkout, data, Path(folder, f"{kind}-{name}-{number}")))
            medians = {
                name: [statistics.median(each) for each in zip(*runs, strict=True)] for name, runs in found.items()
            }
            if options.against:
                ratios = zip(medians["here"], medians["against"], strict=True)
                medians["ratio"] = [other / own for own, other in ratios]
            for name, values in medians.items():
                print(f"{kind:8}{name:10}", *(f"{value:10.2f}" for value in values), sep="", flush=True)
        _print_prediction(checkouts, Path(folder), options.repeats)


def _print_prediction(checkouts: dict[str, Path], folder: Path, repeats: int) -> None:
    """Print what `lid-mapmix predict` takes, and how much more than importing torch."""
    soundfile.write(folder / "5s.wav", np.random.default_rng(0).normal(0, 0.1, 5 * _RATE).astype(np.float32), _RATE)
    flags = ["predict", folder / "short-here-0" / "run", folder / "5s.wav", "--device", "cpu"]
    commands = {"torch": ["-c", "import torch"], **{name: ["-m", "lid_mapmix", *flags] for name in checkouts}}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for number in range(1 + repeats):  # the first reads files from the disk
        for name, command in commands.items():
            spent = _spent(command, checkouts.get(name, _HERE))
            found[name] += [spent] if number else []
    print("predict: seconds, processor seconds, MB; paired difference from torch in processor seconds")
    for name, runs in found.items():
        more = statistics.median(own[1] - torchs[1] for own, torchs in zip(runs, found["torch"], strict=True))
        values = (*(statistics.median(each) for each in zip(*runs, strict=True)), more)
        print(f"{'predict':8}{name:10}", *(f"{value:10.2f}" for value in values), sep="")


def _spent(arguments: list, checkout: Path) -> tuple[float, float, float]:
    """Run Python; return seconds, processor seconds and maximum memory in MB."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "downstream"), "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, used = os.wait4(process.pid, 0)
        if status:
            errors.seek(0)
            sys.exit(errors.read().decode()[-2000:])
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


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
