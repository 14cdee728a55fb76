"""The threads of torch on shared and limited machines: how many there are, and how they wait for each other.

OpenMP reads its variables when torch is imported. Without them, it starts a thread per core that the process may run on
(its affinity), also where a container may use less time than these have; threads beyond that time are suspended. And a
thread that has done its part of an operation waits for the others in a loop, for milliseconds, on a core that one of
them may need. ``bench/contention.py`` compares this to what is chosen here.
"""

import math
import os
import sys
from pathlib import Path

from .place import find_place

_COUNT = "OMP_NUM_THREADS"
_chosen: set[str] = set()  # the variables that are not the user's


def set_threads() -> None:
    """Choose how many threads torch has and how they wait, as far as the user has not; before torch is imported."""
    if "torch" in sys.modules:
        return
    choices = {"OMP_WAIT_POLICY": "PASSIVE"}
    cores = usable_cores() // find_place(os.environ).local_processes
    if cores < _allowed_cores():  # otherwise OpenMP knows better, for example that some share a physical core
        choices[_COUNT] = str(max(1, cores))
    for name in choices.keys() - os.environ.keys():
        os.environ[name] = choices[name]
        _chosen.add(name)


def shared_environment(processes: int) -> dict[str, str]:
    """Return the environment of one of several processes that share the cores of this one."""
    environment = {name: value for name, value in os.environ.items() if name not in _chosen}
    return {_COUNT: str(max(1, usable_cores() // processes)), **environment}


def usable_cores(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores the time of this process suffices for, by its affinity and its control groups; at least 1.

    `groups`, `mounted`: where Linux lists the control groups of the process, and where it has their folders.
    """
    limits = [float(_allowed_cores())]
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):  # version 2, or this controller of version 1
            root = mounted / ("cpu" if controllers else "")
            # A limit of a parent is one of its children. In a container the path may be that outside of it, where some
            # folders do not exist; the last is its own.
            group = root / path.lstrip("/")
            limits += [_quota(folder) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return max(1, int(min(limits)))


def _allowed_cores() -> int:
    # macOS has no affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota(folder: Path) -> float:
    """Return the processor time per second that a control group may use."""
    try:
        if (limit := folder / "cpu.max").is_file():
            quota, period = limit.read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return math.inf
