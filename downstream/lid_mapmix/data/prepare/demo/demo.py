"""A synthetic corpus to try everything on, made in a minute: ``lid-mapmix prepare demo DIR``.

eSpeak NG says dates, prices, measures and names from CLDR in dialects of seven clusters. The dialects of a cluster say
the same things; speakers (eSpeak's voice variants) and what is said are disjoint between train, dev and test. So a
model has to go by pronunciation, and by words only where dialects truly differ in them.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from ..steps.corpus import Corpus, add_common_flags


@dataclass(frozen=True)
class Dialect:
    """One class of the demo corpus.

    Attributes
    ----------
    name : the class; named as in NIST LRE17 where that has it.
    language : name of eSpeak's language file.
    locale : CLDR's locale, for the words.
    """

    name: str
    language: str
    locale: str


CLUSTERS: dict[str, tuple[Dialect, ...]] = {
    "english": (
        Dialect("eng-car", "en-029", "en_JM"),
        Dialect("eng-gbr", "en", "en_GB"),
        Dialect("eng-sco", "en-GB-scotland", "en_GB"),
        Dialect("eng-usg", "en-US", "en_US"),
    ),
    "iberian": (
        Dialect("por-brz", "pt-BR", "pt_BR"),
        Dialect("por-eur", "pt", "pt_PT"),
        Dialect("spa-eur", "es", "es_ES"),
        Dialect("spa-lac", "es-419", "es_419"),
    ),
    # Not French: eSpeak's Belgian and Swiss voices differ from the Parisian one in a few numerals only.
    "catalan": (
        Dialect("cat-bal", "ca-ba", "ca"),
        Dialect("cat-cen", "ca", "ca"),
        Dialect("cat-val", "ca-va", "ca_ES_VALENCIA"),
    ),
    "vietnamese": (
        Dialect("vie-cen", "vi-VN-x-central", "vi"),
        Dialect("vie-nor", "vi", "vi"),
        Dialect("vie-sou", "vi-VN-x-south", "vi"),
    ),
    "slavic": (
        Dialect("qsl-pol", "pl", "pl"),
        Dialect("qsl-rus", "ru", "ru"),
        Dialect("qsl-ukr", "uk", "uk"),
    ),
    "chinese": (
        Dialect("zho-cmn", "cmn", "zh_Hans"),
        Dialect("zho-yue", "yue", "yue_Hant"),
    ),
    "armenian": (
        Dialect("hye-eas", "hy", "hy"),
        Dialect("hye-wes", "hyw", "hy"),
    ),
}

# eSpeak's voice variants that change a voice but not the language. A speaker is in one split only, as are those that
# differ in little but pitch, such as michel and Hugo, or quincy and robert.
SPEAKERS = {
    "train": (
        *("m1", "f1", "m3", "f3", "m4", "f5", "m6", "linda", "m8", "steph", "michel", "Andrea"),
        *("Mario", "belinda", "Hugo", "steph2", "pedro", "grandpa", "antonio", "anika", "croak", "iven"),
        *("gustave", "Michael"),
    ),
    "dev": ("m5", "f4", "quincy", "aunty", "max", "robert"),
    "test": ("m2", "f2", "m7", "Annie", "Denis", "grandma", "Alex", "john", "Gene", "victor", "ed", "pablo"),
}


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the audio and the manifests go")
    parser.add_argument(
        "--utterances",
        type=int,
        default=106,
        metavar="N",
        help="utterances a dialect, all splits together (default: %(default)s)",
    )
    parser.add_argument(
        "--clusters", nargs="+", choices=list(CLUSTERS), default=list(CLUSTERS), help="only these (default: all)"
    )
    add_common_flags(parser, None)


def _prepare(options: argparse.Namespace) -> Path:
    # Imported here, once the flags are known to be right: torch takes seconds.
    from .making import make_demo  # noqa: PLC0415

    return make_demo(
        options.folder,
        utterances=options.utterances,
        clusters=options.clusters,
        seed=options.seed,
        overwrite=options.overwrite,
    )


CORPUS = Corpus(
    "demo",
    "synthetic speech in 21 dialects of 7 clusters, made on the spot",
    """\
lid-mapmix prepare demo data/
lid-mapmix prepare demo data/ --utterances 50 --clusters english iberian""",
    _add_flags,
    _prepare,
)
