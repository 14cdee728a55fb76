"""NIST's language recognition evaluation of 2017, 14 dialects in 5 clusters: ``lid-mapmix prepare lre17``.

LDC2022E16 has training and development data, LDC2022E17 the test data; older releases have each separately. Training
recordings are cut into pieces of about 10 s, as in the paper, by start and end in the manifest: no audio is written.
``--subset`` draws one of three small training sets. The tables do not say from which 30 s segment those of 3 and 10 s
are cut, so this is found by comparing the audio.

The data is licensed, so the layout is taken from public recipes: if it differs, correct the table below.
"""

import argparse
import logging
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...utils.errors import UserError
from .. import SPLITS
from .steps.corpus import Listing, Utterance, listed_corpus, not_negative, positive
from .steps.tables import describe_folder, enumerate_names, read_table, to_numbers

if TYPE_CHECKING:
    from .steps.splits import Columns

SETS = 3


@dataclass(frozen=True)
class _Layout:
    """The files of a split: its table, and the folders that may have its audio, at any depth."""

    table: str
    audio: tuple[str, ...]


LAYOUTS = {
    "train": _Layout("docs/train_info.tab", ("data/train", "data")),
    "dev": _Layout("docs/dev_info.tab", ("data/dev", "data")),
    "test": _Layout("docs/lre17_eval_segment_keys.tsv", ("data/eval", "data")),
}
ID, CLASS, SOURCE = "segmentid", "language_code", "data_source"
# The nominal duration of a segment cut to 3, 10 or 30 s of speech; empty for VAST, whose files are whole.
NOMINAL_SECONDS = ("speech_duration", "length_condition")
# The two sides of a call are separate files, 20110112_085632_25-a.sph and 695200_ch0.sph.
SIDE_OF_CALL = re.compile(r"[-_](?:[abAB]|ch\d)$")
CLUSTERS = {
    "arabic": ("ara-acm", "ara-apc", "ara-ary", "ara-arz"),
    "english": ("eng-gbr", "eng-usg"),
    "slavic": ("qsl-pol", "qsl-rus"),
    "iberian": ("por-brz", "spa-car", "spa-eur", "spa-lac"),
    "chinese": ("zho-cmn", "zho-nan"),
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draw:
    """What is drawn from the training data."""

    subset_hours: float | None  # hours per dialect; None for all
    number: int  # number of the set, one of three
    # Hours per dialect for dev, drawn from the training data in place of NIST's development set; None for that set.
    dev_hours: float | None
    piece_seconds: float  # duration of the pieces; 0 keeps recordings whole
    max_seconds: float | None  # longer files of NIST's development set and test are dropped; in the paper 60 s


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dev", type=Path, metavar="DIR", help="release with docs/dev_info.tab, if it is another one")
    parser.add_argument("--eval", type=Path, metavar="DIR", help="release with docs/lre17_eval_segment_keys.tsv")
    parser.add_argument("--subset", type=positive, metavar="HOURS", help="hours per dialect to draw for train")
    parser.add_argument(
        "--set",
        type=int,
        choices=range(1, SETS + 1),
        default=1,
        help="number of the small set; sets share no call if a dialect has enough (default: %(default)s)",
    )
    parser.add_argument(
        "--dev-hours",
        type=positive,
        metavar="HOURS",
        help="hours per dialect to draw for dev from training calls in no set, instead of NIST's development set",
    )
    parser.add_argument(
        "--piece-seconds",
        type=not_negative,
        default=10.0,
        metavar="SECONDS",
        help="duration of the pieces of training recordings; 0 keeps recordings whole (default: %(default)s)",
    )
    parser.add_argument(
        "--max-seconds", type=positive, metavar="SECONDS", help="drop longer files of dev and test; in the paper: 60"
    )
    parser.add_argument(
        "--no-cut-search",
        action="store_true",
        help="do not compare audio; each segment of dev and test is its own group",
    )


def _list(options: argparse.Namespace) -> Listing:
    """List the splits, which are in one release or in several; without the test data there is no test.csv.

    Raises UserError: another layout, an unknown dialect, no development set, or flags that exclude each other.
    """
    if options.set != 1 and options.subset is None:
        raise UserError(f"--set {options.set}: expected --subset HOURS, the size of the set, found none. Add it.")
    if options.dev is not None and options.dev_hours is not None:
        raise UserError("--dev and --dev-hours: expected one of them, found both. Omit one.")
    draw = Draw(options.subset, options.set, options.dev_hours, options.piece_seconds, options.max_seconds)
    search_cuts = not options.no_cut_search
    roots = {
        split: (root or options.corpus_folder).resolve()
        for split, root in zip(LAYOUTS, (options.corpus_folder, options.dev, options.eval), strict=True)
    }
    describe_folder(roots["train"])
    if draw.dev_hours is not None:
        del roots["dev"]
    if options.eval is None and not (roots["test"] / LAYOUTS["test"].table).is_file():
        log.info("%s: no such file, so there is no test.csv; pass its release by --eval", LAYOUTS["test"].table)
        del roots["test"]
    utterances = [utterance for split, root in roots.items() for utterance in _list_split(split, root)]
    # Files without a nominal duration, which are VAST's, are whole.
    cuts = {
        utterance.id
        for utterance in utterances
        if utterance.split != "train" and search_cuts and not math.isnan(utterance.seconds)
    }

    def arrange(columns: "Columns") -> "Columns":
        from .lre17_segments import arrange_segments  # noqa: PLC0415

        return arrange_segments(columns, cuts=cuts, draw=draw, seed=options.seed)

    return Listing(
        roots["train"],
        utterances,
        # The second is of earlier versions, whose folders are then recognised.
        {**vars(draw), "group_column": None, "search_cuts": search_cuts},
        clusters=CLUSTERS,
        splits=SPLITS if "test" in roots else SPLITS[:2],
        arrange=arrange,
    )


def _list_split(split: str, root: Path) -> list[Utterance]:
    layout = LAYOUTS[split]
    path = root / layout.table
    if split == "dev" and not path.is_file():
        raise UserError(
            f"{path}: no such table; {root} has {describe_folder(root)}. Pass the release that has it by --dev, or "
            "draw dev from the training data by --dev-hours."
        )
    table = read_table(path, (ID, CLASS), (SOURCE, *NOMINAL_SECONDS))
    known = {code for codes in CLUSTERS.values() for code in codes}
    unknown = sorted(set(table[CLASS]) - known)
    if unknown:
        raise UserError(
            f"{path}: expected the 14 dialects of LRE 2017 ({enumerate_names(sorted(known))}), found "
            f"{enumerate_names(unknown)}. Use that evaluation's data."
        )
    audio = _find_audio(root, layout)
    rows = len(table[ID])
    sources = table.get(SOURCE, [""] * rows)
    duration = next((name for name in NOMINAL_SECONDS if name in table), None)
    nominal = to_numbers(path, duration, table[duration]) if duration else [math.nan] * rows
    if split == "train":
        # Cut later, so the files' own durations are needed.
        nominal, groups = [math.nan] * rows, [SIDE_OF_CALL.sub("", Path(name).stem) for name in table[ID]]
    else:
        groups = [f"{split}/{name}" for name in table[ID]]
    return [
        Utterance(
            audiopath=audio.get(name) or audio.get(Path(name).stem) or str(root / layout.audio[0] / name),
            class_name=dialect,
            id=f"{split}/{name}",
            split=split,
            seconds=seconds,
            group=group,
            source=source.lower(),
        )
        for name, dialect, source, seconds, group in zip(table[ID], table[CLASS], sources, nominal, groups, strict=True)
    ]


def _find_audio(root: Path, layout: _Layout) -> dict[str, str]:
    """Return the files in the audio folder by name, with and without extension."""
    folder = next((root / name for name in layout.audio if (root / name).is_dir()), None)
    if folder is None:
        raise UserError(
            f"{root}: expected a folder {' or '.join(layout.audio)} with audio, found {describe_folder(root)}. Pass "
            "another release."
        )
    files = {
        name: str(Path(parent, name))
        for parent, _, names in sorted(os.walk(folder, followlinks=True))
        for name in names
    }
    return {**{Path(name).stem: path for name, path in files.items()}, **files}


CORPUS = listed_corpus(
    "lre17",
    "NIST LRE 2017 (licensed by the LDC): 14 dialects, telephone and video",
    """\
lid-mapmix prepare lre17 LDC2022E16/ --out data/ --eval LDC2022E17/
lid-mapmix prepare lre17 LDC2022E16/ --out data/set1/ --eval LDC2022E17/ --subset 5 --set 1 --max-seconds 60""",
    _list,
    source="release with docs/train_info.tab",
    add_own_flags=_add_flags,
)
