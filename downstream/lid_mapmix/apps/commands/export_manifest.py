"""``lid-mapmix export-manifest DATA --to kaldi|jsonl|parquet --out DIR``: a prepared corpus in other formats."""

import argparse
from pathlib import Path

from ...data.export import ManifestForm
from ...utils.command_line import CommandParser

_PURPOSES = {
    ManifestForm.KALDI: "one data directory per split",
    ManifestForm.JSONL: "NeMo's JSON lines, one file per split",
    ManifestForm.PARQUET: "manifests of lid_mapmix that open in seconds with millions of rows; needs pyarrow",
}
_EXAMPLES = """\
examples:
  lid-mapmix export-manifest data/demo --to kaldi --out kaldi/data
  lid-mapmix export-manifest data/demo --to jsonl --out nemo
  lid-mapmix export-manifest data/large --to parquet --out data/large-parquet
"""


def make_export_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix export-manifest``."""
    parser = CommandParser(
        "lid-mapmix export-manifest",
        description="Write train.csv, dev.csv and test.csv in another format. Audio is not copied.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with train.csv, dev.csv and test.csv")
    parser.add_argument(
        "--to",
        required=True,
        choices=[form.value for form in ManifestForm],
        help="; ".join(f"{form}: {_PURPOSES[form]}" for form in ManifestForm),
    )
    parser.add_out("folder to write", required=True)
    parser.add_overwrite("existing files")
    return parser


def export_manifest(options: argparse.Namespace) -> None:
    """Write the manifests and print their paths. Raises UserError: see data/export/manifests.py."""
    # Imported here, after the flags were parsed: the readers of audio take seconds.
    from ...data.export.manifests import export_manifests  # noqa: PLC0415

    for path in export_manifests(options.data, ManifestForm(options.to), options.out, overwrite=options.overwrite):
        print(path)
