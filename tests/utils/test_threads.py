"""How many threads commands use, and how these wait: affinity, quotas of control groups, and the user's variables."""

import os
import subprocess
import sys

import pytest
from helpers.launching import ROOT
from lid_mapmix.utils import threads
from lid_mapmix.utils.threads import shared_environment, usable_cores

ALL = len(os.sched_getaffinity(0))


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.fixture
def groups(tmp_path):
    """Write a tree of control groups, and return the number of cores that it leaves."""

    def cores(listed, **limits):
        for name, limit in limits.items():
            *folders, file = name.split("__")
            path = tmp_path.joinpath("mounted", *folders, file.replace("cpu_", "cpu."))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{limit}\n")
        (tmp_path / "groups").write_text(listed)
        return usable_cores(tmp_path / "groups", tmp_path / "mounted")

    return cores


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 8), ("400000 100000", 4), ("390000 100000", 3), ("1600000 100000", 8), ("20000 100000", 1)],
)
def test_a_quota_of_version_two_limits_the_cores(groups, limit, cores):
    assert groups("0::/work/job\n", work__job__cpu_max=limit) == cores


@pytest.mark.usefixtures("eight_cores")
def test_the_smallest_quota_of_a_group_and_its_parents_counts(groups):
    assert groups("0::/work/job\n", work__job__cpu_max="600000 100000", work__cpu_max="250000 100000") == 2
    # In a container that sees its own group as the root, but the path that it has outside.
    assert groups("0::/docker/0123\n", cpu_max="300000 100000") == 3


@pytest.mark.usefixtures("eight_cores")
def test_a_quota_of_version_one_limits_the_cores(groups):
    listed = "5:memory:/work\n4:cpu,cpuacct:/work/job\n1:name=systemd:/\n0::/\n"
    own = {"cpu__work__job__cpu_cfs_quota_us": 500_000, "cpu__work__job__cpu_cfs_period_us": 100_000}
    assert groups(listed, **own, cpu__cpu_cfs_quota_us=-1, cpu__cpu_cfs_period_us=100_000) == 5
    assert groups(listed, cpu__work__cpu_cfs_quota_us=100_000, cpu__work__cpu_cfs_period_us=50_000) == 2


@pytest.mark.usefixtures("eight_cores")
def test_without_a_readable_quota_the_affinity_counts(groups, tmp_path):
    assert groups("3:memory:/work\n0::/work\n", work__cpu_max="odd") == 8
    assert usable_cores(tmp_path / "none", tmp_path / "none") == 8


@pytest.mark.usefixtures("eight_cores")
def test_processes_share_the_cores_and_the_variables_of_the_user_are_kept(monkeypatch):
    monkeypatch.setattr(threads, "_chosen", {"OMP_NUM_THREADS", "OMP_WAIT_POLICY"})
    monkeypatch.setenv("OMP_NUM_THREADS", "6")  # the choice for this process alone
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    found = shared_environment(3)
    assert found == {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | {
        "OMP_NUM_THREADS": "2"
    }
    assert shared_environment(20)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setattr(threads, "_chosen", set())
    assert shared_environment(3)["OMP_NUM_THREADS"] == "6"


def said_by_openmp(*arguments, **variables):
    """Run Python; return the values that OpenMP had read when torch was loaded, and the command's standard output."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**others, "PYTHONPATH": str(ROOT / "downstream"), "OMP_DISPLAY_ENV": "TRUE", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.strip().partition(" = ") for line in done.stderr.splitlines()]
    found = {name: value.strip("'") for name, _, value in lines if value}
    return found.get("OMP_WAIT_POLICY"), found.get("OMP_NUM_THREADS"), done.stdout


@pytest.mark.parametrize(
    "command",
    [
        (ROOT / "run_downstream.py", "-m", "evaluate", "-e", "nowhere"),
        ("-m", "lid_mapmix", "predict", "nowhere", __file__),
    ],
)
def test_commands_choose_before_torch_is_loaded(command):
    assert said_by_openmp(*command)[:2] == ("PASSIVE", str(ALL))


SCRIPT = """
from lid_mapmix.utils.threads import set_threads
set_threads()
set_threads()
import torch
print(torch.get_num_threads())
"""


def test_affinity_and_processes_of_a_machine_divide_the_threads():
    one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    assert said_by_openmp("-c", one + SCRIPT) == ("PASSIVE", "1", "1\n")
    place = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    expected = str(max(1, ALL // 2))
    assert said_by_openmp("-c", SCRIPT, **place) == ("PASSIVE", expected, f"{expected}\n")


def test_the_variables_of_the_user_are_kept():
    own = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "ACTIVE"}
    assert said_by_openmp("-c", SCRIPT, **own) == ("ACTIVE", "1", "1\n")


def test_nothing_is_set_once_torch_is_loaded(monkeypatch):
    assert "torch" in sys.modules
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    threads.set_threads()
    assert not {"OMP_NUM_THREADS", "OMP_WAIT_POLICY"} & os.environ.keys()
