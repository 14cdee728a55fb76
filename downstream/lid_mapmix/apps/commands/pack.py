"""``lid-mapmix pack``: a prepared corpus into tar shards."""

import argparse
import logging
import shlex
from pathlib import Path

from ...data.export import DEFAULT_SHARD_BYTES, AudioFormat
from ...utils.argument_types import whole_number_from

_MEGABYTE = 10**6
_GIGABYTE = 10**9
_SMALLEST_MEGABYTES = 1
_EXAMPLES = """\
examples:
  lid-mapmix pack data/demo data/demo-packed
  lid-mapmix pack data/demo data/demo-packed --shard-size 200 --format flac
  python run_downstream.py -u fbank --data data/demo-packed
"""


def make_pack_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix pack``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix pack",
        description="Pack the audio of a prepared folder into tar shards, with manifests that point into them. "
        "Training on OUT is training on DATA. The shards are valid WebDatasets as well.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder of train.csv, dev.csv and test.csv, those that are there")
    add("into", type=Path, metavar="OUT", help="the folder to make")
    add(
        "--shard-size",
        type=_megabytes,
        default=DEFAULT_SHARD_BYTES // _MEGABYTE,
        metavar="MB",
        help="most megabytes (10^6 bytes) a shard; a larger file has one of its own (default: %(default)s)",
    )
    add(
        "--format",
        choices=[form.value for form in AudioFormat],
        default=AudioFormat.KEEP.value,
        help="keep: files as they are; flac: converts those that lose nothing by it (default: %(default)s)",
    )
    add(
        "--seed",
        type=whole_number_from(0),
        metavar="N",
        help="put files into an order drawn with N, for programs that read shards from end to end; without it they are "
        "in the order of the manifest, in which evaluation reads them",
    )
    add("--overwrite", action="store_true", help="replace an earlier pack in OUT")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def pack_corpus(options: argparse.Namespace) -> None:
    """Pack what is asked for, and say what came of it.

    Raises
    ------
    UserError : as :func:`~lid_mapmix.data.export.packing.pack`.
    """
    # Imported here, once the flags are known to be right: torch takes seconds.
    from ...data.export.packing import pack  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    summary = pack(
        options.data,
        options.into,
        shard_bytes=round(options.shard_size * _MEGABYTE),
        audio_format=AudioFormat(options.format),
        seed=options.seed,
        overwrite=options.overwrite,
    )
    flac = f", {summary.converted} of them converted to flac" if options.format == AudioFormat.FLAC else ""
    print(
        f"{options.into}: {summary.utterances} utterances in {summary.files} files{flac}, "
        f"{summary.read_bytes / _GIGABYTE:.3f} GB before, {summary.written_bytes / _GIGABYTE:.3f} GB in "
        f"{summary.shards} shards; train on it with 'lid-mapmix run -u fbank --data {shlex.quote(str(options.into))}'"
    )


def _megabytes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not _SMALLEST_MEGABYTES <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of megabytes from {_SMALLEST_MEGABYTES} up")
    return value
