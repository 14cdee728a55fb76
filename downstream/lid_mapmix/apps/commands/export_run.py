"""``lid-mapmix export``: a trained run as a folder that identifies anywhere."""

import argparse
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ...utils.errors import UserError
from ...utils.files import folder_when_complete
from ...utils.run_folder import RunFolder, choose_checkpoint

_VERSIONS = ("lid-mapmix", "s3prl", "torch", "transformers")
_EXAMPLES = """\
examples:
  lid-mapmix export result/downstream/first dialects      # writes dialects/, for Identifier and predict
  lid-mapmix predict -e dialects recording.wav
  lid-mapmix export result/downstream/first dialects -k moved/weights.pt   # the upstream's weights lie elsewhere now

The folder holds model.safetensors (upstream, featurizer, head), config.json, calibration.json where the run has one,
and a model card. It needs neither the training data nor the upstream's checkpoint, and loading it unpickles nothing.
"""


def make_export_run_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix export``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix export",
        description="Make a folder of a trained run that identifies anywhere: safetensors weights, settings as JSON.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="EXPDIR", help="folder of a run, or a checkpoint in it")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write, which is not there yet")
    parser.add_argument("-k", dest="weights", metavar="PATH", help="where the weights of the run's upstream lie now")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that was exported before")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def export_run(options: argparse.Namespace) -> None:
    """Write the folder, complete or not at all.

    Raises
    ------
    UserError : no such run, an upstream that needs its checkpoint, or a folder that is there already.
    """
    # Imported here, once the flags are known to be right: torch takes seconds.
    from ...inference.exported import holds_export, write_export  # noqa: PLC0415
    from ...inference.trained import read_run  # noqa: PLC0415
    from ..report.model_card import card_text, read_facts  # noqa: PLC0415

    out: Path = options.out
    if holds_export(options.run):
        raise UserError(f"{options.run}: is an export already. Copy it, or name the folder of a run.")
    _check_free(out, overwrite=options.overwrite)
    trained = read_run(options.run, "cpu", options.weights)
    facts = read_facts(choose_checkpoint(options.run, "inference"), out.resolve().name)
    with folder_when_complete(out) as folder:
        write_export(folder, trained, {name: found for name in _VERSIONS if (found := _version(name))})
        RunFolder(folder).card.write_text(card_text(facts, "DIR"), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    print(f"{out}: written, {size:,.1f} MB; 'lid-mapmix predict -e {out} recording.wav' uses it")


def _check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that is there, unless it was exported before and may be replaced.

    Raises
    ------
    UserError : it is.
    """
    from ...inference.exported import CONFIG_NAME, holds_export, read_config  # noqa: PLC0415

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise UserError(f"{out}: is there already. Name another folder, or replace an earlier export by --overwrite.")
    if not holds_export(out):
        raise UserError(f"{out}: holds no earlier export, and is not replaced. Name another folder.")
    read_config(out / CONFIG_NAME)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None  # a plain clone is not installed
