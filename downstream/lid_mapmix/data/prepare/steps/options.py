"""What can be asked of every corpus, most of it of those that list their utterances, and the flags for it."""

import argparse
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ....utils.argument_types import whole_number
from .corpus import SPLITS

DEFAULT_SHARE = 0.15


@dataclass(frozen=True)
class Options:
    """What can be asked of every corpus that lists its utterances.

    Attributes
    ----------
    dev_share, test_share : wanted shares of each class's duration, where the publisher has no such split.
    max_hours_per_class : so much of a class is drawn for train at most; None for all.
    copy_audio : copy the audio beside the manifests.
    skip_bad_audio : leave out utterances whose audio is not there or cannot be read.
    seed : another seed, other draws.
    overwrite : replace manifests that are already there.
    """

    dev_share: float = DEFAULT_SHARE
    test_share: float = DEFAULT_SHARE
    max_hours_per_class: float | None = None
    copy_audio: bool = False
    skip_bad_audio: bool = False
    seed: int = 0
    overwrite: bool = False


DEFAULTS = Options()


def add_common_arguments(parser: argparse.ArgumentParser, *, shares: bool, share: float = DEFAULT_SHARE) -> None:
    """Add the flags that every corpus has, and the shares of dev and test (by default `share`) where they are drawn."""
    if shares:
        for split in SPLITS[1:]:
            parser.add_argument(
                f"--{split}-share",
                type=float,
                default=share,
                metavar="SHARE",
                help=f"share of the recordings that goes to {split}.csv where it is drawn (default: %(default)s)",
            )
    parser.add_argument(
        "--seed", type=whole_number, default=0, help="another seed draws other splits (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace manifests that are already there")


def add_listing_arguments(
    parser: argparse.ArgumentParser,
    corpus_help: str,
    *,
    shares: bool = False,
    share: float = DEFAULT_SHARE,
    metavar: str = "CORPUS_DIR",
) -> None:
    """Add the two folders and the flags that every such corpus has; see :func:`add_common_arguments`."""
    parser.add_argument("corpus_folder", type=Path, metavar=metavar, help=corpus_help)
    parser.add_argument("folder", type=Path, metavar="OUT_DIR", help="where the manifests go")
    parser.add_argument(
        "--max-hours-per-class", type=positive, metavar="HOURS", help="draw so much of each class for train at most"
    )
    parser.add_argument(
        "--copy-audio", action="store_true", help="copy the audio beside the manifests; it stays in place otherwise"
    )
    parser.add_argument(
        "--skip-bad-audio",
        action="store_true",
        help="leave out utterances whose audio is not there or cannot be read, and say how many; an error otherwise",
    )
    add_common_arguments(parser, shares=shares, share=share)


def add_languages_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag that takes some of a corpus's languages."""
    parser.add_argument(
        "--languages", nargs="+", metavar="NAME", help="only these, as the corpus names their folders (default: all)"
    )


def positive(text: str) -> float:
    """Read a number above 0, for argparse."""
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return float(text)


def not_negative(text: str) -> float:
    """Read a number of 0 or above, for argparse."""
    return 0.0 if float(text) == 0 else positive(text)


def prepare_as_asked(prepare: Callable[..., Path], arguments: argparse.Namespace, **others: object) -> Path:
    """Call a corpus's `prepare` with the folders and options that the flags ask for, and with its own arguments."""
    return prepare(arguments.corpus_folder, arguments.folder, options=options_from(arguments), **others)


def options_from(arguments: argparse.Namespace) -> Options:
    """Return what the flags of :func:`add_listing_arguments` ask for."""
    return Options(**{name: getattr(arguments, name, default) for name, default in asdict(DEFAULTS).items()})
