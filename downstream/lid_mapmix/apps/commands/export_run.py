"""``lid-mapmix export RUN --out DIR``: a trained run as a self-contained folder for inference."""

import argparse
import json
import shutil
from pathlib import Path

from ...host.registry import add_upstreams
from ...utils.command_line import CommandParser
from ...utils.digests import file_digest
from ...utils.errors import UserError
from ...utils.files import folder_when_complete
from ...utils.run_folder import RunFolder, choose_checkpoint

_VERSIONS = ("lid-mapmix", "s3prl", "torch", "transformers")
_EXAMPLES = """\
examples:
  write dialects/, then use it:
    lid-mapmix export result/downstream/first --out dialects
    lid-mapmix predict dialects recording.wav
  the weights of the upstream have moved:
    lid-mapmix export result/downstream/first --out dialects -k moved/weights.pt

  the same with model.onnx, which needs no torch (pip install "lid-mapmix[onnx]"):
    lid-mapmix export result/downstream/first --out dialects --onnx

The folder holds model.safetensors (upstream, featurizer, head), config.json, a model card, and calibration.json and
novelty.safetensors (latents of dev) if the run has them. It needs neither the training data nor the upstream's
checkpoint. Loading it unpickles nothing.
"""


def make_export_run_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix export``."""
    parser = CommandParser(
        "lid-mapmix export",
        description="Export a trained run for inference: weights as safetensors, settings as JSON, a model card.",
        epilog=_EXAMPLES,
    )
    parser.add_run("folder of a trained run, or a checkpoint in it")
    parser.add_out("folder to write", required=True, was_positional=True)
    parser.add_upstream_weights()
    parser.add_overwrite("an earlier export")
    parser.add_argument(
        "--onnx", action="store_true", help="also write model.onnx, from waveform to calibrated probabilities"
    )
    return parser


def export_run(options: argparse.Namespace) -> None:
    """Write the folder, complete or not at all. Raises UserError: no such run, or it cannot be exported there."""
    # Imported here, after the flags were parsed: torch takes seconds.
    from ...inference.exported import holds_export, write_export  # noqa: PLC0415
    from ...inference.onnx_export import ONNX_NAME, require_onnx, write_onnx  # noqa: PLC0415
    from ...inference.trained import read_run  # noqa: PLC0415
    from ..report.model_card import card_text, read_facts  # noqa: PLC0415
    from ..report.tables import versions  # noqa: PLC0415

    out: Path = options.out
    if holds_export(options.run):
        raise UserError(f"{options.run}: expected a run, found an export. Copy it, or name the folder of a run.")
    _check_free(out, overwrite=options.overwrite)
    if options.onnx:
        require_onnx()
    add_upstreams(options.upstream_from)
    trained = read_run(options.run, "cpu", options.weights)
    checkpoint = choose_checkpoint(options.run, "inference")
    facts = read_facts(checkpoint, out.resolve().name)
    packages = {name: found for name, found in versions() if name in _VERSIONS}
    with folder_when_complete(out) as folder:
        write_export(folder, trained, packages)
        if options.onnx:
            write_onnx(
                folder / ONNX_NAME,
                trained,
                checkpoint=f"sha256:{file_digest(checkpoint)}",
                versions=json.dumps(packages),
            )
        RunFolder(folder).card.write_text(card_text(facts, "DIR"), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    print(f"{out}: written, {size:,.1f} MB. Use it by 'lid-mapmix predict {out} recording.wav'.")


def _check_free(out: Path, *, overwrite: bool) -> None:
    """Raise a UserError for an existing folder, unless it is an earlier export and may be replaced."""
    from ...inference.exported import CONFIG_NAME, holds_export, read_config  # noqa: PLC0415

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise UserError(
            f"{out}: exists already. Name another folder by --out, or replace an earlier export by --overwrite."
        )
    if not holds_export(out):
        raise UserError(f"{out}: expected an earlier export, found other files. Name another folder by --out.")
    read_config(out / CONFIG_NAME)
