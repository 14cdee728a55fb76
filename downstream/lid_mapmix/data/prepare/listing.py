"""From what a corpus lists to its manifests: the steps that all published corpora share.

A corpus lists its utterances, each with the split that its publisher put it in, if any. What is in no split yet is
divided by speakers and groups. Then nobody who is in dev or test is left in train, and only classes that train has.
"""

import logging
import math
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ...errors import UserError
from ..labels import Labels, labels_from_manifest
from ..manifest import Manifest
from .corpus import SPLITS, cannot_write, divide, needs_preparation, remove_manifests, write_corpus
from .options import Options
from .selection import UNITS, Columns, with_known_classes, with_most_hours, without_leaks
from .splitting import check_shares, join_units, split_units
from .tables import check_files, read_seconds

_NUMBERS = ("seconds", "start", "end")
# Left out where no utterance has a value.
_OPTIONAL = ("start", "end", *UNITS, "source")
_AUDIO_FOLDER = "audio"

log = logging.getLogger(__name__)


class Utterance(NamedTuple):
    """What a corpus says of an utterance; the fields are a manifest's, and empty or NaN where it says nothing.

    A split that is empty is drawn; seconds that are NaN are read from the file's header.
    """

    audiopath: str
    class_name: str
    id: str
    split: str = ""
    seconds: float = math.nan
    start: float = math.nan
    end: float = math.nan
    speaker: str = ""
    group: str = ""
    source: str = ""


def prepare_listed(
    folder: Path,
    utterances: Sequence[Utterance],
    *,
    corpus: str,
    origin: Path,
    options: Options,
    settings: Mapping[str, object] | None = None,
    splits: Sequence[str] | None = None,
    labels: Labels | None = None,
    arrange: Callable[[Columns], Columns] | None = None,
) -> Path:
    """Write the manifests of a corpus.

    Parameters
    ----------
    folder : where they go.
    utterances : what the corpus lists.
    corpus : its name.
    origin : where it lies.
    options : what is asked for.
    settings : what else the result depends on; has to survive JSON.
    splits : those that will be there; by default those of the publisher, or all three where some are drawn.
    labels : the classes and their clusters; derived from train's classes by default.
    arrange : changes the columns once durations are known, such as to cut utterances into pieces.

    Returns
    -------
    Path : `folder`.

    Raises
    ------
    UserError : nothing listed, an id twice, audio that is not there or broken, too few speakers to divide, no dev.
    """
    check_shares(options.dev_share, options.test_share)
    folder = folder.resolve()
    columns = _to_columns(utterances, origin)
    if splits is None:
        published = set(columns["split"])
        splits = SPLITS if "" in published else [split for split in SPLITS if split in published]
    chosen = {name: value for name, value in asdict(options).items() if name != "overwrite"}
    everything = {
        "corpus": corpus,
        "audio": str(origin),
        "utterances": len(utterances),
        "fingerprint": _fingerprint(utterances),
        **chosen,
        **(settings or {}),
    }
    if not needs_preparation(folder, everything, overwrite=options.overwrite, splits=splits):
        return folder

    check_files(columns["audiopath"], origin)
    _read_unknown_seconds(columns, origin)
    if arrange is not None:
        columns = arrange(columns)
    # Before anything is drawn: what the publisher put into dev or test stays there.
    columns = with_known_classes(_with_splits(without_leaks(columns), options))
    if options.max_hours_per_class is not None:
        columns = with_most_hours(columns, options.max_hours_per_class, options.seed)
    _check_splits(columns["split"], splits, origin)
    if options.copy_audio:
        columns["audiopath"] = _copy_audio(columns["audiopath"], origin, folder)
    return _write(folder, everything, columns, splits, labels)


def _to_columns(utterances: Sequence[Utterance], origin: Path) -> Columns:
    if not utterances:
        raise UserError(f"{origin}: lists no utterance. Is the corpus complete?")
    columns: Columns = {}
    for name, values in zip(Utterance._fields, zip(*utterances, strict=True), strict=True):
        # Objects, not NumPy's strings of one width: paths and ids of millions of utterances are long.
        columns["class" if name == "class_name" else name] = np.array(
            values, dtype=np.float64 if name in _NUMBERS else object
        )
    ids, counts = np.unique(columns["id"], return_counts=True)
    if len(ids) < len(utterances):
        raise UserError(f"{origin}: lists {ids[counts > 1][0]} {counts.max()} times. Take the repetition out.")
    return columns


def _read_unknown_seconds(columns: Columns, origin: Path) -> None:
    unknown = np.flatnonzero(np.isnan(columns["seconds"]))
    if len(unknown):
        starts, ends = (columns[name][unknown] for name in ("start", "end"))
        files = read_seconds(columns["audiopath"][unknown])
        columns["seconds"][unknown] = np.where(np.isnan(ends), files, ends) - np.nan_to_num(starts)
    empty = columns["id"][~(columns["seconds"] > 0)]
    if len(empty):
        raise UserError(f"{origin}: {empty[0]} has no duration above 0 ({len(empty)} such). Take it out of the corpus.")


def _fingerprint(utterances: Sequence[Utterance]) -> str:
    checksum = 0
    for utterance in utterances:
        checksum = zlib.crc32(repr(tuple(utterance)).encode(), checksum)
    return f"{checksum:08x}"


def _with_splits(columns: Columns, options: Options) -> Columns:
    """Return the columns with a split for all; what the publisher divided stays, and no split of his is drawn anew."""
    undivided = columns["split"] == ""
    if not undivided.any():
        return columns
    units = join_units(*(columns[name] for name in UNITS))[undivided]
    known = [name for name in UNITS if (columns[name] != "").any()]
    drawn = split_units(
        units,
        columns["class"][undivided].astype(str),
        columns["seconds"][undivided],
        unit_name=known[0] if known else "recording",
        dev_share=options.dev_share,
        test_share=options.test_share,
        seed=options.seed,
    )
    splits = columns["split"].copy()
    splits[undivided] = np.where(np.isin(drawn, list(set(splits))), SPLITS[0], drawn)
    return {**columns, "split": splits}


def _check_splits(found: np.ndarray, splits: Sequence[str], origin: Path) -> None:
    for split in dict.fromkeys((*SPLITS[:2], *splits)):
        if not np.any(found == split):
            raise UserError(
                f"{origin}: nothing is left for {split}.csv. Is the corpus complete, and is more asked for than it has?"
            )


def _copy_audio(paths: np.ndarray, origin: Path, folder: Path) -> np.ndarray:
    """Copy the audio below the folder of the manifests and return the new paths, relative to it."""
    targets = {}
    for path in dict.fromkeys(paths):
        source = Path(path)
        inside = source.is_relative_to(origin)
        name = (
            source.relative_to(origin)
            if inside
            else Path(f"{zlib.crc32(str(source.parent).encode()):08x}", source.name)
        )
        targets[path] = (Path(_AUDIO_FOLDER) / name).as_posix()
    try:
        remove_manifests(folder)
        for path, target in tqdm(targets.items(), desc="Copying audio", unit="file"):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / target)
    except OSError as error:
        raise cannot_write(folder, error) from None
    return np.array([targets[path] for path in paths], dtype=object)


def _write(
    folder: Path, settings: Mapping[str, object], columns: Columns, splits: Sequence[str], labels: Labels | None
) -> Path:
    found = columns["split"]
    ordered = {name: columns[name] for name in ("audiopath", "class", "seconds", "id")}
    for name in _OPTIONAL:
        empty = np.isnan(columns[name]) if name in _NUMBERS else columns[name] == ""
        if not empty.all():
            ordered[name] = np.where(empty, "", columns[name].astype(object))
    manifests = {split: rows for split, rows in divide(ordered, found).items() if split in splits}
    if labels is None:
        train = {"class": columns["class"][found == SPLITS[0]].astype(str)}
        labels = labels_from_manifest(Manifest(folder / "train.csv", train))
    for split in (split for split in SPLITS if split in manifests):
        hours = columns["seconds"][found == split].sum() / 3600
        log.info("%s: %d utterances, %.2f h", split, np.count_nonzero(found == split), hours)
    return write_corpus(folder, settings, manifests, labels)
