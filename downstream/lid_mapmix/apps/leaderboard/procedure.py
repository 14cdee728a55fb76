"""``lid-mapmix leaderboard``: train the missing runs of a grid, and write its tables."""

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ...utils.errors import UserError
from ...utils.place import Place
from ..report.table_files import write_table_file
from ..runs.processes import choose_device
from .bundle import write_bundle
from .grid import Grid, Run, read_grid
from .jobs import Job, describe, make_jobs
from .results import RunResult, read_result, summarize
from .running import Work
from .state import REMEDY, State, Status, checked_state
from .tables import as_markdown, content_of, failures, foreign_files, tables_of, write_tables


def make_leaderboard(options: argparse.Namespace) -> None:
    """Train the missing runs of a grid and write its tables.

    Raises UserError: the grid cannot be trained, runs failed, or an output exists.
    """
    grid = read_grid(options)
    _refuse_existing_outputs(grid, options)
    if options.dry_run:
        print("\n".join(describe(_checked_jobs(grid))))
        return
    if not options.no_training:
        _train(grid, options)
    content = _write_results(grid, options)
    runs = content["runs"]
    if failed := failures(content):
        raise UserError(
            f"{len(failed)} of {len(runs)} runs failed, the first: {failed[0].removesuffix('.')}. Correct the cause "
            "and run the command again: complete runs are kept."
        )
    if missing := [run["folder"] for run in runs if run["status"] != Status.COMPLETE.value and not options.no_training]:
        raise UserError(
            f"{len(missing)} of {len(runs)} runs are not complete, the first: {missing[0]}. Run the command again."
        )


def _train(grid: Grid, options: argparse.Namespace) -> None:
    """Train the missing runs of a grid. The error of a run is kept in its state."""
    devices = [name for names in options.devices or [] for name in names]
    for device in devices:
        choose_device(argparse.Namespace(device=device, local_rank=None), Place())
    jobs = _checked_jobs(grid)
    with _terminated_like_interrupted():
        Work(jobs, grid.folder, devices).work(options.jobs)


def _checked_jobs(grid: Grid) -> list[Job]:
    jobs = make_jobs(grid)
    for job in jobs:
        checked_state(job.folder, job.request)
    return jobs


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Handle SIGTERM, as sent by a cluster or a supervisor, like Ctrl-C: the runs end first.

    Further signals are ignored until this process has ended.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, lambda *_: None)
        raise KeyboardInterrupt

    # A signal that the parent ignores, as a script does for background jobs, stays ignored.
    handled = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, interrupt) for each in handled}
    try:
        yield
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) is interrupt:
                signal.signal(each, handler)


def _write_results(grid: Grid, options: argparse.Namespace) -> dict[str, Any]:
    """Write the tables and the page of the complete runs, print the table, and return the content of the JSON."""
    results = [_read_result(grid, run, options.samples) for run in grid.runs()]
    if not any(result.scores for result in results) and options.no_training:
        raise UserError(f"{grid.folder}: expected runs of the grid, found none complete. Remove --no-training.")
    content = content_of(results, summarize(results), options.samples)
    paths = write_tables(grid.folder, content, paper=options.paper)
    print(as_markdown(content["rows"], paper=options.paper))
    print(f"in {grid.folder}: {', '.join(path.name for path in paths)}")
    if options.table:
        write_table_file(options.table, tables_of(content["rows"], paper=options.paper))
        print(f"{options.table}: written.")
    if options.bundle:
        write_bundle(options.bundle, grid.folder, content)
        print(f"{options.bundle}: written.")
    return content


def _read_result(grid: Grid, run: Run, samples: int) -> RunResult:
    """Read the result of a run; a run of another request, or with missing files, counts as failed."""
    try:
        checked_state(grid.folder / run.folder, grid.request(run))
        return read_result(grid.folder, run, samples)
    except UserError as error:
        return RunResult(run, State(Status.FAILED, fault=f"{error} {REMEDY}"), {})


def _refuse_existing_outputs(grid: Grid, options: argparse.Namespace) -> None:
    """Refuse to replace files that no leaderboard has written, and an existing table or bundle."""
    if taken := [path for path in (grid.folder, *grid.folder.parents) if path.exists() and not path.is_dir()]:
        raise UserError(
            f"{grid.folder}: expected a folder, found the file {taken[0]}. Name another folder by --out DIR."
        )
    if foreign := foreign_files(grid.folder):
        raise UserError(
            f"{foreign[0]}: expected a file of a leaderboard, found another. Name another folder by --out DIR."
        )
    for path in (options.table, options.bundle):
        if path and path.exists() and not options.overwrite:
            raise UserError(f"{path}: exists already. Name another file, or replace it by --overwrite.")
