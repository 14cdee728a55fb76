r"""Seconds from the command to the first training step of a large corpus, with headers read or known from `check`.

    .venv/bin/python bench/first_step.py
    .venv/bin/python bench/first_step.py --rows 5000000 --kinds shards

Trains filter banks for one step on a manifest of many rows, in a new process: once by reading all audio headers, once
with the lengths that `lid-mapmix check` has recorded beside the manifest. `check` itself is timed as well. The audio is
synthetic and in the page cache: wavs of 0.1 s that are hard links to a few files, or members of tar shards that are
hard links to one shard, so that every row has a path and a header of its own. Dev and test have 1,000 rows each.
Reading millions of headers takes many minutes: `--without headers check` leaves that out, and writes the lengths here.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from lid_mapmix.data.audio.lengths import record_lengths
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from tidy import tidy_when_stopped

_HERE = Path(__file__).resolve().parents[1]
_CLASSES, _SPEAKERS, _EVALUATED = 100, 20_000, 1_000
_RATE, _SECONDS = 16_000, 0.1
# A file system allows only so many names of one file.
_NAMES_PER_FILE = 10_000
_MEMBERS = 50_000
_MEASURED = """\
import json, os, pathlib, runpy, sys, time
began = time.time()
checkout, result, *flags = sys.argv[1:]
def written(*_):
    peak = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    with open(result, "w") as file:
        json.dump([time.time() - began, sum(os.times()[:4]), int(peak.split()[1]) / 1e6], file)
if flags[0] == "check":
    from lid_mapmix.apps.cli import main
    main(flags)
    written()
else:
    from lid_mapmix import expert
    def forward(self, split, *arguments, **keywords):
        written()
        sys.stdout.flush()
        os._exit(0)
    expert.DownstreamExpert.forward = forward
    sys.argv = ["run_downstream.py", *flags]
    runpy.run_path(checkout + "/run_downstream.py", run_name="__main__")
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="default: 1e5 and 1e6")
    parser.add_argument("--kinds", nargs="+", choices=["files", "shards"], default=["files", "shards"])
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder on the disk to measure; default: TMPDIR")
    parser.add_argument(
        "--without", nargs="+", choices=["headers", "check", "checked"], default=[], help="not measured"
    )
    options = parser.parse_args()
    tidy_when_stopped()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; wall s, CPU s, peak GB")
    print(f"{'rows':>10} {'audio':8}{'all headers read':>24}{'check':>24}{'checked before':>24}")
    for rows in options.rows:
        for kind in options.kinds:
            with tempfile.TemporaryDirectory(dir=options.out) as folder:
                data = _make_data(Path(folder, "data"), rows, kind)
                line = f"{rows:>10,} {kind:8}"
                for side in ("headers", "check", "checked"):
                    if side == "checked" and "check" in options.without:
                        _record(data / "train.csv")
                    cells = [] if side in options.without else _measure(data, Path(folder), side)
                    line += f"{'   '.join(f'{value:.1f}' for value in cells) or '-':>24}"
                print(f"{line}   load {os.getloadavg()[0]:.1f}", flush=True)


def _make_data(folder: Path, rows: int, kind: str) -> Path:
    folder.mkdir()
    generator = np.random.default_rng(0)
    for split, count in (("train", rows), ("dev", _EVALUATED), ("test", _EVALUATED)):
        classes, speakers = np.arange(count) % _CLASSES, generator.integers(_SPEAKERS, size=count)
        paths = (_files if kind == "files" else _shards)(folder, split, count, generator)
        columns = {
            "audiopath": paths,
            "class": [f"class-{name:03d}" for name in classes.tolist()],
            "seconds": [_SECONDS] * count,
            "speaker": [f"{split}-speaker-{speaker:05d}" for speaker in speakers.tolist()],
        }
        write_manifest(folder / f"{split}.csv", columns)
    return folder


def _wav(generator: np.random.Generator) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, generator.normal(0, 0.1, round(_SECONDS * _RATE)), _RATE, format="WAV")
    return content.getvalue()


def _files(folder: Path, split: str, count: int, generator: np.random.Generator) -> list[str]:
    names = [f"{split}/{row // _NAMES_PER_FILE:04d}/recording-{row:08d}.wav" for row in range(count)]
    for row, name in enumerate(names):
        if row % _NAMES_PER_FILE == 0:
            source = folder / name
            source.parent.mkdir(parents=True)
            source.write_bytes(_wav(generator))
        else:
            os.link(source, folder / name)
    return names


def _shards(folder: Path, split: str, count: int, generator: np.random.Generator) -> list[str]:
    members = min(count, _MEMBERS)
    first = folder / f"{split}-000000.tar"
    wav = _wav(generator)
    with tarfile.open(first, "w") as shard:
        for number in range(members):
            entry = tarfile.TarInfo(f"{number:08d}.wav")
            entry.size = len(wav)
            shard.addfile(entry, io.BytesIO(wav))
    block = tarfile.BLOCKSIZE
    step = block + -(-len(wav) // block) * block
    for number in range(1, -(-count // members)):
        os.link(first, folder / f"{split}-{number:06d}.tar")
    return [f"{split}-{row // members:06d}.tar#{row % members * step + block}+{len(wav)}" for row in range(count)]


def _record(path: Path) -> None:
    manifest = read_manifest(path)
    record_lengths(manifest, np.full(len(manifest), round(_SECONDS * _RATE)))


def _measure(data: Path, folder: Path, side: str) -> list[float]:
    result = folder / "result.json"
    if side == "check":
        flags = ["check", data]
    else:
        task = "config.downstream_expert"
        settings = f"config.runner.total_steps=1,,{task}.data.crop_seconds={_SECONDS},,{task}.data.workers=0"
        flags = ["-u", "fbank", "-v", "latent_random", "--data", data, "-p", folder / side, "--device", "cpu"]
        flags += ["-o", settings]
    command = [sys.executable, "-c", _MEASURED, _HERE, result, *flags]
    environment = {**os.environ, "PYTHONPATH": str(_HERE / "downstream"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)
    if not result.is_file():
        sys.exit(done.stderr[-2000:])
    values = json.loads(result.read_text())
    result.unlink()
    return values


if __name__ == "__main__":
    main()
