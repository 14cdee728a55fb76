"""What a grid will train, and for how long, from the steps of its runs that have been measured."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from ...training.progress import Progress
from ...utils.run_folder import RunFolder
from .jobs import Job
from .state import State, Status, read_state


def seconds_per_step(jobs: Sequence[Job]) -> dict[tuple[str, str], float]:
    """Return (upstream, variant) → median seconds of an optimizer step.

    A run that is complete tells it by its time, start and evaluation included; another one by the step times that it
    writes (training/progress.py).
    """
    measured: dict[tuple[str, str], list[float]] = {}
    for job in jobs:
        state = read_state(job.folder)
        # Fewer steps than foreseen where regions of a data map held fewer anchors.
        steps = RunFolder(job.folder).last_step() or job.steps
        if state.status is Status.COMPLETE and state.seconds and steps:
            rate: float | None = state.seconds / steps
        else:
            progress = Progress.read(RunFolder(job.folder))
            rate = None if progress is None else progress.seconds_per_step
        if rate:
            measured.setdefault(job.kind, []).append(rate)
    return {kind: statistics.median(values) for kind, values in measured.items()}


def spent(folder: Path, state: State) -> float:
    """Return the seconds that have gone into a run: of an attempt without an end, those up to its last checkpoint."""
    kept = RunFolder(folder).checkpoints()
    if state.status is not Status.RUNNING or not state.started or not kept:
        return state.seconds
    return state.seconds + max(0.0, kept[-1].stat().st_mtime - state.started)


def _steps_left(job: Job) -> int:
    return max(0, job.steps - RunFolder(job.folder).last_step())


def foreseen(job: Job, measured: dict[tuple[str, str], float]) -> float | None:
    """Return the seconds that the steps of a job that are left take; None where none of its upstream was measured.

    Parameters
    ----------
    job : any.
    measured : what `seconds_per_step` returns; where the variant is not in it, the upstream's slowest is taken.
    """
    upstream, _ = job.kind
    rate = measured.get(job.kind) or max((rate for (name, _), rate in measured.items() if name == upstream), default=0)
    return _steps_left(job) * rate if rate else None


def describe(jobs: Sequence[Job], workers: int) -> list[str]:
    """Return the lines of a dry run: each job with its status, steps and time, and what is left in all."""
    measured = seconds_per_step(jobs)
    states = [read_state(job.folder) for job in jobs]
    width = max(len(job.title) for job in jobs)
    lines = [f"{'run':<{width}}  {'status':<9}  {'steps':>9}  {'time':>9}"]
    for job, state in zip(jobs, states, strict=True):
        is_complete = state.status is Status.COMPLETE
        seconds = state.seconds if is_complete else foreseen(job, measured)
        time = "?" if seconds is None else f"{'' if is_complete else '~'}{_duration(seconds)}"
        steps = job.steps if is_complete else _steps_left(job)
        lines.append(f"{job.title:<{width}}  {state.status:<9}  {steps:>9,}  {time:>9}")
    left = [job for job, state in zip(jobs, states, strict=True) if state.status is not Status.COMPLETE]
    maps = sum(job.run is None for job in jobs)
    lines.append(
        f"{len(jobs) - maps} runs and {maps} data maps; {len(left)} of them, {sum(map(_steps_left, left)):,} steps "
        "at most, are left"
    )
    times = [foreseen(job, measured) for job in left]
    known = sum(time for time in times if time is not None)
    if known:
        shared = f", {_duration(known / workers)} with {workers} jobs" if workers > 1 else ""
        lines.append(f"about {_duration(known)} of one process{shared}")
    if left and None in times:
        unknown = dict.fromkeys(job.kind[0] for job, time in zip(left, times, strict=True) if time is None)
        lines.append(
            f"no step has been measured of {', '.join(unknown)}: once a run of it is under way, --dry-run says how long"
        )
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004
