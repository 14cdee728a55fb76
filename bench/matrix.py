r"""Versions of Python and of the dependencies that this package runs on, tried in fresh environments.

    .venv/bin/python bench/matrix.py
    .venv/bin/python bench/matrix.py --python 3.11 3.13 --versions lowest

lowest  the lower bounds of setup.py, or the next versions that have wheels for this Python.
pinned  constraints.txt.
newest  what the package index has.

An environment takes about 5 GB and a few minutes; one exists at a time, and is deleted after use. Each trains a few
steps on filter banks and on a tiny model of transformers, and uses and exports the result. `uv` makes the environments,
because it can resolve to lower bounds (pip install uv). It finds the interpreters on the PATH.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tidy import tidy_when_stopped

_ROOT = Path(__file__).resolve().parents[1]
_RESOLUTIONS = {
    # The lowest versions with wheels for this Python; S3PRL never has one.
    "lowest": ("--resolution", "lowest-direct", "--only-binary", ":all:", "--no-binary", "s3prl"),
    "pinned": ("--constraints", "constraints.txt"),
    "newest": (),
}
_SHOWN = ("numpy", "torch", "torchaudio", "transformers", "huggingface_hub")
_QUICK = (
    "config.downstream_expert.epochs=1,,config.downstream_expert.data.batch_size=8,,"
    "config.downstream_expert.data.crop_seconds=0.5,,config.downstream_expert.data.workers=0"
)
_TRAIN = ("run_downstream.py", "-d", "lid_mapmix", "-v", "baseline", "--data", "{work}/corpus", "-o", _QUICK)
# Arguments of Python, by the name of a column.
_CHECKS = {
    "import": ("-c", "import lid_mapmix.s3prl, s3prl.hub, s3prl.nn"),
    "corpus": ("-c", "import sys; from helpers.synthetic import *; make_corpus(Path(sys.argv[1]))", "{work}/corpus"),
    "fbank": (*_TRAIN, "-u", "fbank", "-p", "{work}/fbank"),
    "hf model": ("bench/small_wav2vec2.py", "{work}/model"),
    "hf": (*_TRAIN, "-u", "hf_wav2vec2_custom", "-k", "{work}/model", "-f", "-p", "{work}/hf"),
    "predict": ("-m", "lid_mapmix", "predict", "{work}/hf", "{work}/corpus/audio/test"),
    "export": ("-m", "lid_mapmix", "export", "{work}/hf", "--out", "{work}/exported"),
    "predict again": ("-m", "lid_mapmix", "predict", "{work}/exported", "{work}/corpus/audio/test"),
}


def main() -> None:
    """Print a table, a row per environment, and exit with 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pythons = ["3.11", "3.12", "3.13"]
    parser.add_argument("--python", nargs="+", default=pythons, help="versions of Python; default: 3.11 3.12 3.13")
    parser.add_argument("--versions", nargs="+", choices=_RESOLUTIONS, default=list(_RESOLUTIONS), help="default: all")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder in which the environments are kept")
    options = parser.parse_args()
    if shutil.which("uv") is None:
        sys.exit("expected uv, found none. Run 'pip install uv'.")
    tidy_when_stopped()
    print(f"| Python | versions | {' | '.join((*_SHOWN, *_CHECKS))} |\n{'|---' * (2 + len(_SHOWN) + len(_CHECKS))}|")
    all_passed = True
    for version in options.python:
        for name in options.versions:
            with tempfile.TemporaryDirectory() as work:
                folder = (options.keep or Path(work)) / f"{name}-{version}"
                cells, passed = _try(version, name, folder, work)
            all_passed &= passed
            print(f"| {version} | {name} | {' | '.join(cells)} |", flush=True)
    sys.exit(not all_passed)


def _try(python_version: str, name: str, folder: Path, work: str) -> tuple[list[str], bool]:
    """Make an environment, and return the row's versions and results, and whether all passed."""
    python = folder / "bin" / "python"
    install = ("uv", "pip", "install", "--quiet", "--python", python, *_RESOLUTIONS[name], "--editable", ".")
    for command in (("uv", "venv", "--quiet", "--python", python_version, folder), install):
        if fault := _fault(command):
            return [fault], False
    listed = "import sys; from importlib.metadata import version; print(' '.join(map(version, sys.argv[1:])))"
    cells = subprocess.check_output([python, "-c", listed, *_SHOWN], text=True).split()
    faults = [_fault((python, *(part.format(work=work) for part in check))) for check in _CHECKS.values()]
    return [*cells, *(fault or "ok" for fault in faults)], not any(faults)


def _fault(command: tuple[str | Path, ...]) -> str:
    """Run a command from the checkout, and return the last line that it printed about a failure, or ''."""
    environment = {**os.environ, "PYTHONPATH": f"{_ROOT / 'downstream'}:{_ROOT / 'tests'}", "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    if process.returncode == 0:
        return ""
    print(process.stderr, file=sys.stderr)
    return (process.stderr.strip().splitlines() or [f"status {process.returncode}"])[-1].replace("|", "/")


if __name__ == "__main__":
    main()
