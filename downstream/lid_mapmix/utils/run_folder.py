"""The folder of a run: the name of every file in it, who may write there, what is complete, what may be deleted.

No other module knows such a name. Nothing is removed but what a run leaves under its own names, and nothing is written
over unless asked. docs/training.md has the files in a table.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import UserError

# S3PRL's name for the best run by dev accuracy.
BEST_CHECKPOINT = "dev-best.ckpt"
DATAMAP_STAGE = "datamap"
_DYNAMICS = "dynamics"
_EPOCH = re.compile(r"epoch-(\d+)\.npz")
_STATES = re.compile(r"states-(\d+)\.ckpt")
_SCORED_SPLITS = ("dev", "test")
_SCORE_FILES = (
    *("scores.csv", "metrics.json", "predict.txt", "truth.txt"),
    *("latents.npz", "truncation.json", "truncation.png"),
)
# What the recorded epochs are turned into: by the run itself the first three, by `lid-mapmix datamap` the others.
_MADE_OF_EPOCHS = (
    *("datamap.csv", "likeness.csv", "datamap.png"),
    *("td_metrics.jsonl", "suspects.csv", "datamap-by-class.png"),
)


def _file(name: str, meaning: str) -> property:
    """Return a property that is the path of a file in the folder."""
    return property(lambda folder: folder.path / name, doc=meaning)


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds a run, or will.

    Parameters
    ----------
    path : of the folder, which need not exist.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    # Files of the whole run ----------------------------------------------------------------------------------------

    best = _file(BEST_CHECKPOINT, "The checkpoint with the best dev accuracy, under S3PRL's name.")
    log = _file("log.log", "What a run says, line by line, under S3PRL's name.")
    lock = _file(".lock", "Held by the process that trains or writes here.")
    parameters = _file("parameters.json", "How many parameters each part of the model has, JSON.")
    steps = _file("steps.json", "How far training is, and how long its steps take, JSON (training/progress.py).")
    calibration = _file("calibration.json", "The calibration that was fitted on dev, JSON (scoring/calibration.py).")
    card = _file("README.md", "The model card.")
    report = _file("report.html", "The report, one HTML page.")
    bad_audio = _file("bad_audio.csv", "The training utterances that were skipped, CSV (training/bad_audio.py).")

    # Files of a split ----------------------------------------------------------------------------------------------

    def scores(self, split: str) -> Path:
        """Return the log-probabilities of a split, CSV (scoring/files/own.py)."""
        return self.path / f"{split}_scores.csv"

    def metrics(self, split: str) -> Path:
        """Return the scores of a split, JSON."""
        return self.path / f"{split}_metrics.json"

    def latents(self, split: str) -> Path:
        """Return the latents of some utterances of a split (evaluation/latents.py)."""
        return self.path / f"{split}_latents.npz"

    def truncation(self, split: str) -> Path:
        """Return the scores of a split cut to several durations, JSON."""
        return self.path / f"{split}_truncation.json"

    def truncation_figure(self, split: str) -> Path:
        """Return the figure of these."""
        return self.path / f"{split}_truncation.png"

    def score_files(self, split: str) -> list[Path]:
        """List the files of a split that are there."""
        return [path for path in (self.path / f"{split}_{name}" for name in _SCORE_FILES) if path.is_file()]

    # The data map --------------------------------------------------------------------------------------------------

    @property
    def datamap_stage(self) -> "RunFolder":
        """The folder of the run that makes the data map for this one."""
        return RunFolder(self.path / DATAMAP_STAGE)

    request = _file("request.json", "What a data map was made from, JSON (apps/runs/datamap_stage.py).")
    dynamics = _file(_DYNAMICS, "The folder of the recorded epochs (mapmix/dynamics_files.py).")
    datamap = _file("datamap.csv", "The data map, CSV (mapmix/datamap_files.py).")
    likeness = _file("likeness.csv", "How alike the classes are, CSV (mapmix/datamap_files.py).")
    datamap_figure = _file("datamap.png", "The figure of the data map.")
    datamap_by_class = _file("datamap-by-class.png", "The figure with a panel per class.")
    td_metrics = _file("td_metrics.jsonl", "The data map in the form of Dataset Cartography (mapmix/datamap_files.py).")
    suspects = _file("suspects.csv", "The utterances whose label is suspicious, CSV (mapmix/suspects.py).")

    def holds_recording(self) -> bool:
        """Say whether a run in this folder has recorded an epoch."""
        return bool(epoch_paths(self.dynamics))

    def delete_recording(self) -> None:
        """Delete what a run in this folder has recorded, and what was made of it."""
        made = (self.path / name for name in _MADE_OF_EPOCHS)
        for path in (*epoch_paths(self.dynamics).values(), *made):
            path.unlink(missing_ok=True)
        if self.dynamics.is_dir() and not any(self.dynamics.iterdir()):
            self.dynamics.rmdir()

    # Checkpoints ---------------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Path]:
        """List the states-STEP.ckpt, the latest last."""
        found = {path: _STATES.fullmatch(path.name) for path in self.path.glob("states-*.ckpt")}
        return [path for _, path in sorted((int(name[1]), path) for path, name in found.items() if name)]

    def last_step(self) -> int:
        """Return the step of the latest checkpoint, 0 where there is none."""
        kept = self.checkpoints()
        return int(kept[-1].stem.removeprefix("states-")) if kept else 0

    def holds_run(self) -> bool:
        """Say whether there is a checkpoint to resume from."""
        return bool(self.checkpoints()) or self.best.is_file()

    # The settings --------------------------------------------------------------------------------------------------

    def new_settings_files(self) -> tuple[Path, Path]:
        """Return where to save S3PRL's arguments and the configuration, of one start, by S3PRL's names."""
        tag = datetime.now().strftime("%Y-%m-%d-%H-%M-%S")
        return self.path / f"args_{tag}.yaml", self.path / f"config_{tag}.yaml"

    def settings_file(self, name: str = "config") -> Path:
        """Return the file of the configuration (or of S3PRL's ``args``) that a run was last started with.

        Raises
        ------
        UserError : there is none.
        """
        found = sorted(self.path.glob(f"{name}_*.yaml"))
        if not found:
            raise UserError(
                f"{self}: expected {name}_*.yaml, the settings a run keeps, found none. Name the folder the run was "
                "trained in."
            )
        return found[-1]

    # Who may write here, and what may go ---------------------------------------------------------------------------

    @contextmanager
    def held(self, otherwise: str = "choose another folder by -n or -p") -> Iterator[None]:
        """Keep a second process out while one is at work here; the folder is made where absent.

        Parameters
        ----------
        otherwise : what its user can do in place of waiting.

        Raises
        ------
        UserError : another process is at work here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.lock, timeout=0):
                try:
                    yield
                finally:
                    # A run that was refused leaves no trace.
                    if list(self.path.iterdir()) == [self.lock]:
                        self.lock.unlink()
                        self.path.rmdir()
        except Timeout:
            raise UserError(
                f"{self}: another process is training or writing there. Wait for it, or {otherwise}."
            ) from None

    def refuse_run(self, *, resumes: bool = False) -> None:
        """Refuse to train anew in a folder that holds a run.

        Parameters
        ----------
        resumes : a run that was stopped before its first checkpoint is no obstacle: its epochs and their scores come
            again.

        Raises
        ------
        UserError : it does.
        """
        held = [path.name for path in self._run_files()]
        scored = {path.name for path in self.score_files("dev")}
        # A run that is complete has a report.
        if resumes and scored.issuperset(held) and not self.report.is_file():
            return
        if not held and self.holds_recording() and not resumes:
            held = [f"{_DYNAMICS}/"]
        if held:
            remedy = "Start anew by --overwrite" if resumes else "Go on with it by -a, start anew by --overwrite,"
            raise UserError(f"{self}: already holds a run ({held[-1]}). {remedy} or choose another folder by -n or -p.")

    def clear(self, *, spare_recording: bool = False) -> None:
        """Delete what a run has left, which would pass for that of the run that takes its place.

        Parameters
        ----------
        spare_recording : leave recorded epochs and their data map, on which the new run is to train.
        """
        # Bad audio by itself is no run: one that has ended for too much of it is begun anew once that is mended.
        others = (self.report, self.parameters, self.steps, self.bad_audio)
        for path in (*self._run_files(), *others):
            path.unlink(missing_ok=True)
        # A data map without the epochs that it was made from is nobody's but the user's.
        if self.holds_recording() and not spare_recording:
            self.delete_recording()

    def _run_files(self) -> list[Path]:
        """List what a run has left, by the very names it gives; nothing else is ever deleted."""
        best = [path for path in (self.calibration, self.best) if path.is_file()]
        return best + [path for split in _SCORED_SPLITS for path in self.score_files(split)] + self.checkpoints()

    def shown(self) -> list[Path]:
        """List what a run leaves for its user, in the order to show it in."""
        patterns = ("*_scores.csv", "*_metrics.json", self.calibration.name, self.best.name, self.card.name)
        return [path for pattern in patterns for path in sorted(self.path.glob(pattern))]


def choose_checkpoint(past: Path, mode: str) -> Path:
    """Return the checkpoint that -e names: a file; in a folder the latest to train on, the best to use.

    Where there is no such one it is the other: a run may be stopped before its first regular checkpoint, and the best
    one holds all that training needs as well.

    Raises
    ------
    UserError : nothing there.
    """
    if not past.is_dir():
        return past
    folder = RunFolder(past)
    best, others = [folder.best] if folder.best.is_file() else [], folder.checkpoints()
    if not best and not others:
        raise UserError(f"{past}: holds no states-*.ckpt and no {BEST_CHECKPOINT}. Name the folder of a trained run.")
    return (best + others if mode == "train" else others + best)[-1]


def epoch_path(dynamics: Path | str, epoch: int) -> Path:
    """Return the file of a recorded epoch in the folder of the dynamics."""
    return Path(dynamics) / f"epoch-{epoch:04d}.npz"


def epoch_paths(dynamics: Path | str) -> dict[int, Path]:
    """Return the file of each epoch in a folder, by its number, ascending; none where there is no such folder."""
    names = {path: _EPOCH.fullmatch(path.name) for path in Path(dynamics).glob("epoch-*.npz")}
    return dict(sorted((int(name[1]), path) for path, name in names.items() if name))
