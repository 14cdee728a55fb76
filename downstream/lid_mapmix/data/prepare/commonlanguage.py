"""CommonLanguage, an hour of Common Voice in each of 45 languages: ``lid-mapmix prepare commonlanguage DIR OUT``.

The archive unpacks to a folder a language, with train, dev and test in it, and in these a folder a speaker.
"""

import argparse
from pathlib import Path

from ...utils.errors import UserError
from .steps.corpus import SPLITS
from .steps.listing import Utterance, prepare_listed
from .steps.options import DEFAULTS, Options, add_languages_argument, add_listing_arguments, prepare_as_asked
from .steps.tables import choose, language_folders, sub_folders

DESCRIPTION = "CommonLanguage: an hour of read sentences in each of 45 languages"
EXAMPLES = """\
lid-mapmix prepare commonlanguage CommonLanguage/common_voice_kpd/ data/
lid-mapmix prepare commonlanguage common_voice_kpd/ data/ --languages Chinese_China Chinese_Hongkong Chinese_Taiwan"""

# Some copies have another folder around those of the languages.
INNER_FOLDER = "common_voice_kpd"
EXTENSION = ".wav"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_listing_arguments(parser, "has a folder a language with train/, dev/ and test/")
    add_languages_argument(parser)


def run(arguments: argparse.Namespace) -> Path:
    """Prepare the corpus that the arguments ask for and return its folder."""
    return prepare_as_asked(prepare, arguments, languages=arguments.languages)


def prepare(
    corpus_folder: Path, folder: Path, *, languages: list[str] | None = None, options: Options = DEFAULTS
) -> Path:
    """Write manifests of CommonLanguage.

    Parameters
    ----------
    corpus_folder : has a folder a language.
    folder : where the manifests go.
    languages : names of the folders; None for all.
    options : as of all corpora.

    Raises
    ------
    UserError : another layout, a language that is not there, broken audio.
    """
    corpus_folder = corpus_folder.resolve()
    if (corpus_folder / INNER_FOLDER).is_dir():
        corpus_folder /= INNER_FOLDER
    found = language_folders(
        corpus_folder,
        lambda path: all((path / split).is_dir() for split in SPLITS),
        f"{', '.join(SPLITS)} in it, such as Welsh/",
        "Unpack CommonLanguage.tar.gz there.",
    )
    utterances = [
        Utterance(
            audiopath=str(file),
            class_name=language,
            id=file.relative_to(corpus_folder).with_suffix("").as_posix(),
            split=split,
            # A speaker's name is unique within a language only.
            speaker=f"{language}/{speaker}",
            source="commonlanguage",
        )
        for language, path in choose(found, languages, "--languages").items()
        for split in SPLITS
        for speaker, speaker_folder in sub_folders(path / split).items()
        for file in sorted(speaker_folder.rglob(f"*{EXTENSION}"))
        if not file.name.startswith(".")
    ]
    if not utterances:
        raise UserError(f"{corpus_folder}: no {EXTENSION} files in LANGUAGE/SPLIT/SPEAKER/ anywhere. Is it unpacked?")
    return prepare_listed(
        folder,
        utterances,
        corpus="commonlanguage",
        origin=corpus_folder,
        options=options,
        settings={"languages": languages},
    )
