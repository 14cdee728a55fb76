"""Where this process stands among those that train together."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where a process stands.

    Attributes
    ----------
    rank, processes : its number among all processes, and how many they are.
    local_rank, local_processes : the same on this machine.
    """

    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    local_processes: int = 1


def find_place(environment: Mapping[str, str]) -> Place:
    """Read what torchrun (or whoever starts the processes) says; a process that was started alone is the only one."""
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return Place()
    rank, processes = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    return Place(
        rank=rank,
        processes=processes,
        local_rank=int(environment.get("LOCAL_RANK", rank)),
        local_processes=int(environment.get("LOCAL_WORLD_SIZE", 1)),
    )
