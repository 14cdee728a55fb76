"""The first of two stages: the data map that a run needs, made in a folder of its own below the run's.

Its request.json says what the map is made from and how, and, once it is complete, the digests of its files: a later
command makes no second map where it finds the very one it needs, and takes no other one for it.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...config.checks import task_config
from ...config.schema import AugmentConfig, TaskConfig
from ...data.audio.folders import listing_digest
from ...data.manifest.manifest import find_manifest
from ...host.precision import Precision, read_precision
from ...training.checkpoints import choose_checkpoint, holds_run
from ...training.plan import DATAMAP_NAME, LIKENESS_NAME
from ...training.run_folder import clear, only_one, refuse_held, write_text
from ...utils.digests import file_digest, weights_digest
from ...utils.distributed import from_leader
from ...utils.errors import UserError
from ..settings.settings import Settings, settings_from_checkpoint
from .one_run import leave_picture_of, place, run

_REQUEST_NAME = "request.json"
# Maps that were made before their requests said so are taken to be of what is there now.
_LATER_NAMES = ("weights", "noise or rooms")
_RUNNER_KEYS_OF_A_MAP = ("gradient_accumulate_steps", "gradient_clipping", "fp16")


def make_datamap(stage: Settings, make_room: Callable[[], None], options: argparse.Namespace) -> Settings:
    """Train the data map that a run needs, unless the folder holds the very map that is asked for.

    Parameters
    ----------
    stage : the settings of the map's run.
    make_room : called before a new map is trained, to delete what an earlier run has left in the main run's folder.
    options : the flags.

    Returns
    -------
    the settings of the map's run, in whose folder the map is.

    Raises
    ------
    UserError : the folder holds another map, one that has changed since, or one that nobody asked to go on with.
    """
    kept, request = stage.expdir / _REQUEST_NAME, from_leader(lambda: map_request(stage))
    stage, is_complete, goes_on = from_leader(lambda: _examine_datamap(stage, request, options))
    place(stage, options)
    if is_complete:
        return stage

    def begin() -> None:
        # Whatever an interrupted run left there is of no use to a new one, nor a run that is to be overwritten.
        if not goes_on:
            clear(stage.expdir)
            make_room()
        write_text(kept, json.dumps({"request": request, "files": None}, indent=1))

    def complete() -> None:
        leave_picture_of(stage)
        write_text(kept, json.dumps({"request": request, "files": _file_digests(stage.expdir)}, indent=1))

    with ExitStack() as held:
        # Besides the folder of the whole run, which is held already: commands on the map know only this one.
        from_leader(lambda: _hold(stage.expdir, held))
        run(stage, "train", begin=begin)
        from_leader(complete)
    return stage


def _hold(expdir: Path, held: ExitStack) -> None:
    held.enter_context(only_one(expdir))


def _examine_datamap(
    stage: Settings, request: dict[str, Any], options: argparse.Namespace
) -> tuple[Settings, bool, bool]:
    """Return the settings of a data map, whether its folder has it complete, and whether a run there is to go on."""
    kept = stage.expdir / _REQUEST_NAME
    state: dict[str, Any] = {"request": request, "files": None}
    if kept.is_file() and not options.overwrite:
        state = _read_request(kept)
        known = {name: request[name] for name in _LATER_NAMES if name in request} | state["request"]
        differing = [key for key, value in request.items() if known.get(key) != value]
        if differing:
            raise UserError(
                f"{stage.expdir}: holds a data map made with another {', '.join(differing)}. "
                "Choose another folder by -n or -p, or start anew by --overwrite."
            )
    if state["files"] is not None:
        _refuse_changed(stage.expdir, state["files"])
        print(f"[lid_mapmix] stage 1 of 2, data map: complete in {stage.expdir}")
        return stage, True, False
    print(f"[lid_mapmix] stage 1 of 2, data map: training into {stage.expdir}")
    goes_on = options.auto_resume and holds_run(stage.expdir)
    if not goes_on and not options.overwrite:
        refuse_held(stage.expdir, resumes=options.auto_resume)
    if goes_on:
        resumed = argparse.Namespace(**{**vars(options), "expdir": str(stage.expdir), "override": None})
        stage = settings_from_checkpoint(resumed, choose_checkpoint(stage.expdir, "train"))
    return stage, False, goes_on


def _read_request(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        files = state["files"]
        return {"request": dict(state["request"]), "files": None if files is None else dict(files)}
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: is damaged. Delete the folder {path.parent}, or start anew by --overwrite.") from None


def map_request(stage: Settings) -> dict[str, Any]:
    """Say what a data map is made from and how, in so far as it decides about the map."""
    task, args = task_config(stage.task), vars(stage.args)
    precision = read_precision(stage.config["runner"])
    directory = Path(task.data.directory or ".")
    return {
        "train.csv": file_digest(find_manifest(directory, "train")),
        "labels.yaml": file_digest(directory / "labels.yaml"),
        "upstream": {name: args[name] for name in sorted(args) if name.startswith("upstream_")}
        | {"-u": args["upstream"]}
        # Only what is asked for, so that maps from before there was such a setting are still taken.
        | {name: value for name, value in asdict(task.upstream).items() if value},
        **({"weights": weights} if (weights := weights_digest(args["upstream_ckpt"])) else {}),
        "seed": args["seed"],
        **{name: stage.config.get(name) for name in ("optimizer", "scheduler", "specaug")},
        **{name: stage.config["runner"].get(name) for name in _RUNNER_KEYS_OF_A_MAP},
        # Maps from before there was such a setting say nothing of it.
        **({} if precision is Precision.FP32 else {"precision": str(precision)}),
        "labels": task.labels,
        "crop or batch": _crop_or_batch(task),
        **({"noise or rooms": sounds} if (sounds := _sounds(task.data.augment)) else {}),
        "model": asdict(task.model),
        "datamap": asdict(task.datamap),
    }


def _crop_or_batch(task: TaskConfig) -> dict[str, Any]:
    data = task.data
    # Maps that were made before there were such settings say nothing of them.
    step = {} if data.crop_step_seconds is None else {"crop_step_seconds": data.crop_step_seconds}
    augment = asdict(data.augment) if data.augment.is_on else {}
    skips = {"on_bad_audio": str(data.on_bad_audio)} if data.skips_bad_audio else {}
    return {"crop_seconds": data.crop_seconds, "batch_size": data.batch_size, **step, **augment, **skips}


def _sounds(augment: AugmentConfig) -> dict[str, str]:
    """Return what names the content of the folders that crops are augmented from; their paths are settings."""
    folders = {"noise": augment.noise, "rir": augment.rir}
    return {name: listing_digest(Path(folder)) for name, folder in folders.items() if folder}


def _file_digests(expdir: Path) -> dict[str, str | None]:
    return {name: file_digest(expdir / name) for name in (DATAMAP_NAME, LIKENESS_NAME)}


def _refuse_changed(expdir: Path, files: dict[str, str | None]) -> None:
    """Refuse a complete map whose files are gone, or were replaced by those of other regions or another run."""
    for name, digest in _file_digests(expdir).items():
        if digest != files.get(name):
            raise UserError(
                f"{expdir / name}: expected the file that this data map was completed with, found "
                f"{'another' if digest else 'none'}. Make it again by 'lid-mapmix datamap {expdir} --overwrite'; to "
                "train on other regions, keep them elsewhere (--into DIR) and name them by -o "
                "config.downstream_expert.mapmix.datamap=DIR/datamap.csv."
            )
