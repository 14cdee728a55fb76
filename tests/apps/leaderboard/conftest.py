"""A small grid, trained by the launcher in this process: importing torch anew for each run would take the time."""

import contextlib
import sys

import pytest
import yaml
from lid_mapmix.apps import cli
from lid_mapmix.apps.leaderboard import running
from lid_mapmix.apps.runs import launch

SETTINGS = {
    "runner": {"report": False},
    "downstream_expert": {
        "epochs": 1,
        "data": {"crop_seconds": 0.5, "workers": 0},
        "model": {"encoder": "none"},
        "datamap": {"epochs": 1},
        "evaluation": {"bootstrap_samples": 0, "keep_latents": 0},
    },
}
GRID = {"upstreams": ["fbank", "mfcc"], "variants": ["baseline", "mapmix"], "seeds": [0, 1], "settings": SETTINGS}


@contextlib.contextmanager
def runs_in_process():
    """Let runs be made by the launcher in this process, and give a list of their folders, in order."""
    made = []

    def run_process(command, output, environment, stop, lock):
        assert command[:4] == [sys.executable, "-m", "lid_mapmix", "run"]
        made.append(output.parent)
        with output.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            return launch.main(command[4:])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "run_process", run_process)
        yield made


def write_grid(folder, corpus, **changes):
    """Write a grid's file, its runs beside it, and return its path."""
    path = folder / "bench.yaml"
    content = {**GRID, "data": {"corpus": str(corpus)}, "out": str(folder / "grid"), **changes}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def leaderboard(*arguments):
    """Run the command in this process and return its exit status."""
    return cli.main(["leaderboard", *map(str, arguments)])


@pytest.fixture(scope="session")
def finished(corpus, tmp_path_factory):
    """Return the file of a grid of 2 × 2 × 2 runs, all of them complete, and the folders in which runs were made."""
    bench = write_grid(tmp_path_factory.mktemp("leaderboard"), corpus)
    with runs_in_process() as made:
        assert leaderboard(bench, "--devices", "cpu", "--samples", 50, "--paper") == 0
    return bench, made
