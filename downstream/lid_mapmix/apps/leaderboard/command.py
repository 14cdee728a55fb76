"""The flags of ``lid-mapmix leaderboard``; procedure.py executes it."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...utils.command_line import CommandParser, whole_number_from
from ..report.table_files import table_file

_EXAMPLES = """\
examples:
  train the missing runs of a grid, and write the tables; run it again to resume:
    lid-mapmix leaderboard bench/demo.yaml --jobs 2
  a grid without a file:
    lid-mapmix leaderboard --upstreams fbank mfcc --variants baseline mapmix --seeds 0,1 --data data/demo
  override settings of all runs:
    lid-mapmix leaderboard --upstreams fbank --variants baseline --seeds 0 --data data/demo -c settings.yaml
  print the runs, their steps and status; train a part of a grid:
    lid-mapmix leaderboard bench/paper.yaml --dry-run
    lid-mapmix leaderboard bench/paper.yaml --variants baseline --seeds 0
  write tables next to those of the paper, without training; pack a bundle; compute those of an unpacked one again:
    lid-mapmix leaderboard bench/paper.yaml --no-training --paper --bundle paper.zip
    lid-mapmix leaderboard bench/paper.yaml --no-training --out unpacked
  write the table for a paper, in LaTeX (booktabs):
    lid-mapmix leaderboard bench/demo.yaml --no-training --table leaderboard.tex
  eight jobs on a Slurm cluster, which share the runs:
    sbatch --array=1-8 --gpus=1 --wrap "lid-mapmix leaderboard bench/paper.yaml"

BENCH.yaml (paths are relative to the working directory):
  upstreams: {fbank: {}, tiny: {upstream: wav2vec2_local, weights: tiny.pt}}   # or a list; other keys: frozen,
                                                                               # cache_features, variants, settings,
                                                                               # made_by (command that makes the
                                                                               # weights; shown if they are missing)
  variants: {mapmix: {}, mapmix_95: {variant: mapmix, settings: {...}}}        # or a list
  data: {set1: data/set1, set2: data/set2}                                     # or a list; each with test.csv
  seeds: [0, 1, 2]
  settings: {downstream_expert: {epochs: 10}}   # for all runs; overridden by those of upstreams, then of variants
  out: result/leaderboard/NAME                  # folder of the runs; default: NAME is that of the file
"""


class _Parser(CommandParser):
    """Refuses flags that exclude each other; argparse's exclusive groups cannot span several groups of the help."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse, and refuse flags that exclude each other."""
        options, unknown = super().parse_known_args(args, namespace)
        if options.dry_run and options.no_training:
            self.error("--dry-run and --no-training exclude each other")
        if written := [name for name in ("bundle", "table") if options.dry_run and vars(options)[name]]:
            self.error(f"--dry-run writes nothing: remove --{written[0]}")
        return options, unknown


def make_leaderboard_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix leaderboard``; flags that are not given are None."""
    parser = _Parser(
        "lid-mapmix leaderboard",
        description="Train upstreams × variants × data × seeds, and write leaderboard.csv, .json, .md and .html.\n"
        "Complete runs are not repeated. Several processes or machines on one file system can share a grid.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("bench", nargs="?", metavar="BENCH.yaml", help="file of the grid")
    parser.add_out("folder of the runs; default: that of the file, or result/leaderboard/NAME")
    parser.add_deprecated("--into", "--out")
    grid = parser.add_argument_group("grid, or selection from the file").add_argument
    grid("--upstreams", nargs="+", type=_names, metavar="NAME", help="upstreams, separated by spaces or commas")
    grid("--variants", nargs="+", type=_names, metavar="NAME", help="variants, separated by spaces or commas")
    grid("--seeds", nargs="+", type=_numbers, metavar="SEED", help="seeds instead of those of the file")
    grid("--data", nargs="+", metavar="DIR", help="folders with train.csv, dev.csv, test.csv, instead of the file's")
    grid("-c", "--config", metavar="YAML", help="settings of all runs, as -c of run; they override those of the file")
    work = parser.add_argument_group("training").add_argument
    count = whole_number_from(1)
    work("--jobs", type=count, default=1, metavar="N", help="parallel runs; default: 1")
    work("--devices", nargs="+", type=_names, metavar="DEVICE", help="devices of the jobs in turn: cuda:0 cuda:1, cpu")
    work("--dry-run", action="store_true", help="print runs, status, remaining steps and time spent; train nothing")
    work("--no-training", action="store_true", help="write the tables of the complete runs; train nothing")
    show = parser.add_argument_group("results").add_argument
    show("--paper", action="store_true", help="show the results next to those of the paper")
    show(
        "--samples",
        type=count,
        default=1000,
        metavar="N",
        help="bootstrap resamples of the test for bold; default: 1000",
    )
    show("--table", type=table_file, metavar="FILE", help="write the table as LaTeX (.tex) or Markdown (.md)")
    show("--bundle", type=Path, metavar="ZIP", help="pack scores, settings, versions and commands")
    parser.add_overwrite("an existing bundle or table")
    return parser


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[,\s]+", text) if name]


def _numbers(text: str) -> list[int]:
    try:
        return [int(name) for name in _names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers, found {text!r}") from None
