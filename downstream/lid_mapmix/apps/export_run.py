"""``lid-mapmix export``: a trained run as a folder that identifies anywhere."""

import argparse
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..checkpoints import choose_checkpoint
from ..errors import UserError
from ..files import folder_when_complete
from ..identification.exported import CONFIG_NAME, holds_export, read_config, write_export
from ..identification.trained import read_run
from .card_facts import read_facts
from .model_card import CARD_NAME, card_text

_VERSIONS = ("lid-mapmix", "s3prl", "torch", "transformers")


def export_run(options: argparse.Namespace) -> None:
    """Write the folder, complete or not at all.

    Raises
    ------
    UserError : no such run, an upstream that needs its checkpoint, or a folder that is there already.
    """
    out: Path = options.out
    if holds_export(options.run):
        raise UserError(f"{options.run}: is an export already. Copy it, or name the folder of a run.")
    _check_free(out, overwrite=options.overwrite)
    trained = read_run(options.run, "cpu", options.weights)
    facts = read_facts(choose_checkpoint(options.run, "inference"), out.resolve().name)
    with folder_when_complete(out) as folder:
        write_export(folder, trained, {name: found for name in _VERSIONS if (found := _version(name))})
        (folder / CARD_NAME).write_text(card_text(facts, "DIR"), encoding="utf-8")
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
