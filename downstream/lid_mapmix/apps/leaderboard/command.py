"""What ``lid-mapmix leaderboard`` does."""

import argparse
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from ...utils.errors import UserError
from ...utils.files import write_text
from ...utils.place import Place
from ..runs.processes import choose_device
from .bundle import verify, write_bundle
from .estimate import describe
from .grid import Grid, Run, read_grid
from .jobs import Job, make_jobs
from .page import GENERATOR, render
from .results import RunResult, read_result, summarize
from .running import Work
from .state import LOGS, REMEDY, State, Status, checked_state
from .tables import CSV_HEAD, NAME, as_markdown, content_of, failures, write_tables

# What a leaderboard's files have in them.
_MARKS = {
    "json": '"format": "lid-mapmix leaderboard',
    "html": f'content="{GENERATOR}"',
    "csv": CSV_HEAD,
    "md": "| upstream | variant |",
}
_EXAMPLES = """\
examples:
  train whatever is missing of a grid, and write the tables; repeat it to go on:
    lid-mapmix leaderboard bench/demo.yaml --jobs 2
  a grid without a file:
    lid-mapmix leaderboard --upstreams fbank mfcc --variants baseline mapmix --seeds 0,1 --data data/demo
  what would be trained, and for how long; part of a grid:
    lid-mapmix leaderboard bench/paper.yaml --dry-run
    lid-mapmix leaderboard bench/paper.yaml --variants baseline --seeds 0
  beside the paper's tables, without training; packed for others; and checked by them:
    lid-mapmix leaderboard bench/paper.yaml --no-training --paper --bundle paper.zip
    lid-mapmix leaderboard --verify paper.zip
  eight jobs on a cluster, which share the grid out among them:
    lid-mapmix leaderboard bench/paper.yaml --slurm slurm_partition=gpu,gpus_per_node=1,timeout_min=1440 --jobs 8

The grid's file, whose paths are relative to the working directory:
  upstreams: {fbank: {}, tiny: {upstream: wav2vec2_local, weights: tiny.pt}}   # or a list; also frozen, cache_features,
                                                                               # variants (only these), settings
  variants: {mapmix: {}, mapmix_95: {variant: mapmix, settings: {...}}}        # or a list
  data: {set1: data/set1, set2: data/set2}                                     # or a list; each with a test.csv
  seeds: [0, 1, 2]
  settings: {downstream_expert: {epochs: 10}}   # of all, as -c of run; then the upstream's, then the variant's
  into: result/leaderboard/NAME                 # where the runs are kept; default: named after the file
"""


def make_leaderboard(options: argparse.Namespace) -> None:
    """Train what is missing of a grid and write its tables, or verify a bundle of them.

    Raises
    ------
    UserError : a grid that cannot be trained, runs that failed, a bundle whose figures differ, a file in the way.
    """
    if options.verify:
        _verify(options)
        return
    grid = read_grid(options)
    _refuse_in_the_way(grid, options)
    if options.dry_run:
        print("\n".join(describe(_checked_jobs(grid), options.jobs)))
        return
    if not options.no_training:
        _train(grid, options)
    content = leave_results(grid, options)
    runs = content["runs"]
    if failed := failures(content):
        raise UserError(
            f"{len(failed)} of {len(runs)} runs failed, the first: {failed[0].removesuffix('.')}. Mend what is wrong "
            "and repeat the command: what is complete stays."
        )
    if missing := [run["folder"] for run in runs if run["status"] != Status.COMPLETE.value and not options.no_training]:
        logs = "" if options.slurm is None else f" What the jobs said is in {grid.folder / LOGS}."
        raise UserError(
            f"{len(missing)} of {len(runs)} runs are not complete, the first: {missing[0]}. Repeat the command.{logs}"
        )


def _train(grid: Grid, options: argparse.Namespace) -> None:
    devices = [name for names in options.devices or [] for name in names]
    if options.slurm is None:
        train_grid(grid, devices, options.jobs)
        return
    from .slurm import submit  # noqa: PLC0415 - an extra

    _checked_jobs(grid)
    # The grid itself: its file may be another one by the time that a job begins.
    submit(grid.folder, partial(train_grid, grid, devices, 1), options.jobs, options.slurm)


def train_grid(grid: Grid, devices: Sequence[str], workers: int) -> None:
    """Train what is missing of a grid, some runs at a time.

    Raises
    ------
    UserError : a grid that cannot be trained, no such device; what a run says is kept with it.
    """
    for device in devices:
        choose_device(argparse.Namespace(device=device, local_rank=None), Place())
    jobs = _checked_jobs(grid)
    with _ended_politely():
        Work(jobs, grid.folder, devices).work(workers)


def _checked_jobs(grid: Grid) -> list[Job]:
    jobs = make_jobs(grid)
    for job in jobs:
        checked_state(job.folder, job.request)
    return jobs


def leave_results(grid: Grid, options: argparse.Namespace) -> dict[str, Any]:
    """Write the tables and the page of the runs that are complete, print the table, and return the JSON's content."""
    results = [_read_result(grid, run, options.samples) for run in grid.runs()]
    if not any(result.scores for result in results) and options.no_training:
        raise UserError(f"{grid.folder}: expected runs of the grid, found none complete. Leave --no-training out.")
    content = content_of(results, summarize(results), options.samples)
    paths = write_tables(grid.folder, content, paper=options.paper)
    page = grid.folder / f"{NAME}.html"
    write_text(page, render(grid.folder, content, paper=options.paper))
    print(as_markdown(content["rows"], paper=options.paper))
    print(f"in {grid.folder}: {', '.join(path.name for path in [*paths, page])}")
    if options.bundle:
        write_bundle(Path(options.bundle), grid.folder, content)
        print(f"{options.bundle}: verify it by 'lid-mapmix leaderboard --verify {options.bundle}'")
    return content


def _read_result(grid: Grid, run: Run, samples: int) -> RunResult:
    """Read what a run has left; of one that is another, or whose files are gone, say so and let the rest be shown."""
    try:
        checked_state(grid.folder / run.folder, grid.request(run))
        return read_result(grid.folder, run, samples)
    except UserError as error:
        return RunResult(run, State(Status.FAILED, fault=f"{error} {REMEDY}"), {})


def _verify(options: argparse.Namespace) -> None:
    differences = verify(Path(options.verify))
    for line in differences:
        print(line)
    if differences:
        raise UserError(f"{options.verify}: {len(differences)} of its figures or files differ, listed above.")
    print(f"{options.verify}: every figure follows from its score files")


def _refuse_in_the_way(grid: Grid, options: argparse.Namespace) -> None:
    """Refuse to write over what no leaderboard has written."""
    if taken := [path for path in (grid.folder, *grid.folder.parents) if path.exists() and not path.is_dir()]:
        raise UserError(f"{grid.folder}: expected a folder, found the file {taken[0]}. Name another by --into DIR.")
    for suffix, mark in _MARKS.items():
        path = grid.folder / f"{NAME}.{suffix}"
        if path.exists() and not (path.is_file() and mark in path.read_text(encoding="utf-8", errors="replace")):
            raise UserError(f"{path}: is there already, and is no leaderboard. Keep the runs elsewhere by --into DIR.")
    if options.bundle and Path(options.bundle).exists():
        raise UserError(f"{options.bundle}: is there already. Name another file, or delete it.")


@contextmanager
def _ended_politely() -> Iterator[None]:
    """Let the end that a cluster or a supervisor asks for be that of Ctrl-C: the runs end first.

    Whoever asks again does not disturb that, nor the end of this process.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, lambda *_: None)
        raise KeyboardInterrupt

    # Who has it started without an ear for Ctrl-C, as a script does in the background, means it.
    heard = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, interrupt) for each in heard}
    try:
        yield
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) is interrupt:
                signal.signal(each, handler)


class _Parser(argparse.ArgumentParser):
    """Refuses flags of which one would be passed over; argparse's own groups of such do not reach across its help's."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        options, unknown = super().parse_known_args(args, namespace)
        given = {name.replace("_", "-"): value not in (None, False) for name, value in vars(options).items()}
        grid = [name for name in ("bench", "upstreams", "variants", "seeds", "data", "into") if given[name]]
        ways = [name for name in ("verify", "dry-run", "no-training", "slurm") if given[name]]
        if len(ways) > 1:
            self.error(f"--{ways[0]} and --{ways[1]} exclude each other")
        if given["verify"] and (grid or given["bundle"]):
            self.error("--verify ZIP stands alone: the grid is in it")
        if given["dry-run"] and given["bundle"]:
            self.error("--dry-run writes nothing: leave --bundle out")
        return options, unknown


def make_leaderboard_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix leaderboard``; flags that are not given are None."""
    parser = _Parser(
        "lid-mapmix leaderboard",
        description="Train upstreams × variants × data × seeds, each run once, and write leaderboard.csv, .json, .md "
        "and .html. Several processes or machines on one file system can work on the same grid.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bench", nargs="?", metavar="BENCH.yaml", help="the grid")
    grid = parser.add_argument_group("the grid, or what of the file's to take").add_argument
    grid("--upstreams", nargs="+", type=_names, metavar="NAME", help="names, also with commas between them")
    grid("--variants", nargs="+", type=_names, metavar="NAME", help="likewise")
    grid("--seeds", nargs="+", type=_numbers, metavar="SEED", help="numbers, in place of the file's")
    grid("--data", nargs="+", metavar="DIR", help="folders of train.csv, dev.csv and test.csv, in place of the file's")
    grid("--into", metavar="DIR", help="where the runs are kept; default: the file's, or result/leaderboard/NAME")
    work = parser.add_argument_group("training").add_argument
    work("--jobs", type=_count, default=1, metavar="N", help="runs at once; with --slurm, jobs; default: 1")
    work("--devices", nargs="+", type=_names, metavar="DEVICE", help="of the jobs in turn: cuda:0 cuda:1, cpu")
    work("--slurm", nargs="?", const="", type=_options, metavar="KEY=VALUE,…", help="submit jobs through submitit")
    work("--dry-run", action="store_true", help="print runs, steps and an estimate of time, and train nothing")
    work("--no-training", action="store_true", help="write the tables of the runs that are complete")
    show = parser.add_argument_group("results").add_argument
    show("--paper", action="store_true", help="set the results beside the paper's tables")
    show("--samples", type=_count, default=1000, help="resamples of the test behind bold figures; default: 1000")
    show("--bundle", metavar="ZIP", help="pack scores, settings, versions and commands")
    show("--verify", metavar="ZIP", help="compute the figures of a bundle anew and say what differs; alone")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[,\s]+", text) if name]


def _numbers(text: str) -> list[int]:
    try:
        return [int(name) for name in _names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers, found {text!r}") from None


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, found {text!r}")
    return int(text)


def _options(text: str) -> dict[str, str | int]:
    pairs = [name.partition("=") for name in _names(text)]
    if wrong := next((name for name, sign, _ in pairs if not sign), None):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, found {wrong!r}")
    return {name: int(value) if value.isdigit() else value for name, _, value in pairs}
