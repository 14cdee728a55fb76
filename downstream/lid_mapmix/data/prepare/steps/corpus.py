"""A corpus of ``lid-mapmix prepare``: its name, help, flags, and a function that lists its utterances.

All corpora are imported for ``lid-mapmix prepare --help``, so neither they nor this module may import anything slow at
the top: no torch, SciPy or NumPy. These are imported in functions.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ....utils.command_line import CommandParser, choices_of, number_from
from ... import SPLITS

if TYPE_CHECKING:
    from .splits import Columns

SETTINGS_FILE = "prepared.json"
DEFAULT_FRACTION = 0.15
# Usual names of splits.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
# The type of a flag that takes a number above 0.
positive = number_from(0)


class SplitBy(StrEnum):
    """Unit that is in one drawn split only; a recording (``group``) always is."""

    SPEAKER = "speaker"
    FILE = "file"


class Utterance(NamedTuple):
    """An utterance; an empty split is drawn, NaN seconds are read from the header, and other fields may be unknown."""

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


@dataclass(frozen=True)
class Listing:
    """The utterances of a corpus."""

    origin: Path  # folder or file of the corpus
    utterances: Sequence[Utterance]  # all of them
    # What else the result depends on, such as the corpus's own flags, in JSON types.
    settings: Mapping[str, object] = field(default_factory=dict)
    # Cluster → classes, of which those in train are kept; derived from the classes of train by default.
    clusters: Mapping[str, tuple[str, ...]] | None = None
    # The splits to write; by default the publisher's, or all three if some are drawn.
    splits: Sequence[str] | None = None
    # Changes the columns once durations are known, for example cuts utterances into pieces.
    arrange: "Callable[[Columns], Columns] | None" = None
    # Writes audio that is not in files as shards to a new folder, and returns the columns with its paths.
    write_audio: "Callable[[Columns, Path], Columns] | None" = None


@dataclass(frozen=True)
class Options:
    """Options of every corpus that lists its utterances."""

    # dev_fraction, test_fraction: fractions of each class's duration, if the publisher has no such split.
    dev_fraction: float = DEFAULT_FRACTION
    test_fraction: float = DEFAULT_FRACTION
    split_by: SplitBy = SplitBy.SPEAKER  # what must not be divided between drawn splits
    max_hours_per_class: float | None = None  # maximum hours per class to draw for train; None for all
    copy_audio: bool = False  # copy the audio to the folder of the manifests
    skip_bad_audio: bool = False  # drop utterances whose audio is missing or unreadable
    seed: int = 0  # of the draws
    overwrite: bool = False  # replace existing manifests


@dataclass(frozen=True)
class Corpus:
    """A corpus that ``lid-mapmix prepare NAME`` makes manifests for; its name is that of its module."""

    purpose: str  # one line for the help
    examples: str  # commands for the help
    add_flags: Callable[[CommandParser], None]  # adds its flags to a parser
    prepare: Callable[[argparse.Namespace], Path]  # prepares the corpus and returns the folder of the manifests


def listed_corpus(
    purpose: str,
    examples: str,
    list_utterances: Callable[[argparse.Namespace], Listing],
    *,
    source: str,
    metavar: str = "CORPUS_DIR",
    languages: bool = False,
    drawn_fraction: float | None = None,
    add_own_flags: Callable[[CommandParser], None] | None = None,
) -> Corpus:
    """Return a corpus that lists its utterances; :func:`.listing.prepare_listed` does the rest.

    `list_utterances`: lists them for the flags, which include ``corpus_folder``. `source`, `metavar`: for the help: the
    content of that folder, and its name. `languages`: add ``--languages``. `drawn_fraction`: default fractions of dev
    and test; None if the publisher has all splits. `add_own_flags`: adds flags of this corpus only.
    """

    def add_flags(parser: CommandParser) -> None:
        add = parser.add_argument
        add("corpus_folder", type=Path, metavar=metavar, help=source)
        add("--max-hours-per-class", type=positive, metavar="HOURS", help="maximum hours per class to draw for train")
        copied = "copy the audio to the folder of the manifests; default: do not copy"
        add("--copy-audio", action="store_true", help=copied)
        skipped = "drop utterances whose audio is missing or unreadable, and print their number; default: an error"
        add("--skip-bad-audio", action="store_true", help=skipped)
        add_common_flags(parser, drawn_fraction)
        if drawn_fraction is not None:
            units = (
                "unit that is in one drawn split only; with file, a speaker may be in several splits, and scores do "
                "not measure unseen speakers (default: %(default)s)"
            )
            add("--split-by", choices=choices_of(SplitBy), default=SplitBy.SPEAKER.value, help=units)
        if languages:
            chosen = "only these languages, by the corpus's folder names (default: all)"
            add("--languages", nargs="+", metavar="NAME", help=chosen)
        if add_own_flags is not None:
            add_own_flags(parser)

    def prepare(asked: argparse.Namespace) -> Path:
        from .listing import prepare_listed  # noqa: PLC0415

        known = vars(Options())
        options = Options(**{name: value for name, value in vars(asked).items() if name in known})
        return prepare_listed(asked.folder, list_utterances(asked), corpus=asked.corpus, options=options)

    return Corpus(purpose, examples, add_flags, prepare)


def add_common_flags(parser: CommandParser, drawn_fraction: float | None) -> None:
    """Add the flags of every corpus, and the fractions of dev and test with this default if they are drawn."""
    if drawn_fraction is not None:
        for split in SPLITS[1:]:
            flag, meaning = (
                f"--{split}-fraction",
                f"fraction of each class to draw for {split}.csv (default: %(default)s)",
            )
            parser.add_argument(flag, type=float, default=drawn_fraction, metavar="FRACTION", help=meaning)
            parser.add_deprecated(f"--{split}-share", flag)
    parser.add_seed("seed of the drawn splits")
    parser.add_overwrite("existing manifests")


def not_negative(text: str) -> float:
    """Return a number of at least 0, for argparse."""
    return 0.0 if float(text) == 0 else positive(text)
