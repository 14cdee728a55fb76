"""A corpus of ``lid-mapmix prepare``: its name, its help, its flags, and a function that lists its utterances.

All corpora are imported for ``lid-mapmix prepare --help``, so nothing on top of them or of this module may be slow to
import: no torch, SciPy or NumPy. What needs them is imported where the work begins.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ....utils.argument_types import choices_of, whole_number_from
from ... import SPLITS

if TYPE_CHECKING:
    from .splits import Columns

SETTINGS_FILE = "prepared.json"
DEFAULT_SHARE = 0.15


class SplitBy(StrEnum):
    """What is in one split only where splits are drawn; a recording (``group``) always is."""

    SPEAKER = "speaker"
    FILE = "file"


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


@dataclass(frozen=True)
class Listing:
    """What a corpus lists.

    Attributes
    ----------
    origin : where it lies, or what lists it.
    utterances : all of them.
    settings : what else the result depends on, such as the corpus's own flags; has to survive JSON.
    clusters : cluster → classes, of which those stay that train has; derived from train's classes by default.
    splits : those that will be there; by default those of the publisher, or all three where some are drawn.
    arrange : changes the columns once durations are known, such as to cut utterances into pieces.
    """

    origin: Path
    utterances: Sequence[Utterance]
    settings: Mapping[str, object] = field(default_factory=dict)
    clusters: Mapping[str, tuple[str, ...]] | None = None
    splits: Sequence[str] | None = None
    arrange: "Callable[[Columns], Columns] | None" = None


@dataclass(frozen=True)
class Options:
    """What can be asked of every corpus that lists its utterances.

    Attributes
    ----------
    dev_share, test_share : wanted shares of each class's duration, where the publisher has no such split.
    split_by : what is in one split only.
    max_hours_per_class : so much of a class is drawn for train at most; None for all.
    copy_audio : copy the audio beside the manifests.
    skip_bad_audio : leave out utterances whose audio is not there or cannot be read.
    seed : another seed, other draws.
    overwrite : replace manifests that are already there.
    """

    dev_share: float = DEFAULT_SHARE
    test_share: float = DEFAULT_SHARE
    split_by: SplitBy = SplitBy.SPEAKER
    max_hours_per_class: float | None = None
    copy_audio: bool = False
    skip_bad_audio: bool = False
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class Corpus:
    """A corpus that ``lid-mapmix prepare NAME`` makes manifests of.

    Attributes
    ----------
    name : that of its module too.
    purpose : a line for the help.
    examples : commands for the help.
    add_flags : adds its flags to a parser.
    prepare : does what the flags ask for, and returns the folder of the manifests.
    """

    name: str
    purpose: str
    examples: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    prepare: Callable[[argparse.Namespace], Path]


def listed_corpus(
    name: str,
    purpose: str,
    examples: str,
    list_utterances: Callable[[argparse.Namespace], Listing],
    *,
    source: str,
    metavar: str = "CORPUS_DIR",
    languages: bool = False,
    drawn_share: float | None = None,
    add_own_flags: Callable[[argparse.ArgumentParser], None] | None = None,
) -> Corpus:
    """Return a corpus that lists its utterances; :func:`.listing.prepare_listed` does the rest.

    Parameters
    ----------
    name, purpose, examples : as of all corpora.
    list_utterances : lists what the flags ask for, ``corpus_folder`` among them.
    source, metavar : for the help: what the corpus's folder has, and the word for it.
    languages : has a flag ``--languages`` that takes some of them.
    drawn_share : default of the flags for the shares of dev and test; None where the publisher has all splits.
    add_own_flags : adds flags that only this corpus has.
    """

    def add_flags(parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("corpus_folder", type=Path, metavar=metavar, help=source)
        add("folder", type=Path, metavar="OUT_DIR", help="where the manifests go")
        add(
            "--max-hours-per-class", type=positive, metavar="HOURS", help="draw so much of each class for train at most"
        )
        add(
            "--copy-audio", action="store_true", help="copy the audio beside the manifests; it stays in place otherwise"
        )
        add(
            "--skip-bad-audio",
            action="store_true",
            help="leave out utterances whose audio is not there or cannot be read, and say how many; "
            "an error otherwise",
        )
        add_common_flags(parser, drawn_share)
        if drawn_share is not None:
            add(
                "--split-by",
                choices=choices_of(SplitBy),
                default=SplitBy.SPEAKER.value,
                help="what is in one split only where splits are drawn; with file, a speaker may be in several, and "
                "scores say nothing about other speakers (default: %(default)s)",
            )
        if languages:
            add(
                "--languages",
                nargs="+",
                metavar="NAME",
                help="only these, as the corpus names their folders (default: all)",
            )
        if add_own_flags is not None:
            add_own_flags(parser)

    def prepare(asked: argparse.Namespace) -> Path:
        from .listing import prepare_listed  # noqa: PLC0415

        known = vars(Options())
        options = Options(**{name: value for name, value in vars(asked).items() if name in known})
        return prepare_listed(asked.folder, list_utterances(asked), corpus=name, options=options)

    return Corpus(name, purpose, examples, add_flags, prepare)


def add_common_flags(parser: argparse.ArgumentParser, drawn_share: float | None) -> None:
    """Add the flags that every corpus has, and the shares of dev and test with this default where they are drawn."""
    if drawn_share is not None:
        for split in SPLITS[1:]:
            parser.add_argument(
                f"--{split}-share",
                type=float,
                default=drawn_share,
                metavar="SHARE",
                help=f"share of the recordings that goes to {split}.csv where it is drawn (default: %(default)s)",
            )
    parser.add_argument(
        "--seed", type=whole_number_from(0), default=0, help="another seed draws other splits (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace manifests that are already there")


def positive(text: str) -> float:
    """Read a number above 0, for argparse."""
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return float(text)


def not_negative(text: str) -> float:
    """Read a number of 0 or above, for argparse."""
    return 0.0 if float(text) == 0 else positive(text)
