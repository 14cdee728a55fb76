"""The first of two stages: train the data map that a run needs, in a subfolder of the run.

request.json holds all that determines the data map and, once it is complete, the digests of its files. A later command
reuses the data map if the request is the same, and refuses any other.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...config.renamed import original_names
from ...config.schema import DataConfig
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

# Requests of older versions lack these; they are assumed to match.
_LATER_NAMES = ("weights", "noise or rooms")
_RUNNER_KEYS_OF_A_MAP = ("gradient_accumulate_steps", "gradient_clipping", "fp16")


def make_datamap(main: Run, clear_main: Callable[[], None], options: argparse.Namespace) -> Run:
    """Train the data map that a run needs, unless its folder holds it; return the run, whose settings then name it.

    Raises UserError: the folder holds another data map, a changed one, or an incomplete one without -a or --overwrite.

    `clear_main`: called before a new data map is trained; deletes files of an earlier run in the folder of `main`.
    """
    stage = main.sibling(main.settings.datamap_stage())
    request = broadcast_from_rank_zero(lambda: map_request(stage.settings, stage.corpus))
    settings, is_complete, resumes = broadcast_from_rank_zero(lambda: _examine(stage.settings, request, options))
    if not is_complete:
        stage = stage.sibling(settings.with_arguments(device=options.device, local_rank=options.local_rank))
        _train(stage, request, clear_main, resumes=resumes)
    if is_rank_zero():
        variant = main.settings.args.downstream_variant
        print(f"[lid_mapmix] stage 2 of 2, {variant}: training into {main.folder}")
    return main.sibling(main.settings.with_datamap(stage.folder.datamap))


def _train(stage: Run, request: dict[str, Any], clear_main: Callable[[], None], *, resumes: bool) -> None:
    path = stage.folder.request

    def begin() -> None:
        # A new run deletes the files of an interrupted or overwritten one.
        if not resumes:
            stage.folder.clear()
            clear_main()
        write_text(path, json.dumps({"request": request, "files": None}, indent=1))

    def complete() -> None:
        stage.write_datamap_figure()
        write_text(path, json.dumps({"request": request, "files": _file_digests(stage.folder)}, indent=1))

    with ExitStack() as held:
        # The folder of the run is held already; commands on the data map lock this folder only.
        broadcast_from_rank_zero(lambda: held.enter_context(stage.folder.held()))
        stage.train(begin)
        broadcast_from_rank_zero(complete)


def _examine(stage: Settings, request: dict[str, Any], options: argparse.Namespace) -> tuple[Settings, bool, bool]:
    """Return the settings of the data map, whether it is complete, and whether a run in its folder is resumed."""
    folder = stage.folder
    state: dict[str, Any] = {"request": request, "files": None}
    if folder.request.is_file() and not options.overwrite:
        state = _read_request(folder.request)
        known = {name: request[name] for name in _LATER_NAMES if name in request} | state["request"]
        differing = [key for key in known | request if known.get(key) != request.get(key)]
        if differing:
            raise UserError(
                f"{folder}: expected a data map with the same {', '.join(differing)}, found another. "
                "Choose another folder by -n or -p, or replace it by --overwrite."
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
        paths = {"data": stage.task.data.directory, "cache_features": stage.task.cache.directory}
        resumed = argparse.Namespace(**{**vars(options), **paths, "expdir": str(folder), "override": None})
        stage = settings_from_checkpoint(resumed, choose_checkpoint(folder.path, "train"))
    return stage, False, resumes


def _read_request(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        files = state["files"]
        return {"request": dict(state["request"]), "files": None if files is None else dict(files)}
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: is damaged. Delete the folder {path.parent}, or replace it by --overwrite.") from None


def map_request(stage: Settings, corpus: Corpus) -> dict[str, Any]:
    """Return all that determines a data map."""
    task, args = stage.task, vars(stage.args)
    precision, augment = read_precision(stage.runner), task.data.augment
    folders = {"noise": augment.noise, "rir": augment.rir}
    sounds = {name: listing_digest(Path(folder)) for name, folder in folders.items() if folder}
    return {
        "train.csv": corpus.manifest("train").digest,
        "labels.yaml": file_digest(corpus.labels_path),
        "upstream": {name: args[name] for name in sorted(args) if name.startswith("upstream_")}
        | {"-u": args["upstream"]}
        # Only what differs from the defaults, so that data maps of older versions match.
        | {name: value for name, value in asdict(task.upstream).items() if value},
        **({"weights of -i": file_digest(stage.start)} if stage.start else {}),
        **({"weights": weights} if (weights := weights_digest(args["upstream_ckpt"])) else {}),
        "seed": args["seed"],
        **{name: stage.sections.get(name) for name in ("optimizer", "scheduler", "specaug")},
        **{name: stage.runner.get(name) for name in _RUNNER_KEYS_OF_A_MAP},
        # Data maps of older versions lack this setting.
        **({} if precision is Precision.FP32 else {"precision": str(precision)}),
        "labels": task.labels,
        "crop or batch": _crop_or_batch(task.data),
        # Digests of their folders; the paths are settings.
        **({"noise or rooms": sounds} if sounds else {}),
        "model": asdict(task.model),
        # Under the names of version 0.1.0, so that maps made by it are recognised.
        "datamap": original_names(
            "datamap", {k: v for k, v in asdict(task.datamap).items() if k != "label_noise" or v}
        ),
    }


def _crop_or_batch(data: DataConfig) -> dict[str, Any]:
    # Data maps of older versions lack these settings.
    step = {} if data.crop_step_seconds is None else {"crop_step_seconds": data.crop_step_seconds}
    augment = asdict(data.augment) if data.augment.is_on else {}
    skips = {"on_bad_audio": str(data.on_bad_audio)} if data.skips_bad_audio else {}
    return {"crop_seconds": data.crop_seconds, "batch_size": data.batch_size, **step, **augment, **skips}


def _file_digests(folder: RunFolder) -> dict[str, str | None]:
    return {path.name: file_digest(path) for path in (folder.datamap, folder.class_similarity)}


def _refuse_changed(folder: RunFolder, files: dict[str, str | None]) -> None:
    """Refuse a complete data map whose files are missing or were replaced."""
    for name, digest in _file_digests(folder).items():
        if digest != files.get(name):
            raise UserError(
                f"{folder.path / name}: expected the file written with this data map, found "
                f"{'another' if digest else 'none'}. Restore it by 'lid-mapmix datamap {folder} --overwrite'; to train "
                "on other regions, write them to another folder (--out DIR) and pass them by -o "
                "config.downstream_expert.mapmix.datamap=DIR/datamap.csv."
            )
