"""The state of a run of the leaderboard: its request and its status (leaderboard_run.json)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ...config.renamed import rename_settings
from ...utils.errors import UserError
from ...utils.files import write_text
from ...utils.run_folder import RunFolder

STATE_NAME = "leaderboard_run.json"
# The settings file of a run (-c), in its folder.
SETTINGS_NAME = "settings.yaml"
REMEDY = "Delete the folder, or name another folder for the runs by --out DIR."


class Status(StrEnum):
    """The status of a run; it stays `running` if its process was killed."""

    ABSENT = "absent"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True)
class State:
    """The state of a run."""

    status: Status = Status.ABSENT  # see :class:`Status`
    request: Mapping[str, Any] = field(default_factory=dict)  # all that determines its result
    steps: int = 0  # maximum number of optimizer steps
    seconds: float = 0.0  # time of its processes; for a running or killed process see `jobs.spent`
    # started, failed: times of the last start and the last failure, seconds since 1970; 0 if none, or if stopped.
    started: float = 0.0
    failed: float = 0.0
    attempts: int = 0
    fault: str = ""  # error of the last attempt
    datamap: str = ""  # folder of its data map, relative to that of the grid; empty if it needs none
    command: str = ""  # command that makes the run, with names instead of the paths of this machine
    versions: Mapping[str, str] = field(default_factory=dict)  # installed versions at the last start


def read_state(folder: Path) -> State:
    """Read the state of the run in a folder; without a file it is absent. Raises UserError: the file is damaged."""
    path = folder / STATE_NAME
    if not path.is_file():
        return State()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return State(**content | {"status": Status(content["status"])})
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: is damaged. {REMEDY}") from None


def write_state(folder: Path, state: State, **changes: Any) -> State:
    """Write the state with changes, complete or not at all, and return it."""
    state = replace(state, **changes)
    write_text(folder / STATE_NAME, json.dumps(asdict(state), indent=1, ensure_ascii=False, default=str))
    return state


def checked_state(folder: Path, request: Mapping[str, Any]) -> State:
    """Read the state of a run; a run of another request that has no checkpoint counts as absent.

    Raises UserError: the folder holds a run of another request, or a run that no leaderboard has made.

    `request`: the request, or a part of it.
    """
    state = read_state(folder)
    if state.status is Status.ABSENT and RunFolder(folder).holds_run():
        raise UserError(f"{folder}: expected a run of a leaderboard, found another run. {REMEDY}")
    asked = json.loads(json.dumps(request, default=str))
    kept = dict(state.request)
    if isinstance(kept.get("settings"), Mapping):
        kept["settings"] = rename_settings(kept["settings"])
    differing = [name for name in asked if kept.get(name) != asked[name]]
    if state.status is not Status.ABSENT and differing:
        # A run that failed before its first checkpoint may start again with corrected settings.
        if state.status is not Status.COMPLETE and not RunFolder(folder).holds_run():
            return State()
        raise UserError(f"{folder}: expected a run with the same {', '.join(differing)}, found another. {REMEDY}")
    return state


def duration(seconds: float) -> str:
    """Format a time in seconds, minutes or hours."""
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004
