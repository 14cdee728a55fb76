"""``lid-mapmix export-manifest DATA --to kaldi|jsonl|parquet --out DIR``: prepared data in other forms."""

import argparse
from pathlib import Path

from ...data.export import ManifestForm

_PURPOSES = {
    ManifestForm.KALDI: "a data directory a split",
    ManifestForm.JSONL: "NeMo's JSON lines, a file a split",
    ManifestForm.PARQUET: "manifests of this package that open in seconds with millions of rows; needs pyarrow",
}
_EXAMPLES = """\
examples:
  lid-mapmix export-manifest data/demo --to kaldi --out kaldi/data
  lid-mapmix export-manifest data/demo --to jsonl --out nemo
  lid-mapmix export-manifest data/large --to parquet --out data/large-parquet
"""


def make_export_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix export-manifest``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix export-manifest",
        description="Write train.csv, dev.csv and test.csv in another form; audio stays where it is.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder of train.csv, dev.csv and test.csv")
    parser.add_argument(
        "--to",
        required=True,
        choices=[form.value for form in ManifestForm],
        help="; ".join(f"{form}: {_PURPOSES[form]}" for form in ManifestForm),
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where to write")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are already there")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def export_manifest(options: argparse.Namespace) -> None:
    """Write what is asked for and say where it is.

    Raises
    ------
    UserError : as :func:`~lid_mapmix.data.export.manifests.export_manifests`.
    """
    # Imported here, once the flags are known to be right: the readers of audio take seconds.
    from ...data.export.manifests import export_manifests  # noqa: PLC0415

    for path in export_manifests(options.data, ManifestForm(options.to), options.out, overwrite=options.overwrite):
        print(path)
