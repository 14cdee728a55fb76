"""``lid-mapmix export-manifest DATA --to lhotse|parquet --out DIR``: a prepared corpus in other formats."""

import argparse
from pathlib import Path

from ...data.export import ManifestForm
from ...utils.command_line import CommandParser, choices_of

_EXAMPLES = """\
examples:
  lid-mapmix export-manifest data/demo --to lhotse --out manifests
  lhotse kaldi export manifests/recordings_train.jsonl.gz manifests/supervisions_train.jsonl.gz kaldi/train
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
        type=_form,
        choices=choices_of(ManifestForm),
        help="lhotse: recordings and supervisions, which Lhotse converts for Kaldi and NeMo (needs lhotse); "
        "parquet: manifests of lid_mapmix that open in seconds with millions of rows (needs pyarrow)",
    )
    parser.add_out("folder to write", required=True)
    parser.add_overwrite("existing files")
    return parser


def _form(name: str) -> str:
    if name in ("kaldi", "jsonl"):
        raise argparse.ArgumentTypeError(
            f"{name}: expected lhotse or parquet. Write lhotse; then 'lhotse kaldi export' makes Kaldi's data "
            "directories of it, and 'lhotse cut simple' the cuts that NeMo reads"
        )
    return name


def export_manifest(options: argparse.Namespace) -> None:
    """Write the manifests and print their paths. Raises UserError: see data/export/manifests.py."""
    # Imported here, after the flags were parsed: the readers of audio take seconds.
    from ...data.export.manifests import export_manifests  # noqa: PLC0415

    for path in export_manifests(options.data, ManifestForm(options.to), options.out, overwrite=options.overwrite):
        print(path)
