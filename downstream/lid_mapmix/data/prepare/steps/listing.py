"""From what a corpus lists to its manifests: the steps that all published corpora share.

A corpus lists its utterances, each with the split that its publisher put it in, if any. What is in no split yet is
divided by speakers and groups. Then nobody who is in dev or test is left in train, and only classes that train has.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....utils.errors import UserError
from ... import SPLITS
from ...labels import Labels, labels_from_names
from ...manifest.manifest import impossible_times
from .corpus import Listing, Options, SplitBy, Utterance
from .listed_audio import copy_audio, with_present_audio, with_seconds
from .prepared_folder import preparation, remove_manifests, write_corpus
from .splits import (
    UNITS,
    Columns,
    check_shares,
    divide,
    join_units,
    split_units,
    with_known_classes,
    with_most_hours,
    without_leaks,
)
from .tables import checksum

_NUMBERS = ("seconds", "start", "end")
# Left out where no utterance has a value.
_OPTIONAL = ("start", "end", *UNITS, "source")

log = logging.getLogger(__name__)


def prepare_listed(folder: Path, listing: Listing, *, corpus: str, options: Options) -> Path:
    """Write the manifests of what a corpus lists.

    Parameters
    ----------
    folder : where they go.
    listing : the utterances, and what is particular about them.
    corpus : its name.
    options : what is asked for.

    Returns
    -------
    Path : `folder`.

    Raises
    ------
    UserError : nothing listed, an id twice, audio that is not there or broken, too few speakers to divide, no dev, a
        class that is in none of the corpus's clusters.
    """
    check_shares(options.dev_share, options.test_share)
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
        "fingerprint": checksum(repr(tuple(utterance)) for utterance in listing.utterances),
        # Folders prepared before there was split_by are as its default makes them.
        **{name: value for name, value in vars(options).items() if name not in ("overwrite", "split_by")},
        **({"split_by": options.split_by} if options.split_by != SplitBy.SPEAKER else {}),
        **listing.settings,
    }
    with preparation(folder, settings, overwrite=options.overwrite, splits=splits) as needed:
        if not needed:
            return folder
        columns = with_present_audio(columns, origin, skip=options.skip_bad_audio)
        columns = with_seconds(columns, skip=options.skip_bad_audio)
        _check_times(columns, origin)
        if listing.arrange is not None:
            columns = listing.arrange(columns)
        # Before anything is drawn: what the publisher put into dev or test stays there.
        columns = with_known_classes(_with_splits(without_leaks(columns), options))
        if options.max_hours_per_class is not None:
            columns = with_most_hours(columns, options.max_hours_per_class, options.seed)
        _check_splits(columns["split"], splits, origin)
        if options.copy_audio:
            remove_manifests(folder)
            columns["audiopath"] = copy_audio(columns["audiopath"], origin, folder)
        classes = set(columns["class"][columns["split"] == SPLITS[0]])
        labels = Labels(listing.clusters).only(classes) if listing.clusters else labels_from_names(classes)
        manifests = divide(_filled(columns), columns["split"])
        return write_corpus(folder, settings, {split: manifests[split] for split in splits}, labels)


def _to_columns(utterances: Sequence[Utterance], origin: Path) -> Columns:
    if not utterances:
        raise UserError(f"{origin}: lists no utterance. Is the corpus complete?")
    columns: Columns = {}
    for name, values in zip(Utterance._fields, zip(*utterances, strict=True), strict=True):
        # Objects, not NumPy's strings of one width: paths and ids of millions of utterances are long.
        columns["class" if name == "class_name" else name] = np.array(
            values, dtype=np.float64 if name in _NUMBERS else object
        )
    _check_text(columns, origin)
    ids, counts = np.unique(columns["id"], return_counts=True)
    if len(ids) < len(utterances):
        raise UserError(f"{origin}: lists {ids[counts > 1][0]} {counts.max()} times. Take the repetition out.")
    return columns


def _check_text(columns: Columns, origin: Path) -> None:
    """Refuse text that the CSV files of manifests and scores cannot hold, such as names of files from other systems."""
    for name in (name for name in columns if name not in _NUMBERS):
        if _fits_csv("".join(columns[name])):
            continue
        value = next(value for value in columns[name] if not _fits_csv(value))
        raise UserError(
            f"{origin}: {value!a} is no text in UTF-8, or has a carriage return in it. Rename it; convmv brings names "
            "of files to UTF-8."
        )


def _fits_csv(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\r" not in text


def _check_times(columns: Columns, origin: Path) -> None:
    """Refuse what no manifest may have; it would only be said when that is read."""
    faults = ("no duration above 0", "a start that is not 0 or above", "an end that is not after its start")
    for faulty, fault in zip(impossible_times(*(columns[name] for name in _NUMBERS)), faults, strict=True):
        if faulty.any():
            name = columns["id"][np.argmax(faulty)]
            raise UserError(
                f"{origin}: {name} has {fault} ({np.count_nonzero(faulty)} such). Correct it, or take it out of the "
                "corpus."
            )


def _with_splits(columns: Columns, options: Options) -> Columns:
    """Return the columns with a split for all; what the publisher divided stays, and no split of his is drawn anew."""
    undivided = columns["split"] == ""
    if not undivided.any():
        return columns
    by_file = options.split_by == SplitBy.FILE
    names = ("audiopath", "group") if by_file else UNITS
    units = join_units(*(columns[name] for name in names))[undivided]
    known = [name for name in UNITS if name in names and (columns[name] != "").any()]
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
    if by_file and (columns["speaker"] != "").any():
        log.warning("divided by file: a speaker may be in several splits, and scores say nothing about other speakers")
    return {**columns, "split": splits}


def _check_splits(found: np.ndarray, splits: Sequence[str], origin: Path) -> None:
    for split in dict.fromkeys((*SPLITS[:2], *splits)):
        if not np.any(found == split):
            raise UserError(
                f"{origin}: nothing is left for {split}.csv. Is the corpus complete, and is more asked for than it has?"
            )


def _filled(columns: Columns) -> Columns:
    """Return the columns of a manifest, without those in which no utterance has a value."""
    filled = {name: columns[name] for name in ("audiopath", "class", "seconds", "id")}
    for name in _OPTIONAL:
        empty = np.isnan(columns[name]) if name in _NUMBERS else columns[name] == ""
        if not empty.all():
            filled[name] = np.where(empty, "", columns[name].astype(object))
    return filled
