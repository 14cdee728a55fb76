"""The folder of a run: its file names, its lock, its checkpoints, and what may be deleted.

No other module has these names. Only files that a run writes under its own names are deleted, and only on request.
docs/training.md lists the files in a table.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import UserError

# S3PRL's name for the checkpoint with the best dev accuracy.
BEST_CHECKPOINT = "dev-best.ckpt"
DATAMAP_STAGE = "datamap"
_DYNAMICS = "dynamics"
# The second name is that of version 0.1.0; a folder with such a file keeps it.
_CLASS_SIMILARITY_NAMES = ("class_similarity.csv", "likeness.csv")
_EPOCH = re.compile(r"epoch-(\d+)\.npz")
_STATES = re.compile(r"states-(\d+)\.ckpt")
_SCORED_SPLITS = ("dev", "test")
_SCORE_FILES = (
    *("scores.csv", "metrics.json", "predict.txt", "truth.txt"),
    *("latents.npz", "truncation.json", "truncation.png"),
)
# Made from the recorded epochs: the last by `lid-mapmix datamap`, the others by the run itself.
_MADE_OF_EPOCHS = ("datamap.csv", *_CLASS_SIMILARITY_NAMES, "datamap.png", "suspects.csv")


def _file(name: str, meaning: str) -> property:
    """Return a property that is the path of a file in the folder."""
    return property(lambda folder: folder.path / name, doc=meaning)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run. `path`: of the folder, which need not exist yet."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    # Files of the whole run ----------------------------------------------------------------------------------------

    best = _file(BEST_CHECKPOINT, "The checkpoint with the best dev accuracy, under S3PRL's name.")
    log = _file("log.log", "The log of a run, under S3PRL's name.")
    lock = _file(".lock", "Locked by the process that trains or writes here.")
    parameters = _file("parameters.json", "Number of parameters of each part of the model, JSON.")
    calibration = _file("calibration.json", "The calibration that was fitted on dev, JSON (scoring/calibration.py).")
    novelty = _file("novelty.safetensors", "Latents of dev, which novelties are computed from (scoring/open_set.py).")
    card = _file("README.md", "The model card.")
    report = _file("report.html", "The report, one HTML page.")
    bad_audio = _file("bad_audio.csv", "The skipped training utterances, CSV (training/bad_audio.py).")

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
        """Return the scores of a split truncated to several durations, JSON."""
        return self.path / f"{split}_truncation.json"

    def truncation_figure(self, split: str) -> Path:
        """Return the figure of the scores at several durations."""
        return self.path / f"{split}_truncation.png"

    def score_files(self, split: str) -> list[Path]:
        """List the existing files of a split."""
        return [path for path in (self.path / f"{split}_{name}" for name in _SCORE_FILES) if path.is_file()]

    # The data map --------------------------------------------------------------------------------------------------

    @property
    def datamap_stage(self) -> "RunFolder":
        """The folder of the run that makes the data map for this one."""
        return RunFolder(self.path / DATAMAP_STAGE)

    request = _file("request.json", "The data and settings of a data map, JSON (apps/runs/datamap_stage.py).")
    dynamics = _file(_DYNAMICS, "The folder of the recorded epochs (mapmix/dynamics.py).")
    datamap = _file("datamap.csv", "The data map, CSV (mapmix/datamap_files.py).")
    datamap_figure = _file("datamap.png", "The figure of the data map.")
    suspects = _file("suspects.csv", "The utterances with a suspicious label, CSV (mapmix/suspects.py).")

    @property
    def class_similarity(self) -> Path:
        """The class similarity, CSV (mapmix/datamap_files.py)."""
        new, old = (self.path / name for name in _CLASS_SIMILARITY_NAMES)
        return old if old.is_file() and not new.is_file() else new

    def holds_recording(self) -> bool:
        """Return whether a run in this folder has recorded an epoch."""
        return bool(epoch_paths(self.dynamics))

    def delete_recording(self) -> None:
        """Delete the recorded epochs of a run in this folder, and the files made from them."""
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
        """Return the step of the latest checkpoint, 0 if there is none."""
        kept = self.checkpoints()
        return int(kept[-1].stem.removeprefix("states-")) if kept else 0

    def holds_run(self) -> bool:
        """Return whether there is a checkpoint to resume from."""
        return bool(self.checkpoints()) or self.best.is_file()

    # The settings --------------------------------------------------------------------------------------------------

    def new_settings_files(self) -> tuple[Path, Path]:
        """Return the paths for S3PRL's arguments and the configuration of a new start, under S3PRL's names."""
        tag = datetime.now().strftime("%Y-%m-%d-%H-%M-%S")
        return self.path / f"args_{tag}.yaml", self.path / f"config_{tag}.yaml"

    def settings_file(self, name: str = "config") -> Path:
        """Return the configuration (or S3PRL's ``args``) of the last start. Raises UserError: there is none."""
        found = sorted(self.path.glob(f"{name}_*.yaml"))
        if not found:
            raise UserError(
                f"{self}: expected {name}_*.yaml, the settings of a run, found none. Use the folder that the run was "
                "trained in."
            )
        return found[-1]

    # Locking and deleting -------------------------------------------------------------------------------------------

    @contextmanager
    def held(self, otherwise: str = "choose another folder by -n or -p") -> Iterator[None]:
        """Lock the folder, created if absent. Raises UserError: it is locked; the remedy is `otherwise`."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.lock, timeout=0):
                try:
                    yield
                finally:
                    # A refused run leaves no files.
                    if list(self.path.iterdir()) == [self.lock]:
                        self.lock.unlink()
                        self.path.rmdir()
        except Timeout:
            raise UserError(
                f"{self}: another process is training or writing there. Wait for it, or {otherwise}."
            ) from None

    def refuse_run(self, *, resumes: bool = False) -> None:
        """Raise a UserError if the folder has a run.

        `resumes`: accept a run that was stopped before its first checkpoint: its epochs will be trained again.
        """
        held = [path.name for path in self._run_files()]
        scored = {path.name for path in self.score_files("dev")}
        # A complete run has a report.
        if resumes and scored.issuperset(held) and not self.report.is_file():
            return
        if not held and self.holds_recording() and not resumes:
            held = [f"{_DYNAMICS}/"]
        if held:
            remedy = "Replace it by --overwrite" if resumes else "Resume it by -a, replace it by --overwrite,"
            raise UserError(f"{self}: already holds a run ({held[-1]}). {remedy} or choose another folder by -n or -p.")

    def clear(self, *, spare_recording: bool = False) -> None:
        """Delete the files of a run, so that they are not taken for those of the run that replaces it.

        `spare_recording`: keep the recorded epochs and their data map, which the new run is trained on.
        """
        # bad_audio.csv alone is not a run: a run that ended because of it is started again once the audio is corrected.
        others = (self.report, self.parameters, self.bad_audio)
        for path in (*self._run_files(), *others):
            path.unlink(missing_ok=True)
        # A data map without its recorded epochs may be the user's own.
        if self.holds_recording() and not spare_recording:
            self.delete_recording()

    def _run_files(self) -> list[Path]:
        """List the files of a run by their names; no other file is deleted."""
        best = [path for path in (self.calibration, self.novelty, self.best) if path.is_file()]
        return best + [path for split in _SCORED_SPLITS for path in self.score_files(split)] + self.checkpoints()

    def shown(self) -> list[Path]:
        """List the files of a run to show to the user, in order."""
        patterns = ("*_scores.csv", "*_metrics.json", self.calibration.name, self.best.name, self.card.name)
        return [path for pattern in patterns for path in sorted(self.path.glob(pattern))]


def choose_checkpoint(past: Path, mode: str) -> Path:
    """Return the checkpoint for -e: the file itself; of a folder, the latest for training and the best otherwise.

    If one of the two is missing, the other is used: a run may be stopped before its first regular checkpoint, and the
    best checkpoint has everything that training needs.

    Raises UserError: the folder has no checkpoint.
    """
    if not past.is_dir():
        return past
    folder = RunFolder(past)
    best, others = [folder.best] if folder.best.is_file() else [], folder.checkpoints()
    if not best and not others:
        raise UserError(
            f"{past}: expected states-*.ckpt or {BEST_CHECKPOINT}, found neither. Use the folder of a trained run."
        )
    return (best + others if mode == "train" else others + best)[-1]


def epoch_path(dynamics: Path | str, epoch: int) -> Path:
    """Return the file of a recorded epoch in the folder of the dynamics."""
    return Path(dynamics) / f"epoch-{epoch:04d}.npz"


def epoch_paths(dynamics: Path | str) -> dict[int, Path]:
    """Return epoch number → file of each recorded epoch in a folder, ascending; empty if there is no such folder."""
    names = {path: _EPOCH.fullmatch(path.name) for path in Path(dynamics).glob("epoch-*.npz")}
    return dict(sorted((int(name[1]), path) for path, name in names.items() if name))
