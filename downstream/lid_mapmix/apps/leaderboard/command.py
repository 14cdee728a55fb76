"""The command line of ``lid-mapmix leaderboard``; what it does is in procedure.py."""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from ..report.table_files import table_file

_EXAMPLES = """\
examples:
  train whatever is missing of a grid, and write the tables; repeat it to go on:
    lid-mapmix leaderboard bench/demo.yaml --jobs 2
  a grid without a file; with settings of your own for all of its runs:
    lid-mapmix leaderboard --upstreams fbank mfcc --variants baseline mapmix --seeds 0,1 --data data/demo
    lid-mapmix leaderboard --upstreams fbank --variants baseline --seeds 0 --data data/demo -c settings.yaml
  what would be trained, and for how long; part of a grid:
    lid-mapmix leaderboard bench/paper.yaml --dry-run
    lid-mapmix leaderboard bench/paper.yaml --variants baseline --seeds 0
  beside the paper's tables, without training; packed for others; and checked by them:
    lid-mapmix leaderboard bench/paper.yaml --no-training --paper --bundle paper.zip
    lid-mapmix leaderboard --verify paper.zip
  the table for a paper, in LaTeX (booktabs):
    lid-mapmix leaderboard bench/demo.yaml --no-training --table leaderboard.tex
  eight jobs on a cluster, which share the grid out among them:
    lid-mapmix leaderboard bench/paper.yaml --slurm slurm_partition=gpu,gpus_per_node=1,timeout_min=1440 --jobs 8

The grid's file, whose paths are relative to the working directory:
  upstreams: {fbank: {}, tiny: {upstream: wav2vec2_local, weights: tiny.pt}}   # or a list; also frozen, cache_features,
                                                                               # variants (only these), settings,
                                                                               # made_by (said where there are no
                                                                               # weights; nothing is run)
  variants: {mapmix: {}, mapmix_95: {variant: mapmix, settings: {...}}}        # or a list
  data: {set1: data/set1, set2: data/set2}                                     # or a list; each with a test.csv
  seeds: [0, 1, 2]
  settings: {downstream_expert: {epochs: 10}}   # of all, as -c of run; then the upstream's, then the variant's
  into: result/leaderboard/NAME                 # where the runs are kept; default: named after the file
"""


class _Parser(argparse.ArgumentParser):
    """Refuses flags of which one would be passed over; argparse's own groups of such do not reach across its help's."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        options, unknown = super().parse_known_args(args, namespace)
        given = {name.replace("_", "-"): value not in (None, False) for name, value in vars(options).items()}
        grid = [name for name in ("bench", "upstreams", "variants", "seeds", "data", "config", "into") if given[name]]
        ways = [name for name in ("verify", "dry-run", "no-training", "slurm") if given[name]]
        if len(ways) > 1:
            self.error(f"--{ways[0]} and --{ways[1]} exclude each other")
        written = [name for name in ("bundle", "table") if given[name]]
        if given["verify"] and (grid or written):
            self.error("--verify ZIP stands alone: the grid is in it")
        if given["dry-run"] and written:
            self.error(f"--dry-run writes nothing: leave --{written[0]} out")
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
    grid("-c", "--config", metavar="YAML", help="settings of all runs, as -c of run, over those of the file")
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
    show("--table", type=table_file, metavar="FILE", help="also write the table as LaTeX (.tex) or Markdown (.md)")
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
