"""Mozilla Common Voice, read sentences in languages or accents: ``lid-mapmix prepare commonvoice``.

A release unpacks to one folder per language, with clips/ and tables in it. Classes are the languages, the accents that
speakers name as theirs (``--class accent``), or the dialects of these by a map (``--accents``). Train, dev and test are
the publisher's, which have part of the validated clips; ``--validated`` divides all of them by speakers.
"""

import argparse
import logging
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ...utils.errors import UserError
from .. import SPLITS
from .steps.corpus import DEFAULT_FRACTION, Listing, Utterance, listed_corpus, positive
from .steps.tables import choose, enumerate_names, language_folders, read_table, to_numbers

CLIPS_FOLDER = "clips"
TABLES = {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}
VALIDATED_TABLE = "validated.tsv"
DURATIONS_TABLE = "clip_durations.tsv"
SPEAKER, PATH = "client_id", "path"
# Its name in newer and in older releases.
ACCENT = ("accents", "accent")
# Separates several accents of a speaker: | in newer releases; in older ones a comma, which has a blank after it within
# an accent: "India and South Asia (India, Pakistan, Sri Lanka)" (github.com/common-voice/common-voice/issues/4794).
SEVERAL_ACCENTS = re.compile(r"\||,(?! )")
# Stands for the accent if a speaker names none, because some accents were moved to it. Only a map has its values.
VARIANT = "variant"
SHIPPED_MAP = Path(__file__).with_name("commonvoice_accents.yaml")
CLIP, MILLISECONDS = "clip", "duration[ms]"
DEFAULT_EXTENSION = ".mp3"

log = logging.getLogger(__name__)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    classes = "classes are languages, or accents that speakers name (default: %(default)s)"
    add("--class", dest="class_of", choices=("locale", "accent"), default="locale", help=classes)
    add("--accents", metavar="MAP.yaml", help="map of accents to dialects, the classes; default is the shipped map")
    divided = f"divide {VALIDATED_TABLE} by speakers, not by the publisher's splits"
    add("--validated", action="store_true", help=divided)
    add("--min-hours-per-class", type=positive, metavar="HOURS", help="drop classes with less over all splits")


def _list(options: argparse.Namespace) -> Listing:
    """List the clips of the languages.

    With ``--class accent`` classes are ``LANGUAGE-ACCENT``, without clips that have no accent or several; with
    ``--accents`` they are ``LANGUAGE-DIALECT``, without clips that have no dialect or several; with ``--validated``
    classes of fewer than three speakers are dropped.

    Raises UserError: another layout, a language that is not in the corpus, another map, or too few classes.
    """
    corpus_folder = options.corpus_folder.resolve()
    dialects = None if options.accents is None else _read_map(options.accents)
    accents, validated = options.class_of == "accent" or dialects is not None, options.validated
    folders = choose(_find_languages(corpus_folder), options.languages)
    utterances = []
    for language, path in folders.items():
        of_language = None if dialects is None else dialects.get(language, {})
        utterances += _list_language(language, path, accents=accents, dialects=of_language, validated=validated)
    if options.min_hours_per_class is not None:
        utterances = _of_frequent_classes(utterances, options.min_hours_per_class)
    if validated:
        utterances = _of_divisible_classes(utterances)
    classes = {utterance.class_name for utterance in utterances}
    if len(classes) <= 1:
        raise UserError(
            f"{corpus_folder}: expected at least two classes, found {enumerate_names(sorted(classes))}. Unpack another "
            "language beside it, or use accents as classes by --class accent."
        )
    settings = {
        "languages": options.languages,
        "accents": accents,
        "validated": validated,
        "min_hours_per_class": options.min_hours_per_class,
    }
    return Listing(corpus_folder, utterances, settings)


def _find_languages(folder: Path) -> dict[str, Path]:
    if (folder / CLIPS_FOLDER).is_dir():
        return {folder.name: folder}
    return language_folders(
        folder,
        lambda path: (path / CLIPS_FOLDER).is_dir(),
        f"{CLIPS_FOLDER}/, such as en/",
        "Unpack a release of Common Voice, and pass the folder of its languages.",
    )


def _read_map(source: str) -> dict[str, dict[str, str]]:
    """Return language → accent → dialect."""
    from ..labels import labels_from_mapping, read_yaml  # noqa: PLC0415

    path = SHIPPED_MAP if source == "default" else Path(source)
    what = "maps each language to dialects, and each dialect to the list of its accents"
    languages = read_yaml(path, what)
    if not isinstance(languages, dict):
        raise UserError(f"{path}: expected a file that {what}, found another structure. Correct it.")
    return {
        language: {
            accent: dialect
            for dialect, accents in labels_from_mapping(dialects, f"{path}: {language}").clusters.items()
            for accent in accents
        }
        for language, dialects in languages.items()
    }


def _list_language(
    language: str, folder: Path, *, accents: bool, dialects: Mapping[str, str] | None, validated: bool
) -> list[Utterance]:
    seconds = _durations(folder)
    utterances, dropped = [], Counter[str]()
    for split, name in {"": VALIDATED_TABLE}.items() if validated else TABLES.items():
        table = read_table(folder / name, (SPEAKER, PATH), (*ACCENT, VARIANT))
        accent_column = next((column for column in ACCENT if column in table), None)
        if accents and accent_column is None:
            raise UserError(
                f"{folder / name}: expected a column {' or '.join(ACCENT)}, found none. Omit --class or --accents."
            )
        nothing = [""] * len(table[PATH])
        named = table[accent_column] if accent_column else nothing
        if dialects is not None:
            named = [accent or variant for accent, variant in zip(named, table.get(VARIANT, nothing), strict=True)]
        for speaker, path, accent in zip(table[SPEAKER], table[PATH], named, strict=True):
            found = {one if dialects is None else dialects.get(one, "") for one in SEVERAL_ACCENTS.split(accent)}
            dialect = found.pop()
            if accents and (found or not dialect):
                dropped[accent] += 1
                continue
            clip = path if Path(path).suffix else path + DEFAULT_EXTENSION
            utterances.append(
                Utterance(
                    audiopath=str(folder / CLIPS_FOLDER / clip),
                    class_name=f"{language}-{dialect}" if accents else language,
                    id=f"{language}/{Path(clip).stem}",
                    split=split,
                    seconds=seconds.get(clip, math.nan),
                    speaker=speaker,
                    source="commonvoice",
                )
            )
    if dropped:
        others = enumerate_names(accent for accent, _ in dropped.most_common() if accent)
        unmapped = "" if dialects is None else f", or one that is not in the map; the most frequent: {others}"
        log.info(
            "%s: dropped %d clips whose speakers name no accent, or several%s", language, dropped.total(), unmapped
        )
    return utterances


def _durations(folder: Path) -> dict[str, float]:
    """Return clip → seconds; empty if the release has no durations, so that headers are read."""
    if not (folder / DURATIONS_TABLE).is_file():
        return {}
    table = read_table(folder / DURATIONS_TABLE, (CLIP, MILLISECONDS))
    milliseconds = to_numbers(folder / DURATIONS_TABLE, MILLISECONDS, table[MILLISECONDS])
    return {clip: value / 1000 for clip, value in zip(table[CLIP], milliseconds, strict=True) if value > 0}


def _of_divisible_classes(utterances: list[Utterance]) -> list[Utterance]:
    """Drop classes of too few speakers: most accents are named by only one."""
    speakers: dict[str, set[str]] = {}
    for utterance in utterances:
        speakers.setdefault(utterance.class_name, set()).add(utterance.speaker)
    few = {name for name, members in speakers.items() if len(members) < len(SPLITS)}
    return _without(utterances, few, f"fewer than {len(SPLITS)} speakers")


def _of_frequent_classes(utterances: list[Utterance], hours: float) -> list[Utterance]:
    seconds: dict[str, float] = {}
    for utterance in utterances:
        if math.isnan(utterance.seconds):
            raise UserError(
                f"{utterance.audiopath}: expected its duration in {DURATIONS_TABLE}, as --min-hours-per-class needs, "
                "found none. Omit the flag."
            )
        seconds[utterance.class_name] = seconds.get(utterance.class_name, 0.0) + utterance.seconds
    rare = {name for name, total in seconds.items() if total < hours * 3600}
    return _without(utterances, rare, f"less than {hours:g} h")


def _without(utterances: list[Utterance], classes: set[str], what: str) -> list[Utterance]:
    if classes:
        log.info("dropped %d classes of %s: %s", len(classes), what, enumerate_names(sorted(classes)))
    return [utterance for utterance in utterances if utterance.class_name not in classes]


CORPUS = listed_corpus(
    "Mozilla Common Voice: read sentences, classes are languages or accents",
    """\
lid-mapmix prepare commonvoice cv-corpus/ --out data/ --languages pt es ca gl --max-hours-per-class 10
lid-mapmix prepare commonvoice cv/ --out data/ --languages en --class accent --validated --min-hours-per-class 2
lid-mapmix prepare commonvoice cv/ --out data/ --languages en es --accents default --validated""",
    _list,
    source="folder with one folder per language, or folder of a language, with clips/ and train.tsv",
    languages=True,
    drawn_fraction=DEFAULT_FRACTION,
    add_own_flags=_add_flags,
)
