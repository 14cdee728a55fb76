"""``lid-mapmix pack DATA --out DIR``: a prepared corpus as tar shards."""

import argparse
import shlex
from pathlib import Path

from ...data.export import DEFAULT_SHARD_BYTES, AudioFormat
from ...utils.command_line import CommandParser, number_from

_MEGABYTE = 10**6
_GIGABYTE = 10**9
_EXAMPLES = """\
examples:
  lid-mapmix pack data/demo --out data/demo-packed
  lid-mapmix pack data/demo --out data/demo-packed --shard-size 200 --format flac
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
    add(
        "--format",
        choices=[form.value for form in AudioFormat],
        default=AudioFormat.KEEP.value,
        help="keep: copy files unchanged; flac: convert lossless files to FLAC; default: %(default)s",
    )
    parser.add_seed(
        "shuffle the files by this seed, for programs that read shards sequentially; default: the order of the "
        "manifest",
        default=None,
    )
    parser.add_overwrite("an earlier pack")
    return parser


def pack_corpus(options: argparse.Namespace) -> None:
    """Pack a corpus and print its size before and after. Raises UserError: see data/export/packing.py."""
    # Imported here, after the flags were parsed: torch takes seconds.
    from ...data.export.packing import pack  # noqa: PLC0415

    summary = pack(
        options.data,
        options.out,
        shard_bytes=round(options.shard_size * _MEGABYTE),
        audio_format=AudioFormat(options.format),
        seed=options.seed,
        overwrite=options.overwrite,
    )
    flac = f", {summary.converted} of them converted to flac" if options.format == AudioFormat.FLAC else ""
    print(
        f"{options.out}: {summary.utterances} utterances in {summary.files} files{flac}, "
        f"{summary.read_bytes / _GIGABYTE:.3f} GB before, {summary.written_bytes / _GIGABYTE:.3f} GB in "
        f"{summary.shards} shards. Train on it by 'lid-mapmix run -u fbank --data {shlex.quote(str(options.out))}'"
    )
