"""The work of run_downstream.py: `train` follows the procedure of the paper, `use` evaluates or infers.

Imported after the flags were parsed, since it imports torch. With several processes, rank zero decides, prints, checks
and writes, and broadcasts its decisions.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ...config.settings import Settings
from ...scoring.metrics import SUMMARY
from ...training.checkpoints import Past, read_checkpoint
from ...utils.distributed import broadcast_from_rank_zero, continues_as_rank_zero
from ...utils.errors import UserError
from ...utils.run_folder import RunFolder, choose_checkpoint
from ..report.tables import format_table
from ..settings.arguments import complete_defaults
from ..settings.from_flags import new_settings, settings_from_checkpoint
from .datamap_stage import make_datamap
from .run import Run


def train(options: argparse.Namespace) -> None:
    """Train a variant: data map → regions and similarities → Map-Mix → dev calibration → test scores → report.

    Raises UserError: the settings, the data or the folder of the run are invalid.
    """
    run, past = _prepare(options)
    resumes = past is not None and past.parent.resolve() == run.folder.path.resolve()
    with _occupied(run, options, resumes=resumes):
        # Stage 1: plain training that records the dynamics of each utterance. A resumed run has its data map already.
        mapmix = run.settings.task.mapmix
        if past is None and run.settings.task.needs_datamap and mapmix.datamap is None:
            run = make_datamap(run, lambda: _clear(run), options)
        # Stage 2, from the pretrained upstream again: training/run.py reads regions and class similarities from the
        # data map, mixes ambiguous with easy utterances, trains on soft targets, and keeps the checkpoint with the best
        # dev accuracy.
        run.train(begin=lambda: None if resumes else _begin(run, past))
        if not continues_as_rank_zero():
            return
        run.write_datamap_figure()
        # A finished run that is resumed in another folder writes no checkpoint there.
        trained = run.folder.path if run.folder.holds_run() else Path(run.settings.args.init_ckpt).parent
        best = choose_checkpoint(trained, "evaluate")
        # Dev again, in the windows of test, for the calibration.
        splits = [split for split in ("dev", "test") if run.corpus.has(split)]
        for split in splits:
            _score(run, options, best, split)
        run.write_model_card()
    print_scores(run, splits)
    run.write_report(splits[-1] if splits else "dev")


def use(options: argparse.Namespace) -> None:
    """Evaluate a split with a trained run and update its card and report, or identify a recording.

    Raises UserError: the checkpoint, the split or the recording does not exist.
    """
    if options.mode == "inference":
        if not Path(options.evaluate_split).is_file():
            raise UserError(f"{options.evaluate_split}: no such audio file. Name an audio file by -t.")
        run_of_use(options).identify()
        return
    run, split = run_of_use(options), options.evaluate_split
    if options.known_only:
        run.corpus.unknown = {}
    if split != "dev" and run.lacks_calibration():
        run.sibling(run.settings.with_arguments(evaluate_split="dev")).evaluate()
    run.evaluate()
    run.write_model_card()
    print_scores(run, [split])
    if run.folder.holds_run() and split != "dev":  # dev has no report, unless by --split
        run.write_report(split)


def run_of_use(options: argparse.Namespace) -> Run:
    """Return the trained run of -e or -i, and print its sources. Raises UserError: it does not match the flags."""
    if options.past_exp is not None:
        settings = settings_from_checkpoint(options, choose_checkpoint(Path(options.past_exp), options.mode))
    else:
        options.expdir = options.expdir or str(Path(options.init_ckpt).parent)
        complete_defaults(options)
        settings = _new_settings(options)
    _announce(settings)
    settings.check_host(trains=False)
    return Run(settings, trains=False)


def _new_settings(options: argparse.Namespace) -> Settings:
    if options.init_ckpt is not None and not options.new_classes:
        read_checkpoint(Path(options.init_ckpt))  # S3PRL's error for a pickle advises to read it unsafely
    return new_settings(options)


def _prepare(options: argparse.Namespace) -> tuple[Run, Path | None]:
    """Return the run, with checked settings and data, and the checkpoint to resume from, if any."""
    runs: list[Run] = []

    def decide() -> tuple[Settings, Path | None]:
        past = options.past_exp
        if past is None:
            complete_defaults(options)
            if options.new_classes and Path(options.init_ckpt).resolve().is_relative_to(Path(options.expdir).resolve()):
                raise UserError(f"{options.expdir}: holds the trained run of -i. Choose another folder by -n or -p.")
            if options.auto_resume and RunFolder(Path(options.expdir)).holds_run():
                past = options.expdir
        checkpoint = None if past is None else choose_checkpoint(Path(past), "train")
        settings = _new_settings(options) if checkpoint is None else settings_from_checkpoint(options, checkpoint)
        _announce(settings)
        runs.append(Run(settings))
        runs[0].check_data()
        return settings, checkpoint

    settings, past = broadcast_from_rank_zero(decide)
    # Rank zero has opened the data; the other processes have their own devices.
    own = settings.with_arguments(device=options.device, local_rank=options.local_rank)
    return (runs[0].sibling(own) if runs else Run(own)), past


@contextmanager
def _occupied(run: Run, options: argparse.Namespace, *, resumes: bool) -> Iterator[None]:
    """Hold the lock of the folder, and refuse another run in it unless it may be overwritten."""

    def occupy() -> None:
        held.enter_context(run.folder.held())
        if not resumes and not options.overwrite:
            run.folder.refuse_run(resumes=options.auto_resume)

    with ExitStack() as held:
        broadcast_from_rank_zero(occupy)
        yield


def _begin(run: Run, past: Path | None) -> None:
    """Clear the folder for a new run, or for a run that is resumed from a checkpoint in another folder."""
    resumed = None if past is None else Past.of(past)
    _clear(run)
    if resumed is not None:
        resumed.copy_to(run.folder, records=run.settings.task.datamap.record)


def _clear(run: Run) -> None:
    """Delete the files of an earlier run in the folder, except the data map that this run trains on."""
    run.folder.clear(spare_recording=run.folder.path.resolve() in run.settings.datamap_folders)


def _score(run: Run, options: argparse.Namespace, checkpoint: Path, split: str) -> None:
    """Score a split with the best checkpoint of a finished run."""
    settings = run.settings
    # The paths are those of this command, whatever has happened to them since.
    paths = {"data": settings.task.data.directory, "cache_features": settings.task.cache.directory}
    use = {"mode": "evaluate", "evaluate_split": split, "expdir": settings.args.expdir}
    scored = argparse.Namespace(**{**vars(options), **paths, **use})
    run.sibling(settings_from_checkpoint(scored, checkpoint)).evaluate()


def _announce(settings: Settings) -> None:
    print(f"[lid_mapmix] run in {settings.folder}; settings, lowest precedence first: {' < '.join(settings.sources)}")


def print_scores(run: Run, splits: Sequence[str]) -> None:
    """Print the scores of some splits, and the files of the run."""
    folder = run.folder
    metrics = {split: folder.metrics(split) for split in splits}
    found = {split: json.loads(path.read_text(encoding="utf-8")) for split, path in metrics.items() if path.is_file()}
    print(f"\n{format_table(_rows(found))}\n\nin {folder}:")
    shown = folder.shown()
    # Only data maps of this run, not of an earlier run in the folder.
    maps = [folder] if run.settings.task.datamap.record else []
    maps += [each for each in (folder, folder.datamap_stage) if each.path.resolve() in run.settings.datamap_folders]
    for each in maps:
        shown += [path for path in (each.datamap, each.datamap_figure) if path.is_file()]
    for path in dict.fromkeys(shown):
        print(f"  {path.relative_to(folder.path)}")


def _rows(metrics: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the scores to print per split; dev has none after calibration, which is fitted on it."""
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
