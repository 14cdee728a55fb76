"""What the leaderboard keeps beside a run: what was asked for, and how far it came (leaderboard_run.json)."""

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
# The file of a run's -c, beside it.
SETTINGS_NAME = "settings.yaml"
# Of a cluster's jobs, in the folder of the grid.
LOGS = "slurm"
REMEDY = "Delete the folder, or keep the runs elsewhere by --into DIR."


class Status(StrEnum):
    """How far a run came; one whose process ended without a word stays `running`."""

    ABSENT = "absent"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True)
class State:
    """How far a run came.

    Attributes
    ----------
    status : see there.
    request : what decides about its result.
    steps : optimizer steps, at most.
    seconds : that its processes have taken; of one that is under way or was killed, see `jobs.spent`.
    started, failed : when the last of them did, seconds since 1970; 0 where it did not, or was stopped.
    attempts : how many there were.
    fault : what the last one said.
    datamap : the folder of its data map, relative to that of the grid; empty where it needs none.
    command : that makes the run, with names in place of this machine's paths.
    versions : of what was installed when it was last started.
    """

    status: Status = Status.ABSENT
    request: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    started: float = 0.0
    failed: float = 0.0
    attempts: int = 0
    fault: str = ""
    datamap: str = ""
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def read_state(folder: Path) -> State:
    """Read it; a folder without one holds nothing yet.

    Raises
    ------
    UserError : it is damaged.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        return State()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return State(**content | {"status": Status(content["status"])})
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: is damaged. {REMEDY}") from None


def write_state(folder: Path, state: State, **changes: Any) -> State:
    """Write it with what has changed, complete or not at all, and return it."""
    state = replace(state, **changes)
    write_text(folder / STATE_NAME, json.dumps(asdict(state), indent=1, ensure_ascii=False, default=str))
    return state


def checked_state(folder: Path, request: Mapping[str, Any]) -> State:
    """Read the state of a run that is asked for; nothing is there yet where nothing has come of another one.

    Parameters
    ----------
    folder : of the run.
    request : what is asked for, or a part of it.

    Raises
    ------
    UserError : the folder holds the run of another request, or one that no leaderboard has made.
    """
    state = read_state(folder)
    if state.status is Status.ABSENT and RunFolder(folder).holds_run():
        raise UserError(f"{folder}: holds a run that no leaderboard has made. {REMEDY}")
    asked = json.loads(json.dumps(request, default=str))
    kept = dict(state.request)
    if isinstance(kept.get("settings"), Mapping):
        kept["settings"] = rename_settings(kept["settings"])
    differing = [name for name in asked if kept.get(name) != asked[name]]
    if state.status is not Status.ABSENT and differing:
        # Settings that ended it before its first checkpoint may be mended without more ado.
        if state.status is not Status.COMPLETE and not RunFolder(folder).holds_run():
            return State()
        raise UserError(f"{folder}: holds a run with another {', '.join(differing)}. {REMEDY}")
    return state


def duration(seconds: float) -> str:
    """Return a time in a unit that suits it."""
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004
