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
from functools import partial
from pathlib import Path

from ...utils.errors import UserError
from .. import SPLITS
from .nist import CLASS, ID, NOMINAL_SECONDS, SOURCE, UNSEARCHED, find_audio, list_segments
from .steps.corpus import Listing, Utterance, listed_corpus, not_negative, positive
from .steps.tables import describe_folder, enumerate_names, read_table

SETS = 3
# The table of each split, and the folder with its audio, at any depth; releases of one split may have it in data/.
TABLES = {"train": "docs/train_info.tab", "dev": "docs/dev_info.tab", "test": "docs/lre17_eval_segment_keys.tsv"}
AUDIO = {"train": "data/train", "dev": "data/dev", "test": "data/eval"}
OTHER_AUDIO = "data"
CLUSTERS = {
    "arabic": ("ara-acm", "ara-apc", "ara-ary", "ara-arz"),
    "english": ("eng-gbr", "eng-usg"),
    "slavic": ("qsl-pol", "qsl-rus"),
    "iberian": ("por-brz", "spa-car", "spa-eur", "spa-lac"),
    "chinese": ("zho-cmn", "zho-nan"),
}

# The flags that the result depends on.
DRAW = ("subset_hours", "number", "dev_hours", "piece_seconds", "max_seconds")

log = logging.getLogger(__name__)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--dev", type=Path, metavar="DIR", help="release with docs/dev_info.tab, if it is another one")
    add("--eval", type=Path, metavar="DIR", help="release with docs/lre17_eval_segment_keys.tsv")
    subset = "hours per dialect to draw for train"
    add("--subset", dest="subset_hours", type=positive, metavar="HOURS", help=subset)
    numbers = range(1, SETS + 1)
    sets = "number of the small set; sets share no call if a dialect has enough (default: %(default)s)"
    add("--set", dest="number", type=int, choices=numbers, default=1, help=sets)
    dev = "hours per dialect to draw for dev from training calls in no set, instead of NIST's development set"
    add("--dev-hours", type=positive, metavar="HOURS", help=dev)
    pieces = "duration of the pieces of training recordings; 0 keeps recordings whole (default: %(default)s)"
    add("--piece-seconds", type=not_negative, default=10.0, metavar="SECONDS", help=pieces)
    add("--max-seconds", type=positive, metavar="SECONDS", help="drop longer files of dev and test; in the paper: 60")
    add("--no-cut-search", action="store_true", help=UNSEARCHED)


def _list(options: argparse.Namespace) -> Listing:
    """List the splits, which are in one release or in several; without the test data there is no test.csv.

    Raises UserError: another layout, an unknown dialect, no development set, or flags that exclude each other.
    """
    if options.number != 1 and options.subset_hours is None:
        raise UserError(f"--set {options.number}: expected --subset HOURS, the size of the set, found none. Add it.")
    if options.dev is not None and options.dev_hours is not None:
        raise UserError("--dev and --dev-hours: expected one of them, found both. Omit one.")
    from .lre17_segments import arrange_segments  # noqa: PLC0415

    search_cuts = not options.no_cut_search
    roots = {
        split: (root or options.corpus_folder).resolve()
        for split, root in zip(TABLES, (options.corpus_folder, options.dev, options.eval), strict=True)
    }
    describe_folder(roots["train"])
    if options.dev_hours is not None:
        del roots["dev"]
    if options.eval is None and not (roots["test"] / TABLES["test"]).is_file():
        log.info("%s: no such file, so there is no test.csv; pass its release by --eval", TABLES["test"])
        del roots["test"]
    utterances = [utterance for split, root in roots.items() for utterance in _list_split(split, root)]
    # Files without a nominal duration, which are VAST's and those of train, are whole.
    cuts = {utterance.id for utterance in utterances if search_cuts and not math.isnan(utterance.seconds)}
    return Listing(
        roots["train"],
        utterances,
        # The second is of earlier versions, whose folders are then recognised.
        {**{name: getattr(options, name) for name in DRAW}, "group_column": None, "search_cuts": search_cuts},
        clusters=CLUSTERS,
        splits=SPLITS if "test" in roots else SPLITS[:2],
        arrange=partial(arrange_segments, cuts=cuts, draw=options),
    )


def _list_split(split: str, root: Path) -> list[Utterance]:
    path = root / TABLES[split]
    if split == "dev" and not path.is_file():
        raise UserError(
            f"{path}: no such table; {root} has {describe_folder(root)}. Pass the release that has it by --dev, or "
            "draw dev from the training data by --dev-hours."
        )
    # Recordings of train are cut later, so their own durations are needed.
    key = read_table(path, (ID, CLASS), (SOURCE, *(() if split == "train" else NOMINAL_SECONDS)))
    known = sorted(code for codes in CLUSTERS.values() for code in codes)
    unknown = sorted(set(key[CLASS]) - set(known))
    if unknown:
        raise UserError(
            f"{path}: expected the 14 dialects of LRE 2017 ({enumerate_names(known)}), found "
            f"{enumerate_names(unknown)}. Use that evaluation's data."
        )
    folder = next((root / name for name in (AUDIO[split], OTHER_AUDIO) if (root / name).is_dir()), None)
    if folder is None:
        raise UserError(
            f"{root}: expected a folder {AUDIO[split]} or {OTHER_AUDIO} with audio, found {describe_folder(root)}. "
            "Pass another release."
        )
    return list_segments(path, key, split, folder, find_audio(folder))


CORPUS = listed_corpus(
    "NIST LRE 2017 (licensed by the LDC): 14 dialects, telephone and video",
    """\
lid-mapmix prepare lre17 LDC2022E16/ --out data/ --eval LDC2022E17/
lid-mapmix prepare lre17 LDC2022E16/ --out data/set1/ --eval LDC2022E17/ --subset 5 --set 1 --max-seconds 60""",
    _list,
    source="release with docs/train_info.tab",
    add_own_flags=_add_flags,
)
