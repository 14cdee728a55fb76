"""``lid-mapmix pack DATA --out DIR``: a prepared corpus as tar shards."""

import argparse
import shlex
from pathlib import Path

from ...data.export import DEFAULT_SHARD_BYTES
from ...utils.command_line import CommandParser, number_from

_MEGABYTE = 10**6
_GIGABYTE = 10**9
_EXAMPLES = """\
examples:
  lid-mapmix pack data/demo --out data/demo-packed
  lid-mapmix pack data/demo --out data/demo-packed --shard-size 200
  lid-mapmix run -u fbank --data data/demo-packed
"""


def make_pack_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix pack``."""
    parser = CommandParser(
        "lid-mapmix pack",
        description="Pack the audio of a prepared corpus into tar shards, and write manifests that refer to them.\n"
        "Training on the packed corpus gives the same model. The shards are valid WebDatasets.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder with train.csv, dev.csv and test.csv, or some of them")
    parser.add_out("folder to write", required=True, was_positional=True)
    add(
        "--shard-size",
        type=number_from(1),
        default=DEFAULT_SHARD_BYTES // _MEGABYTE,
        metavar="MB",
        help="maximum size of a shard in MB (10^6 bytes); a larger file has its own shard; default: %(default)s",
    )
    parser.add_overwrite("an earlier pack")
    return parser


def pack_corpus(options: argparse.Namespace) -> None:
    """Pack a corpus and print its size. Raises UserError: see data/export/packing.py."""
    # Imported here, after the flags were parsed: torch takes seconds.
    from ...data.export.packing import pack  # noqa: PLC0415

    size, overwrite = round(options.shard_size * _MEGABYTE), options.overwrite
    summary = pack(options.data, options.out, shard_bytes=size, overwrite=overwrite)
    print(
        f"{options.out}: {summary.utterances} utterances in {summary.files} files, "
        f"{summary.audio_bytes / _GIGABYTE:.3f} GB in {summary.shards} shards. Train on it by 'lid-mapmix run -u fbank "
        f"--data {shlex.quote(str(options.out))}'"
    )
