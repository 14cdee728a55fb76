"""The runs of S3PRL's runner that one command stands for: data map, training, scores of the test split.

Imported once the flags are known to be right, since it imports torch. Where several processes train together, the
leader decides, prints, refuses and writes, and the others do as it says.
"""

import argparse
import gc
import hashlib
import json
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checks import check_configuration, task_config
from ..data.corpus import Corpus
from ..distributed import from_leader, goes_on_alone, is_leader
from ..errors import UserError
from ..host.runner import make_runner
from ..host.upstreams import check_upstream_arguments
from ..plan import DATAMAP_NAME, PICTURE_NAME
from ..results import BEST_CHECKPOINT
from ..scoring.tables import format_table
from .arguments import complete_defaults
from .datamap import leave_picture
from .run_folder import choose_checkpoint, clear, holds_run, keep_settings, only_one, refuse_held, write_text
from .settings import DATAMAP_STAGE, Settings, datamap_stage, new_settings, settings_from_checkpoint

_REQUEST_NAME = "request.json"
_RUNNER_KEYS_OF_A_MAP = ("gradient_accumulate_steps", "gradient_clipping", "fp16")
# What a run leaves for its user, in the order to show it in.
_MAP_FILES = (DATAMAP_NAME, PICTURE_NAME)
_SHOWN = (
    *("*_scores.csv", "*_metrics.json", BEST_CHECKPOINT),
    *(f"{folder}{name}" for folder in ("", f"{DATAMAP_STAGE}/") for name in _MAP_FILES),
)


def train(options: argparse.Namespace) -> None:
    """Train a variant, its data map first where it needs one, and score the test split with the best checkpoint.

    Raises
    ------
    UserError : whatever is wrong with settings, data or the folder of the run.
    """
    past, settings, scores_test = from_leader(lambda: _prepare(options))
    _place(settings, options)
    goes_on = past is not None and Path(settings.args.init_ckpt).parent.resolve() == settings.expdir.resolve()
    with ExitStack() as held:
        from_leader(lambda: _occupy(settings.expdir, held, may_hold_run=goes_on or options.overwrite))
        if past is None:
            task = task_config(settings.task)
            if task.needs_datamap and task.mapmix.datamap is None:
                stage = _make_datamap(datamap_stage(settings), settings.expdir, options)
                settings.task["mapmix"]["datamap"] = str(stage.expdir / DATAMAP_NAME)
                if is_leader():
                    variant = settings.args.downstream_variant
                    print(f"[lid_mapmix] stage 2 of 2, {variant}: training into {settings.expdir}")
        _run(settings, "train", begin=lambda: None if goes_on else clear(settings.expdir))
        if not goes_on_alone():
            return
        _leave_picture(settings)
        splits = ["dev"]
        if scores_test:
            scored = argparse.Namespace(**{**vars(options), "evaluate_split": "test", "expdir": settings.args.expdir})
            # A run that goes on elsewhere from where another one had ended has nothing to add to it.
            trained = settings.expdir if holds_run(settings.expdir) else Path(settings.args.init_ckpt).parent
            _run(settings_from_checkpoint(scored, choose_checkpoint(trained, "evaluate")), "evaluate")
            splits.append("test")
    _print_scores(settings.expdir, splits)


def use(options: argparse.Namespace) -> None:
    """Evaluate a split, or identify a recording, with a trained run.

    Raises
    ------
    UserError : no such checkpoint, split or recording.
    """
    if options.mode == "inference" and not Path(options.evaluate_split).is_file():
        raise UserError(f"{options.evaluate_split}: no such audio file. Name the file to identify by -t.")
    if options.past_exp is not None:
        settings = settings_from_checkpoint(options, choose_checkpoint(Path(options.past_exp), options.mode))
    else:
        options.expdir = options.expdir or str(Path(options.init_ckpt).parent)
        complete_defaults(options)
        settings = new_settings(options)
    _announce(settings)
    check_upstream_arguments(settings.args)
    _run(settings, options.mode)
    if options.mode == "evaluate":
        _print_scores(settings.expdir, [options.evaluate_split])


def _prepare(options: argparse.Namespace) -> tuple[str | None, Settings, bool]:
    """Return what the run goes on from, its settings, and whether there is a test split, the data's faults found."""
    past = options.past_exp
    if past is None:
        complete_defaults(options)
        if options.auto_resume and holds_run(Path(options.expdir)):
            past = options.expdir
    settings = (
        new_settings(options)
        if past is None
        else settings_from_checkpoint(options, choose_checkpoint(Path(past), "train"))
    )
    _announce(settings)
    return past, settings, _checked_corpus(settings).has("test")


def _place(settings: Settings, options: argparse.Namespace) -> None:
    """Let settings that the leader has made hold for this process, which has a device of its own."""
    settings.args.device, settings.args.local_rank = options.device, options.local_rank


def _occupy(expdir: Path, held: ExitStack, *, may_hold_run: bool) -> None:
    """Keep others out of the folder until `held` is closed."""
    held.enter_context(only_one(expdir))
    if not may_hold_run:
        refuse_held(expdir)


def _make_datamap(stage: Settings, main_expdir: Path, options: argparse.Namespace) -> Settings:
    """Train the data map of the run in `main_expdir`, unless the folder holds the very map that is asked for."""
    kept, request = stage.expdir / _REQUEST_NAME, _request(stage)
    stage, is_complete, goes_on = from_leader(lambda: _examine_datamap(stage, request, options))
    _place(stage, options)
    if is_complete:
        return stage

    def begin() -> None:
        # Whatever an interrupted run left there is of no use to a new one, nor a run that is to be overwritten.
        if not goes_on:
            clear(stage.expdir)
            clear(main_expdir)
        write_text(kept, json.dumps({"request": request, "complete": False}, indent=1))

    def complete() -> None:
        _leave_picture(stage)
        write_text(kept, json.dumps({"request": request, "complete": True}, indent=1))

    _run(stage, "train", begin=begin)
    from_leader(complete)
    return stage


def _examine_datamap(
    stage: Settings, request: dict[str, Any], options: argparse.Namespace
) -> tuple[Settings, bool, bool]:
    """Return the settings of a data map, whether its folder has it complete, and whether a run there is to go on.

    Raises
    ------
    UserError : the folder holds another map, or one that nobody asked to go on with.
    """
    kept = stage.expdir / _REQUEST_NAME
    state: dict[str, Any] = {"request": request, "complete": False}
    if kept.is_file() and not options.overwrite:
        state = _read_request(kept)
        differing = [key for key, value in request.items() if state["request"].get(key) != value]
        if differing:
            raise UserError(
                f"{stage.expdir}: holds a data map made with another {', '.join(differing)}. "
                "Choose another folder by -n or -p, or start anew by --overwrite."
            )
    if state["complete"] and (stage.expdir / DATAMAP_NAME).is_file():
        print(f"[lid_mapmix] stage 1 of 2, data map: complete in {stage.expdir}")
        return stage, True, False
    print(f"[lid_mapmix] stage 1 of 2, data map: training into {stage.expdir}")
    goes_on = options.auto_resume and holds_run(stage.expdir)
    if not goes_on and not options.overwrite:
        refuse_held(stage.expdir)
    if goes_on:
        resumed = argparse.Namespace(**{**vars(options), "expdir": str(stage.expdir), "override": None})
        stage = settings_from_checkpoint(resumed, choose_checkpoint(stage.expdir, "train"))
    return stage, False, goes_on


def _run(settings: Settings, mode: str, begin: Callable[[], None] = lambda: None) -> None:
    """Run S3PRL's runner once, in a mode of its own; `begin` is called just before it starts to train."""
    settings.args.mode = mode
    check_configuration(settings.config)
    _seed_global_generators(settings.args.seed)
    runner = make_runner(settings.args, settings.config)
    config = runner.config

    def prepare_folder() -> None:
        settings.expdir.mkdir(parents=True, exist_ok=True)
        if mode == "train":
            # Only now, when nothing was found wrong with settings and data, and the expert has filled in the steps.
            begin()
            keep_settings(settings.expdir, settings.args, config)

    from_leader(prepare_folder)
    getattr(runner, mode)()
    # The next run of this process needs the memory.
    del runner
    gc.collect()


def _leave_picture(settings: Settings) -> None:
    datamap = task_config(settings.task).datamap
    if datamap.record:
        leave_picture(settings.expdir, datamap)


def _checked_corpus(settings: Settings) -> Corpus:
    """Return the data of a run; what is wrong is found before an upstream is downloaded and loaded for it."""
    check_configuration(settings.config)
    check_upstream_arguments(settings.args)
    task = task_config(settings.task)
    corpus = Corpus(task.data.directory, task.labels)
    splits = ["train", *(settings.config["runner"].get("eval_dataloaders") or [])]
    corpus.check_manifests([*splits, *(["test"] if corpus.has("test") else [])])
    return corpus


def _announce(settings: Settings) -> None:
    print(f"[lid_mapmix] run in {settings.expdir}; settings, lowest precedence first: {' < '.join(settings.sources)}")


def _print_scores(expdir: Path, splits: Sequence[str]) -> None:
    metrics = {split: expdir / f"{split}_metrics.json" for split in splits}
    rows = {
        split: json.loads(path.read_text(encoding="utf-8"))["overall"]
        for split, path in metrics.items()
        if path.is_file()
    }
    print(f"\n{format_table(rows)}\n\nin {expdir}:")
    for pattern in _SHOWN:
        for path in sorted(expdir.glob(pattern)):
            print(f"  {path.relative_to(expdir)}")


def _read_request(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return {"request": dict(state["request"]), "complete": bool(state["complete"])}
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: is damaged. Delete the folder {path.parent}, or start anew by --overwrite.") from None


def _request(stage: Settings) -> dict[str, Any]:
    """Say what a data map is made from and how, in so far as it decides about the map."""
    task, args = task_config(stage.task), vars(stage.args)
    directory = Path(task.data.directory or ".")
    return {
        **{name: _digest(directory / name) for name in ("train.csv", "labels.yaml")},
        "upstream": {name: args[name] for name in sorted(args) if name.startswith("upstream_")}
        | {"-u": args["upstream"]},
        "seed": args["seed"],
        **{name: stage.config.get(name) for name in ("optimizer", "scheduler", "specaug")},
        **{name: stage.config["runner"].get(name) for name in _RUNNER_KEYS_OF_A_MAP},
        "labels": task.labels,
        "crop or batch": {"crop_seconds": task.data.crop_seconds, "batch_size": task.data.batch_size},
        "model": asdict(task.model),
        "datamap": asdict(task.datamap),
    }


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _seed_global_generators(seed: int) -> None:
    """Seed what the models' first weights are drawn from; nothing of ours draws from it afterwards."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - some upstreams draw from it
    torch.manual_seed(seed)
