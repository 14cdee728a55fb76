"""CommonLanguage, an hour of Common Voice in each of 45 languages: ``lid-mapmix prepare commonlanguage``.

The archive unpacks to one folder per language, with train, dev and test in it, and in these one folder per speaker.
"""

import argparse

from ...utils.errors import UserError
from .. import SPLITS
from .steps.corpus import Listing, Utterance, listed_corpus
from .steps.tables import choose, language_folders, sub_folders

# Some copies have another folder around those of the languages.
INNER_FOLDER = "common_voice_kpd"
EXTENSION = ".wav"


def _list(options: argparse.Namespace) -> Listing:
    """List the files of the languages. Raises UserError: another layout, or a language that is not in the corpus."""
    corpus_folder = options.corpus_folder.resolve()
    if (corpus_folder / INNER_FOLDER).is_dir():
        corpus_folder /= INNER_FOLDER
    found = language_folders(
        corpus_folder,
        lambda path: all((path / split).is_dir() for split in SPLITS),
        f"{', '.join(SPLITS)}, such as Welsh/",
        "Unpack CommonLanguage.tar.gz there.",
    )
    utterances = [
        Utterance(
            audiopath=str(file),
            class_name=language,
            id=file.relative_to(corpus_folder).with_suffix("").as_posix(),
            split=split,
            # Speaker names are unique only within a language.
            speaker=f"{language}/{speaker}",
            source="commonlanguage",
        )
        for language, path in choose(found, options.languages).items()
        for split in SPLITS
        for speaker, speaker_folder in sub_folders(path / split).items()
        for file in sorted(speaker_folder.rglob(f"*{EXTENSION}"))
        if not file.name.startswith(".")
    ]
    if not utterances:
        raise UserError(
            f"{corpus_folder}: expected {EXTENSION} files in LANGUAGE/SPLIT/SPEAKER/, found none. Unpack the archive."
        )
    return Listing(corpus_folder, utterances, {"languages": options.languages})


CORPUS = listed_corpus(
    "CommonLanguage: an hour of read sentences in each of 45 languages",
    """\
lid-mapmix prepare commonlanguage CommonLanguage/common_voice_kpd/ --out data/
lid-mapmix prepare commonlanguage common_voice_kpd/ --out data/ --languages Chinese_China Chinese_Hongkong""",
    _list,
    source="folder with one folder per language, which has train/, dev/ and test/",
    languages=True,
)
