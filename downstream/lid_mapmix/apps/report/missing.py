"""What a report has not, and the commands that make it."""

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Missing:
    """Something the report has not.

    Attributes
    ----------
    reason : a sentence.
    command : what makes it; may be empty.
    """

    reason: str
    command: str = ""


def command(*parts: object) -> str:
    """Return a command line that a shell takes as it is."""
    return shlex.join(map(str, parts))


def evaluate_command(expdir: Path, split: str) -> str:
    """Return the command that scores a split of a run."""
    return command("python", "run_downstream.py", "-m", "evaluate", "-t", split, "-e", expdir)
