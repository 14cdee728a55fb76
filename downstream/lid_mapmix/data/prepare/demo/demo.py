"""A synthetic corpus to try everything on, made in a minute: ``lid-mapmix prepare demo``.

eSpeak NG speaks dates, prices, measures and names from CLDR in dialects of seven clusters. The dialects of a cluster
have the same phrases; speakers (eSpeak's voice variants) and phrases are disjoint between train, dev and test. So a
model must use pronunciation, and can use words only where dialects differ in them.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from ....utils.command_line import CommandParser
from ..steps.corpus import Corpus, add_common_flags


@dataclass(frozen=True)
class Dialect:
    """One class of the demo corpus."""

    name: str  # the class; NIST LRE17's name if it has one
    language: str  # name of eSpeak's language file
    locale: str  # CLDR's locale, for the words


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
    # Not French: eSpeak's Belgian and Swiss voices differ from the Parisian one only in some numerals.
    "catalan": (
        Dialect("cat-bal", "ca-ba", "ca"),
        Dialect("cat-cen", "ca", "ca"),
        Dialect("cat-val", "ca-va", "ca_ES_VALENCIA"),
    ),
    # Not central Vietnamese: even plain training does not tell eSpeak's voice from the other two.
    "vietnamese": (Dialect("vie-nor", "vi", "vi"), Dialect("vie-sou", "vi-VN-x-south", "vi")),
    "slavic": (Dialect("qsl-pol", "pl", "pl"), Dialect("qsl-rus", "ru", "ru"), Dialect("qsl-ukr", "uk", "uk")),
    "chinese": (Dialect("zho-cmn", "cmn", "zh_Hans"), Dialect("zho-yue", "yue", "yue_Hant")),
    "armenian": (Dialect("hye-eas", "hy", "hy"), Dialect("hye-wes", "hyw", "hy")),
}

# eSpeak's voice variants that change the voice but not the language, without those of a loud echo. A speaker is in one
# split only, and so is a family of variants made from each other, such as steph and steph2.
SPEAKERS = {
    "train": (
        *("m1", "f1", "m3", "f3", "m4", "f5", "m6", "linda", "m8", "steph", "michel", "Andrea"),
        *("Alex", "Diogo", "Gene", "anika", "Jacky", "david", "belinda", "Michael", "grandma", "Lee", "travis"),
        "shelby",
    ),
    "dev": ("m5", "f4", "quincy", "gustave", "ed", "Nguyen"),
    "test": ("m2", "f2", "m7", "Annie", "Denis", "Mario", "aunty", "adam", "grandpa", "victor", "iven", "benjamin"),
}


def _add_flags(parser: CommandParser) -> None:
    meaning, names = "utterances per dialect, over all splits (default: %(default)s)", list(CLUSTERS)
    parser.add_argument("--utterances", type=int, default=106, metavar="N", help=meaning)
    parser.add_argument("--clusters", nargs="+", choices=names, default=names, help="clusters to make (default: all)")
    add_common_flags(parser, None)


def _prepare(options: argparse.Namespace) -> Path:
    # Imported after the flags are parsed, because torch takes seconds to import.
    from .making import make_demo  # noqa: PLC0415

    given = {name: getattr(options, name) for name in ("utterances", "clusters", "seed", "overwrite")}
    return make_demo(options.folder, **given)


CORPUS = Corpus(
    "synthetic speech in 20 dialects of 7 clusters, generated locally",
    """\
lid-mapmix prepare demo --out data/
lid-mapmix prepare demo --out data/ --utterances 50 --clusters english iberian""",
    _add_flags,
    _prepare,
)
