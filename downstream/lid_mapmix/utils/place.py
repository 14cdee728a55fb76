"""The place of this process among all processes of a distributed run."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Ranks of a process."""

    # rank, processes: its rank, and the number of all processes.
    rank: int = 0
    processes: int = 1
    # local_rank, local_processes: the same on this machine.
    local_rank: int = 0
    local_processes: int = 1


def find_place(environment: Mapping[str, str]) -> Place:
    """Read the environment that torchrun (or another launcher) sets; without it, there is one process."""
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return Place()
    rank, processes = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    local_rank, local_processes = environment.get("LOCAL_RANK", rank), environment.get("LOCAL_WORLD_SIZE", 1)
    return Place(rank, processes, int(local_rank), int(local_processes))
