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

from ...config.renamed import original_names
from ...config.schema import AugmentConfig, TaskConfig
from ...config.settings import Settings
from ...data.audio.folders import listing_digest
from ...data.corpus import Corpus
from ...host.precision import Precision, read_precision
from ...utils.digests import file_digest, weights_digest
from ...utils.distributed import broadcast_from_rank_zero, is_rank_zero
from ...utils.errors import UserError
from ...utils.files import write_text
from ...utils.run_folder import RunFolder, choose_checkpoint
from ..settings.from_flags import settings_from_checkpoint
from .run import Run

# Maps that were made before their requests said so are taken to be of what is there now.
_LATER_NAMES = ("weights", "noise or rooms")
_RUNNER_KEYS_OF_A_MAP = ("gradient_accumulate_steps", "gradient_clipping", "fp16")


def make_datamap(main: Run, make_room: Callable[[], None], options: argparse.Namespace) -> Run:
    """Train the data map that a run needs, unless its folder holds the very map that is asked for.

    Parameters
    ----------
    main : the run.
    make_room : called before a new map is trained, to delete what an earlier run has left in the main run's folder.
    options : the flags.

    Returns
    -------
    the run as it trains on the map.

    Raises
    ------
    UserError : the folder holds another map, one that has changed since, or one that nobody asked to go on with.
    """
    stage = main.sibling(main.settings.datamap_stage())
    request = broadcast_from_rank_zero(lambda: map_request(stage.settings, stage.corpus))
    settings, is_complete, resumes = broadcast_from_rank_zero(lambda: _examine(stage.settings, request, options))
    if not is_complete:
        stage = stage.sibling(settings.with_arguments(device=options.device, local_rank=options.local_rank))
        _train(stage, request, make_room, resumes=resumes)
    if is_rank_zero():
        variant = main.settings.args.downstream_variant
        print(f"[lid_mapmix] stage 2 of 2, {variant}: training into {main.folder}")
    return main.sibling(main.settings.with_datamap(stage.folder.datamap))


def _train(stage: Run, request: dict[str, Any], make_room: Callable[[], None], *, resumes: bool) -> None:
    kept = stage.folder.request

    def begin() -> None:
        # Whatever an interrupted run left there is of no use to a new one, nor a run that is to be overwritten.
        if not resumes:
            stage.folder.clear()
            make_room()
        write_text(kept, json.dumps({"request": request, "files": None}, indent=1))

    def complete() -> None:
        stage.write_datamap_figure()
        write_text(kept, json.dumps({"request": request, "files": _file_digests(stage.folder)}, indent=1))

    with ExitStack() as held:
        # Besides the folder of the whole run, which is held already: commands on the map know only this one.
        broadcast_from_rank_zero(lambda: _hold(stage.folder, held))
        stage.train(begin)
        broadcast_from_rank_zero(complete)


def _hold(folder: RunFolder, held: ExitStack) -> None:
    held.enter_context(folder.held())


def _examine(stage: Settings, request: dict[str, Any], options: argparse.Namespace) -> tuple[Settings, bool, bool]:
    """Return the settings of a data map, whether its folder has it complete, and whether a run there is resumed."""
    folder = stage.folder
    state: dict[str, Any] = {"request": request, "files": None}
    if folder.request.is_file() and not options.overwrite:
        state = _read_request(folder.request)
        known = {name: request[name] for name in _LATER_NAMES if name in request} | state["request"]
        differing = [key for key, value in request.items() if known.get(key) != value]
        if differing:
            raise UserError(
                f"{folder}: holds a data map made with another {', '.join(differing)}. "
                "Choose another folder by -n or -p, or start anew by --overwrite."
            )
    if state["files"] is not None:
        _refuse_changed(folder, state["files"])
        print(f"[lid_mapmix] stage 1 of 2, data map: complete in {folder}")
        return stage, True, False
    print(f"[lid_mapmix] stage 1 of 2, data map: training into {folder}")
    resumes = options.auto_resume and folder.holds_run()
    if not resumes and not options.overwrite:
        folder.refuse_run(resumes=options.auto_resume)
    if resumes:
        resumed = argparse.Namespace(**{**vars(options), "expdir": str(folder), "override": None})
        stage = settings_from_checkpoint(resumed, choose_checkpoint(folder.path, "train"))
    return stage, False, resumes


def _read_request(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        files = state["files"]
        return {"request": dict(state["request"]), "files": None if files is None else dict(files)}
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: is damaged. Delete the folder {path.parent}, or start anew by --overwrite.") from None


def map_request(stage: Settings, corpus: Corpus) -> dict[str, Any]:
    """Say what a data map is made from and how, in so far as it decides about the map."""
    task, args = stage.task, vars(stage.args)
    precision = read_precision(stage.runner)
    return {
        "train.csv": corpus.manifest("train").digest,
        "labels.yaml": file_digest(corpus.labels_path),
        "upstream": {name: args[name] for name in sorted(args) if name.startswith("upstream_")}
        | {"-u": args["upstream"]}
        # Only what is asked for, so that maps from before there was such a setting are still taken.
        | {name: value for name, value in asdict(task.upstream).items() if value},
        **({"weights": weights} if (weights := weights_digest(args["upstream_ckpt"])) else {}),
        "seed": args["seed"],
        **{name: stage.sections.get(name) for name in ("optimizer", "scheduler", "specaug")},
        **{name: stage.runner.get(name) for name in _RUNNER_KEYS_OF_A_MAP},
        # Maps from before there was such a setting say nothing of it.
        **({} if precision is Precision.FP32 else {"precision": str(precision)}),
        "labels": task.labels,
        "crop or batch": _crop_or_batch(task),
        **({"noise or rooms": sounds} if (sounds := _sounds(task.data.augment)) else {}),
        "model": asdict(task.model),
        # Under the names of version 0.1.0, so that maps made by it are recognised.
        "datamap": original_names("datamap", asdict(task.datamap)),
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


def _file_digests(folder: RunFolder) -> dict[str, str | None]:
    return {path.name: file_digest(path) for path in (folder.datamap, folder.class_similarity)}


def _refuse_changed(folder: RunFolder, files: dict[str, str | None]) -> None:
    """Refuse a complete map whose files are gone, or were replaced by those of other regions or another run."""
    for name, digest in _file_digests(folder).items():
        if digest != files.get(name):
            raise UserError(
                f"{folder.path / name}: expected the file that this data map was completed with, found "
                f"{'another' if digest else 'none'}. Make it again by 'lid-mapmix datamap {folder} --overwrite'; to "
                "train on other regions, keep them elsewhere (--into DIR) and name them by -o "
                "config.downstream_expert.mapmix.datamap=DIR/datamap.csv."
            )
