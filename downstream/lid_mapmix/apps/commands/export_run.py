"""``lid-mapmix export RUN --out DIR``: a trained run as a self-contained folder for inference."""

import argparse
import json
import re
import shutil
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...host.registry import add_upstreams
from ...utils.command_line import CommandParser
from ...utils.digests import file_digest
from ...utils.errors import UserError
from ...utils.files import folder_when_complete
from ...utils.run_folder import RunFolder, choose_checkpoint

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_VERSIONS = ("lid-mapmix", "s3prl", "torch", "transformers")
_EXAMPLES = """\
examples:
  write dialects/, then use it:
    lid-mapmix export result/downstream/first --out dialects
    lid-mapmix predict dialects recording.wav
  with a page to try it, as a Hugging Face Space ('python dialects/app.py' serves it here):
    lid-mapmix export result/downstream/first --out dialects --space
  upload it to the Hugging Face Hub (log in by 'hf auth login'), then use it anywhere:
    lid-mapmix export result/downstream/first --push-to-hub USER/NAME
    lid-mapmix predict USER/NAME recording.wav
  the weights of the upstream have moved:
    lid-mapmix export result/downstream/first --out dialects -k moved/weights.pt
  the same with model.onnx, which needs no torch (pip install "lid-mapmix[onnx]"):
    lid-mapmix export result/downstream/first --out dialects --onnx

The folder holds model.safetensors (upstream, featurizer, head), config.json, a model card, and calibration.json and
novelty.safetensors (latents of dev) if the run has them. It needs neither the training data nor, unless the run has an
adapter, the upstream's checkpoint. Loading it unpickles nothing.
"""


def make_export_run_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix export``."""
    parser = CommandParser(
        "lid-mapmix export",
        description="Export a trained run for inference: weights as safetensors, settings as JSON, a model card.",
        epilog=_EXAMPLES,
    )
    parser.add_run("folder of a trained run, or a checkpoint in it")
    parser.add_out("folder to write; not needed with --push-to-hub", was_positional=True)
    parser.add_argument(
        "--push-to-hub", metavar="USER/NAME", help="upload it to the Hugging Face Hub, as a model or a Space"
    )
    parser.add_argument("--private", action="store_true", help="with --push-to-hub: keep it private")
    parser.add_upstream_weights()
    parser.add_overwrite("an earlier export")
    parser.add_argument(
        "--space", action="store_true", help="add app.py, this package and requirements.txt: a Hugging Face Space"
    )
    parser.add_argument(
        "--onnx", action="store_true", help="also write model.onnx, from waveform to calibrated probabilities"
    )
    return parser


def export_run(options: argparse.Namespace) -> None:
    """Write the folder, and upload it. Raises UserError: no such run, or it cannot be exported or uploaded there."""
    repository = options.push_to_hub
    is_named = options.out and not options.private if repository is None else _REPOSITORY.fullmatch(repository)
    if not is_named:
        found = repository or ("--private without --push-to-hub" if options.private else "none")
        raise UserError(f"expected --out DIR or --push-to-hub USER/NAME, found {found}. Name one.")
    with TemporaryDirectory() as temporary:
        out = options.out or Path(temporary, Path(str(repository)).name)
        _write(options, out)
        size = f"{sum(path.stat().st_size for path in out.rglob('*') if path.is_file()) / 1e6:,.1f} MB"
        done = f"{out}: written" if repository is None else f"{_push(out, options)}: uploaded"
        use = f"'lid-mapmix predict {repository or out} recording.wav'"
        if options.space:
            use = "opening this address" if repository else f"'python {out / 'app.py'}'"
        print(f"{done}, {size}. Use it by {use}.")


def _write(options: argparse.Namespace, out: Path) -> None:
    """Write the folder, complete or not at all."""
    # Imported here, after the flags were parsed: torch takes seconds.
    from ...inference.exported import holds_export, write_export  # noqa: PLC0415
    from ...inference.onnx_export import ONNX_NAME, require_onnx, write_onnx  # noqa: PLC0415
    from ...inference.trained import read_run  # noqa: PLC0415
    from ..report.model_card import card_text, read_facts  # noqa: PLC0415
    from ..report.tables import versions  # noqa: PLC0415

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
        write_export(folder, trained, packages, is_public=options.push_to_hub is not None)
        if options.onnx:
            identity = f"sha256:{file_digest(checkpoint)}"
            write_onnx(folder / ONNX_NAME, trained, checkpoint=identity, versions=json.dumps(packages))
        RunFolder(folder).card.write_text(card_text(facts, options.push_to_hub or "DIR"), encoding="utf-8")
        if options.space:
            _write_space(folder)
        # Another process may have written there in the meantime.
        _check_free(out, overwrite=options.overwrite)
        if out.exists():
            shutil.rmtree(out)


def _push(folder: Path, options: argparse.Namespace) -> str:
    """Upload an export to the Hub, with --overwrite in place of an earlier one, and return its address."""
    from huggingface_hub import HfApi  # noqa: PLC0415

    from ...inference.hub import EXPORT_FILES, explained  # noqa: PLC0415
    from ...inference.onnx_export import ONNX_NAME  # noqa: PLC0415

    api, repository, kind = HfApi(), options.push_to_hub, "space" if options.space else "model"
    own = [*EXPORT_FILES, ONNX_NAME]
    sdk = "gradio" if options.space else None
    with explained(f"{repository}: expected to upload to"):
        new: dict[str, Any] = {"private": options.private or None, "space_sdk": sdk}
        address = str(api.create_repo(repository, repo_type=kind, exist_ok=True, **new))
        if options.private and not api.repo_info(repository, repo_type=kind).private:
            raise UserError(f"{address}: expected a private {kind}, found a public one. Name another, or change it.")
        # The Hub creates a Space with a card.
        ours = {*own} - ({RunFolder(folder).card.name} if options.space else set())
        held = ours.intersection(api.list_repo_files(repository, repo_type=kind))
        if held and not options.overwrite:
            raise UserError(f"{address}: holds {min(held)} already. Name another {kind}, or replace it by --overwrite.")
        api.upload_folder(repo_id=repository, folder_path=folder, repo_type=kind, delete_patterns=own)
    return address


def _write_space(folder: Path) -> None:
    """Make an export a Space: the page, the code that it needs, which no index has, and what that needs."""
    from huggingface_hub import ModelCard  # noqa: PLC0415

    package = Path(__file__).parents[2]
    shutil.copy(package / "apps" / "space.py", folder / "app.py")
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    needed = [line for line in metadata.requires("lid-mapmix") or () if "extra ==" not in line]
    (folder / "requirements.txt").write_text("\n".join([*needed, "gradio>=6", ""]), encoding="utf-8")
    card = ModelCard.load(RunFolder(folder).card)
    card.data.sdk, card.data.app_file, card.data.python_version = "gradio", "app.py", "3.11"
    card.save(RunFolder(folder).card)


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
