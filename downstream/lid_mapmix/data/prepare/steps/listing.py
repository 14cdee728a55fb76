"""From the listed utterances of a corpus to its manifests: steps that all published corpora share.

A corpus lists its utterances, each with its publisher's split, if any. Utterances without a split are divided by
speakers and groups, or by files and groups. Then speakers and groups of dev or test are removed from train, and classes
without training data are dropped.
"""

import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from ....utils.errors import UserError
from ....utils.files import folder_when_complete
from ... import SPLITS
from ...labels import Labels, labels_from_names
from ...manifest.manifest import impossible_times
from .corpus import Listing, Options, SplitBy, Utterance
from .listed_audio import copy_audio, with_present_audio, within_audio
from .prepared_folder import cannot_write, preparation, remove_manifests, write_corpus
from .splits import (
    UNITS,
    Columns,
    check_fractions,
    divide,
    join_units,
    limit_hours,
    split_units,
    with_known_classes,
    without_leaks,
)
from .tables import text_digest

_SHARDS = "shards"  # folder of audio that is not in files
_NUMBERS = ("seconds", "start", "end")
# Omitted if no utterance has a value.
_OPTIONAL = ("start", "end", *UNITS, "source")

log = logging.getLogger(__name__)


def prepare_listed(folder: Path, listing: Listing, *, corpus: str, options: Options) -> Path:
    """Write the manifests of the listed utterances of a corpus to a folder, which is returned.

    Raises UserError: no utterance, an id twice, missing or damaged audio, too few speakers to divide, no dev, or a
    class that is in none of the corpus's clusters.
    """
    check_fractions(options.dev_fraction, options.test_fraction)
    folder, origin = folder.resolve(), listing.origin
    columns = _to_columns(listing.utterances, origin)
    splits = listing.splits
    if splits is None:
        published = set(columns["split"])
        splits = SPLITS if "" in published else [split for split in SPLITS if split in published]
    settings = {
        "corpus": corpus,
        "audio": str(origin),
        "utterances": len(listing.utterances),
        "digest": text_digest(repr(tuple(utterance)) for utterance in listing.utterances),
        # The default of split_by is omitted: folders prepared by earlier versions lack the setting.
        **{name: value for name, value in vars(options).items() if name not in ("overwrite", "split_by")},
        **({"split_by": options.split_by} if options.split_by != SplitBy.SPEAKER else {}),
        **listing.settings,
    }
    with preparation(folder, settings, overwrite=options.overwrite, splits=splits) as needed, ExitStack() as complete:
        if not needed:
            return folder
        if listing.write_audio is None:
            columns = with_present_audio(columns, origin, skip=options.skip_bad_audio)
        else:
            try:
                # An earlier preparation is kept until all checks have passed.
                part = complete.enter_context(folder_when_complete(folder / _SHARDS))
                columns = listing.write_audio(columns, part)
            except OSError as error:
                raise cannot_write(folder, error) from None
        _check_times(columns, origin)
        columns = within_audio(columns, origin, skip=options.skip_bad_audio)
        if listing.arrange is not None:
            columns = listing.arrange(columns)
        # Before anything is drawn: the publisher's dev and test are not changed.
        columns = with_known_classes(_with_splits(without_leaks(columns), options))
        if options.max_hours_per_class is not None:
            columns = limit_hours(columns, options.max_hours_per_class, options.seed)
        _check_splits(columns["split"], splits, origin)
        if listing.write_audio is not None:
            paths = [path.replace(f"{part}/", f"{_SHARDS}/") for path in columns["audiopath"]]
            columns["audiopath"] = np.array(paths, dtype=object)
            remove_manifests(folder)
            for old in (folder / _SHARDS).glob("audio-*.tar"):
                old.unlink()
            complete.close()
            with suppress(OSError):
                (folder / _SHARDS).rmdir()  # if it is empty
        elif options.copy_audio:
            remove_manifests(folder)
            columns["audiopath"] = copy_audio(columns["audiopath"], origin, folder)
        classes = set(columns["class"][columns["split"] == SPLITS[0]])
        labels = Labels(listing.clusters).only(classes) if listing.clusters else labels_from_names(classes)
        manifests = divide(_filled(columns), columns["split"])
        return write_corpus(folder, settings, {split: manifests[split] for split in splits}, labels)


def _to_columns(utterances: Sequence[Utterance], origin: Path) -> Columns:
    if not utterances:
        raise UserError(f"{origin}: expected utterances, found none. Check that the corpus is complete.")
    columns: Columns = {}
    for name, values in zip(Utterance._fields, zip(*utterances, strict=True), strict=True):
        # Objects, not NumPy's strings of fixed width: paths and ids of millions of utterances are long.
        columns["class" if name == "class_name" else name] = np.array(
            values, dtype=np.float64 if name in _NUMBERS else object
        )
    _check_text(columns, origin)
    ids, counts = np.unique(columns["id"], return_counts=True)
    if len(ids) < len(utterances):
        raise UserError(f"{origin}: expected unique ids, found {ids[counts > 1][0]} {counts.max()} times. Remove one.")
    return columns


def _check_text(columns: Columns, origin: Path) -> None:
    """Refuse text that the CSV files of manifests and scores cannot hold, such as file names from other systems."""
    for name in (name for name in columns if name not in _NUMBERS):
        if _fits_csv("".join(columns[name])):
            continue
        value = next(value for value in columns[name] if not _fits_csv(value))
        raise UserError(
            f"{origin}: expected UTF-8 without carriage returns, found {value!a}. Rename it; convmv converts file "
            "names to UTF-8."
        )


def _fits_csv(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        if sys.getfilesystemencoding() != "utf-8":
            raise  # the fault of the locale, not of the name
        return False
    return "\r" not in text


def _check_times(columns: Columns, origin: Path) -> None:
    """Refuse times that no manifest may have, before the manifest is written."""
    faults = ("no duration above 0", "a start that is not 0 or above", "an end that is not after its start")
    # An unknown duration is read from the header.
    seconds = np.nan_to_num(columns["seconds"], nan=1.0, posinf=np.inf)
    for faulty, fault in zip(impossible_times(seconds, columns["start"], columns["end"]), faults, strict=True):
        if faulty.any():
            name = columns["id"][np.argmax(faulty)]
            raise UserError(
                f"{origin}: {name} has {fault} ({np.count_nonzero(faulty)} such). Correct it, or remove it from the "
                "corpus."
            )


def _with_splits(columns: Columns, options: Options) -> Columns:
    """Assign a split to each utterance; the publisher's splits are kept, and none of them is drawn again."""
    by_file = options.split_by == SplitBy.FILE
    names = ("audiopath", "group") if by_file else UNITS
    units, splits = join_units(*(columns[name] for name in names)), columns["split"].copy()
    # What belongs to an utterance with a split goes with it.
    for split in SPLITS:
        splits[(splits == "") & np.isin(units, units[columns["split"] == split])] = split
    undivided = splits == ""
    if not undivided.any():
        return {**columns, "split": splits}
    known = [name for name in UNITS if name in names and (columns[name] != "").any()]
    drawn = split_units(
        units[undivided],
        columns["class"][undivided].astype(str),
        columns["seconds"][undivided],
        unit_name=known[0] if known else "recording",
        dev_fraction=options.dev_fraction,
        test_fraction=options.test_fraction,
        seed=options.seed,
    )
    splits[undivided] = np.where(np.isin(drawn, list(set(columns["split"]))), SPLITS[0], drawn)
    if by_file and (columns["speaker"] != "").any():
        log.warning("divided by file: a speaker may be in several splits, and scores do not measure unseen speakers")
    return {**columns, "split": splits}


def _check_splits(found: np.ndarray, splits: Sequence[str], origin: Path) -> None:
    for split in dict.fromkeys((*SPLITS[:2], *splits)):
        if not np.any(found == split):
            raise UserError(
                f"{origin}: expected utterances for {split}.csv, found none. Check that the corpus is complete, or "
                "request fewer hours."
            )


def _filled(columns: Columns) -> Columns:
    """Return the columns of a manifest, without those that have no value."""
    filled = {name: columns[name] for name in ("audiopath", "class", "seconds", "id")}
    for name in _OPTIONAL:
        empty = np.isnan(columns[name]) if name in _NUMBERS else columns[name] == ""
        if not empty.all():
            filled[name] = np.where(empty, "", columns[name].astype(object))
    return filled
