"""The runs of S3PRL's runner that one command stands for: data map, training, scores of the test split.

Imported once the flags are known to be right, since it imports torch. Where several processes train together, the
leader decides, prints, refuses and writes, and the others do as it says.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...config.checks import check_configuration, task_config
from ...data.augment.augmenter import Augmenter
from ...data.corpus import Corpus
from ...evaluation.dev_calibration import CALIBRATION_NAME, leave_calibration
from ...evaluation.results import BEST_CHECKPOINT
from ...host.optimization import check_optimization
from ...host.upstreams import check_upstream_arguments
from ...scoring.metrics import SUMMARY
from ...training.checkpoints import choose_checkpoint, holds_run
from ...training.continuing import Past, kept_state
from ...training.plan import DATAMAP_NAME, PICTURE_NAME, check_likeness
from ...training.run_folder import clear, only_one, refuse_held
from ...utils.distributed import from_leader, goes_on_alone, is_leader
from ...utils.errors import UserError
from ..report.command import leave_report
from ..report.model_card import CARD_NAME, leave_card
from ..report.text_table import format_table
from ..settings.arguments import complete_defaults
from ..settings.settings import DATAMAP_STAGE, Settings, datamap_stage, new_settings, settings_from_checkpoint
from .datamap_stage import make_datamap
from .feature_cache import check_cache
from .one_run import leave_picture_of, place, run

# What a run leaves for its user, in the order to show it in; its data map follows.
_SHOWN = ("*_scores.csv", "*_metrics.json", CALIBRATION_NAME, BEST_CHECKPOINT, CARD_NAME)


def train(options: argparse.Namespace) -> None:
    """Train a variant, its data map first where it needs one, and score the test split with the best checkpoint.

    Raises
    ------
    UserError : whatever is wrong with settings, data or the folder of the run.
    """
    past, settings, scores_test = from_leader(lambda: _prepare(options))
    place(settings, options)
    goes_on = past is not None and Path(settings.args.init_ckpt).parent.resolve() == settings.expdir.resolve()
    with ExitStack() as held:
        from_leader(lambda: _occupy(settings.expdir, held, options, goes_on=goes_on))
        if past is None:
            task = task_config(settings.task)
            if task.needs_datamap and task.mapmix.datamap is None:
                stage = make_datamap(datamap_stage(settings), lambda: _clear(settings), options)
                settings.task["mapmix"]["datamap"] = str(stage.expdir / DATAMAP_NAME)
                if is_leader():
                    variant = settings.args.downstream_variant
                    print(f"[lid_mapmix] stage 2 of 2, {variant}: training into {settings.expdir}")
        run(settings, "train", begin=lambda: None if goes_on else _begin(settings, past))
        if not goes_on_alone():
            return
        leave_picture_of(settings)
        splits = ["dev"]
        # A run that goes on elsewhere from where another one had ended has nothing to add to it.
        trained = settings.expdir if holds_run(settings.expdir) else Path(settings.args.init_ckpt).parent
        if scores_test:
            scored = argparse.Namespace(**{**vars(options), "evaluate_split": "test", "expdir": settings.args.expdir})
            run(settings_from_checkpoint(scored, choose_checkpoint(trained, "evaluate")), "evaluate")
            splits.append("test")
        else:
            _calibrate(settings, choose_checkpoint(trained, "evaluate"))
        if holds_run(settings.expdir):
            leave_card(settings.expdir)
    _print_scores(settings, splits)
    _leave_report(settings, splits[-1])


def use(options: argparse.Namespace) -> None:
    """Evaluate a split, or identify a recording, with a trained run, whose card and report then have the new scores.

    Raises
    ------
    UserError : no such checkpoint, split or recording.
    """
    if options.mode == "inference" and not Path(options.evaluate_split).is_file():
        raise UserError(f"{options.evaluate_split}: no such audio file. Name the file to identify by -t.")
    settings = settings_of_use(options)
    run(settings, options.mode)
    if options.mode == "evaluate":
        split, is_run = options.evaluate_split, holds_run(settings.expdir)
        if is_run:
            leave_card(settings.expdir, _data_directory(settings))
        _print_scores(settings, [split])
        if is_run and split != "dev":  # which chose the checkpoint, and has no page beside that of another split
            _leave_report(settings, split)


def settings_of_use(options: argparse.Namespace) -> Settings:
    """Return, checked, the settings by which a trained run is used, and say where they come from.

    Parameters
    ----------
    options : the flags, of which -e or -i names the trained run.

    Raises
    ------
    UserError : no such checkpoint, or one that cannot be used so.
    """
    if options.past_exp is not None:
        settings = settings_from_checkpoint(options, choose_checkpoint(Path(options.past_exp), options.mode))
    else:
        options.expdir = options.expdir or str(Path(options.init_ckpt).parent)
        complete_defaults(options)
        settings = new_settings(options)
    _announce(settings)
    check_upstream_arguments(settings.args, task_config(settings.task).upstream_settings)
    check_cache(settings.args, settings.config)
    return settings


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


def _calibrate(settings: Settings, checkpoint: Path) -> None:
    """Leave a calibration where there is no other split to score, for which it would be fitted."""
    kind = task_config(settings.task).evaluation.calibration.kind
    if kind is None:
        return
    state = kept_state(checkpoint)
    try:
        leave_calibration(settings.expdir, checkpoint, state["best_accuracy"], state["classes"], kind)
    except UserError as error:  # the run is complete all the same
        print(f"[lid_mapmix] warning: no calibration: {error}")


def _begin(settings: Settings, past: str | None) -> None:
    """Make room for a new run, or for one that goes on from a checkpoint in another folder."""
    taken = None if past is None else Past.of(Path(settings.args.init_ckpt))
    _clear(settings)
    if taken is not None:
        taken.take_over(settings.expdir, records=task_config(settings.task).datamap.record)


def _occupy(expdir: Path, held: ExitStack, options: argparse.Namespace, *, goes_on: bool) -> None:
    """Keep others out of the folder until `held` is closed."""
    held.enter_context(only_one(expdir))
    if not goes_on and not options.overwrite:
        refuse_held(expdir, resumes=options.auto_resume)


def _clear(settings: Settings) -> None:
    """Delete what an earlier run has left in the folder, but for a data map on which this one is to train."""
    clear(settings.expdir, spare_recording=settings.expdir.resolve() in _map_folders(settings))


def _map_folders(settings: Settings) -> list[Path]:
    """Return the folders of the data map that a run trains on, and of the likeness that it is given, resolved."""
    mapmix = task_config(settings.task).mapmix
    return [Path(name).resolve().parent for name in (mapmix.datamap, mapmix.likeness_file) if name is not None]


def _checked_corpus(settings: Settings) -> Corpus:
    """Return the data of a run; what is wrong is found before an upstream is downloaded and loaded for it."""
    check_settings(settings)
    task = task_config(settings.task)
    corpus = Corpus(task.data.directory, task.labels)
    check_likeness(task.mapmix, corpus.labels)
    Augmenter.open(settings.args.seed, **vars(task.data.augment))
    splits = ["train", *(settings.config["runner"].get("eval_dataloaders") or [])]
    corpus.check_manifests([*splits, *(["test"] if corpus.has("test") else [])])
    return corpus


def check_settings(settings: Settings) -> None:
    """Check of the settings of a run what does not depend on its data.

    Raises
    ------
    UserError : an unknown key or upstream, a value out of its limits, weights that are not there.
    """
    check_configuration(settings.config)
    check_optimization(settings.config["optimizer"], settings.config.get("scheduler"))
    check_cache(settings.args, settings.config)
    check_upstream_arguments(settings.args, task_config(settings.task).upstream_settings)


def _announce(settings: Settings) -> None:
    print(f"[lid_mapmix] run in {settings.expdir}; settings, lowest precedence first: {' < '.join(settings.sources)}")


def _print_scores(settings: Settings, splits: Sequence[str]) -> None:
    expdir = settings.expdir
    metrics = {split: expdir / f"{split}_metrics.json" for split in splits}
    found = {split: json.loads(path.read_text(encoding="utf-8")) for split, path in metrics.items() if path.is_file()}
    print(f"\n{format_table(_rows(found))}\n\nin {expdir}:")
    shown = [path for pattern in _SHOWN for path in sorted(expdir.glob(pattern))]
    # A map that an earlier run has left there is not this one's.
    if task_config(settings.task).datamap.record:
        shown += _map_files(expdir)
    for folder in (expdir, expdir / DATAMAP_STAGE):
        if folder.resolve() in _map_folders(settings):
            shown += _map_files(folder)
    for path in dict.fromkeys(shown):
        print(f"  {path.relative_to(expdir)}")


def _leave_report(settings: Settings, split: str) -> None:
    if (report := leave_report(settings.expdir, split, _data_directory(settings))) is not None:
        print(f"  {report.name}")


def _data_directory(settings: Settings) -> Path | None:
    directory = task_config(settings.task).data.directory
    return None if directory is None else Path(directory)


def _rows(metrics: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the scores to show of each split; dev, on which calibrations are fitted, has none after it."""
    calibrated = {
        split: content["calibrated"]["overall"] for split, content in metrics.items() if "calibrated" in content
    }
    rows = {}
    for split, content in metrics.items():
        rows[split] = {name: content["overall"][name] for name in SUMMARY}
        if calibrated:
            rows[split]["ece_calibrated"] = calibrated[split]["ece"] if split in calibrated else None
        rows[split]["count"] = content["overall"]["count"]
    return rows


def _map_files(folder: Path) -> list[Path]:
    return [path for path in (folder / DATAMAP_NAME, folder / PICTURE_NAME) if path.is_file()]
