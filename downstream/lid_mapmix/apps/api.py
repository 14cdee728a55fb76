"""The public Python interface: train, evaluate and score in one process, and read a data map.

Import it from the package (``from lid_mapmix import train``). Each function does what the command of the same name
does, with the same checks; a fault that a user can correct is raised as :class:`lid_mapmix.UserError`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..config.settings import task_of_run
from ..data.labels import read_labels
from ..mapmix import datamap_files
from ..scoring.bootstrap import Interval
from ..scoring.scorecard import Scores, make_system, score_system
from ..utils.errors import UserError
from ..utils.run_folder import RunFolder, choose_checkpoint
from .commands.score_files import clusters_of, read_system, require_truth
from .report.datamap_figure import draw_datamap
from .runs.launch import prepare_use
from .settings.arguments import complete_defaults, find_conflict, make_parser

_SLICES = "by_"


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run that is complete.

    Attributes
    ----------
    folder : of the run; docs/training.md lists its files.
    checkpoint : the one with the best dev accuracy.
    scores : split (``dev`` and, where the data have one, ``test``) → its scores.
    """

    folder: Path
    checkpoint: Path
    scores: Mapping[str, Scores]


def train(
    data: Path | str,
    upstream: str = "fbank",
    variant: str = "mapmix",
    *,
    out: Path | str | None = None,
    seed: int | None = None,
    frozen: bool = False,
    weights: Path | str | None = None,
    device: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> TrainedRun:
    """Train a variant and score it, as ``lid-mapmix run`` does.

    Parameters
    ----------
    data : folder of train.csv, dev.csv and, optionally, test.csv and labels.yaml.
    upstream : name of an upstream of S3PRL (``-u``).
    variant : name of a variant (``-v``): ``mapmix``, ``baseline``, ``datamap``, …
    out : folder of the run; by default ``result/downstream/lid_mapmix-VARIANT-UPSTREAM``.
    seed : of every random draw; by default that of the command.
    frozen : keep the upstream frozen and train a weighted sum of its layers; by default as the upstream's file says.
    weights : file or folder of the upstream's weights, for the upstreams that take one (``-k``).
    device : ``cpu``, ``cuda`` or ``cuda:1``; by default a GPU where there is one.
    resume : continue the run in `out` where it stopped.
    overwrite : delete the run in `out` and train again; without either a folder with a run is an error.
    settings : sections of config.yaml with the keys that differ, for example
        ``downstream_expert={"epochs": 20}, optimizer={"lr": 1e-4}``.

    Returns
    -------
    The run, with the scores of dev and test.

    Raises
    ------
    UserError : whatever is wrong with settings, data, audio or the folder.
    """
    options = _options(
        "train",
        data,
        device,
        upstream=upstream,
        downstream_variant=variant,
        **({} if seed is None else {"seed": seed}),
        frozen=frozen,
        upstream_ckpt=None if weights is None else str(weights),
        expdir=None if out is None else str(out),
        auto_resume=resume,
        overwrite=overwrite,
        override=_override(settings),
    )
    if conflict := find_conflict(options):
        raise UserError(f"{conflict}. Change the arguments.")
    complete_defaults(options)
    prepare_use(options)
    from .runs import procedure  # noqa: PLC0415 - S3PRL can be imported once it is patched

    procedure.train(options)
    folder = RunFolder(Path(options.expdir))
    found = {split: _read_scores(folder, split) for split in ("dev", "test") if folder.metrics(split).is_file()}
    return TrainedRun(folder.path, choose_checkpoint(folder.path, "evaluate"), found)


def evaluate(
    run: TrainedRun | Path | str, split: str = "test", data: Path | str | None = None, *, device: str | None = None
) -> Scores:
    """Score a split with a trained run, as ``lid-mapmix run -m evaluate`` does, which also updates the run's report.

    Parameters
    ----------
    run : a run, or its folder.
    split : name of a CSV in the data folder.
    data : the data folder; by default the one that the run was trained on.
    device : where to compute; by default a GPU where there is one.

    Raises
    ------
    UserError : no such run or split, or audio that cannot be read.
    """
    folder = Path(run.folder if isinstance(run, TrainedRun) else run)
    options = _options("evaluate", data, device, past_exp=str(folder), evaluate_split=split)
    prepare_use(options)
    from .runs import procedure  # noqa: PLC0415 - S3PRL can be imported once it is patched

    procedure.use(options)
    return _read_scores(RunFolder(folder), split)


def score(
    score_file: Path | str,
    *,
    key: Path | str | None = None,
    labels: Path | str | None = None,
    by: Sequence[str] = (),
    samples: int = 1000,
    seed: int = 0,
) -> Scores:
    """Score the output of any system, as ``lid-mapmix score`` does.

    Parameters
    ----------
    score_file : in one of the formats of docs/scores.md, which is recognised.
    key : the true classes, for formats without them.
    labels : labels.yaml with the clusters; by default a cluster is the part of a class's name before the first ``-``.
    by : ways of slicing: ``duration``, ``cluster``, ``class``, ``source`` or any column of the key.
    samples : number of bootstrap resamples; 0 for no intervals.
    seed : of the bootstrap.

    Raises
    ------
    UserError : a damaged file, or files that do not fit each other.
    """
    known = None if labels is None else read_labels(labels)
    output = read_system(str(score_file), None if key is None else str(key))
    require_truth(output, "--key")
    return score_system(make_system(output, clusters_of(output, known, str(labels))), by, samples, seed)


class DataMap(datamap_files.DataMap):
    """A data map with N utterances; every array is (N,), in the order of the training manifest.

    Attributes
    ----------
    path : the file that it was read from.
    ids, classes : str, as in the training manifest.
    regions : str, ``easy``, ``ambiguous``, ``hard``, or ``unread`` where the audio could never be read.
    confidence : float64, mean probability of the target class over the epochs.
    variability : float64, its standard deviation (population).
    correctness : float64, fraction of the epochs with a correct prediction.
    threshold_closeness : float64, ``confidence · (1 - confidence)``.
    forgetfulness : float64, number of changes from a correct to a wrong prediction; NaN where never correct.
    epochs : int64, number of recorded epochs.
    """

    @classmethod
    def read(cls, run_or_csv: TrainedRun | Path | str) -> Self:
        """Read datamap.csv.

        Parameters
        ----------
        run_or_csv : a run that has recorded a data map, its folder, or the file.

        Raises
        ------
        UserError : there is none, or it is damaged.
        """
        path = Path(run_or_csv.folder if isinstance(run_or_csv, TrainedRun) else run_or_csv)
        if path.is_dir():
            folder = RunFolder(path)
            path = folder.datamap if folder.datamap.is_file() else folder.datamap_stage.datamap
        return cls(**vars(datamap_files.read_datamap(path)))

    def columns(self) -> dict[str, np.ndarray]:
        """Return name → array (N,), for example for ``pandas.DataFrame``."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "path"}

    def plot(self, path: Path | str) -> None:
        """Draw confidence over variability, coloured by correctness, with the boundaries of the regions of a run.

        Parameters
        ----------
        path : the PNG to write.
        """
        try:
            config = task_of_run(RunFolder(self.path.parent)).datamap
        except UserError:  # the file is not in the folder of a run, so its boundaries are not known
            config = None
        draw_datamap(Path(path), self, self.regions, config)


def _options(mode: str, data: Path | str | None, device: str | None, **given: Any) -> argparse.Namespace:
    """Return the flags of run_downstream.py that a call stands for."""
    options = make_parser("lid_mapmix").parse_args([])
    vars(options).update(mode=mode, data=None if data is None else str(data), device=device, **given)
    return options


def _override(settings: Mapping[str, Any], *path: str) -> str | None:
    """Write settings as the text of -o."""
    texts = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            texts.append(_override(value, *path, key))
        else:
            literal = str(value) if isinstance(value, Path) else value
            texts.append(f"{'.'.join(('config', *path, key))}={literal!r}")
    return ",,".join(filter(None, texts)) or None


def _read_scores(folder: RunFolder, split: str) -> Scores:
    """Read SPLIT_metrics.json."""
    content = json.loads(folder.metrics(split).read_text(encoding="utf-8"))
    overall = content["overall"]
    intervals = {name: Interval(overall[name], *ends) for name, ends in content.get("intervals", {}).items()}
    slices = {name.removeprefix(_SLICES): value for name, value in content.items() if name.startswith(_SLICES)}
    calibrated = content.get("calibrated", {}).get("overall", {})
    return Scores(overall=overall, intervals=intervals, slices=slices, calibrated=calibrated)
