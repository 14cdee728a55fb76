"""FLEURS, the same sentences read in 102 languages: ``lid-mapmix prepare fleurs DIR OUT``.

google/fleurs has, below data/, a folder a language with a table and an archive a split. The splits are the publisher's,
who says that speakers of train are in no other split, and does not say who they are.
"""

import argparse
from pathlib import Path

from ...utils.errors import UserError
from .steps.corpus import SPLITS
from .steps.listing import Utterance, prepare_listed
from .steps.options import DEFAULTS, Options, add_languages_argument, add_listing_arguments, prepare_as_asked
from .steps.tables import choose, describe_folder, language_folders, read_table, to_numbers

DESCRIPTION = "FLEURS: the same sentences read in 102 languages, 12 h each"
EXAMPLES = """\
lid-mapmix prepare fleurs fleurs/data/ data/
lid-mapmix prepare fleurs fleurs/data/ data/ --languages hi_in ur_pk pa_in"""

DATA_FOLDER = "data"
AUDIO_FOLDER = "audio"
TABLES = {split: f"{split}.tsv" for split in SPLITS}
# The tables have no header.
HEADER = ("sentence", "file", "raw_transcription", "transcription", "characters", "samples", "gender")
SAMPLE_RATE = 16_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_listing_arguments(parser, "has a folder a language with train.tsv and audio/train/")
    add_languages_argument(parser)


def run(arguments: argparse.Namespace) -> Path:
    """Prepare the corpus that the arguments ask for and return its folder."""
    return prepare_as_asked(prepare, arguments, languages=arguments.languages)


def prepare(
    corpus_folder: Path, folder: Path, *, languages: list[str] | None = None, options: Options = DEFAULTS
) -> Path:
    """Write manifests of FLEURS.

    Parameters
    ----------
    corpus_folder : has a folder a language, or has data/ with them.
    folder : where the manifests go.
    languages : names of the folders; None for all.
    options : as of all corpora.

    Raises
    ------
    UserError : another layout, an archive not unpacked, a language that is not there, audio that is missing.
    """
    corpus_folder = corpus_folder.resolve()
    if corpus_folder.name != DATA_FOLDER and (corpus_folder / DATA_FOLDER).is_dir():
        corpus_folder /= DATA_FOLDER
    found = language_folders(
        corpus_folder,
        lambda path: any((path / table).is_file() for table in TABLES.values()),
        f"{TABLES['train']} in it, such as en_us/",
        "Name the folder of google/fleurs that has them.",
    )
    utterances = []
    for language, path in choose(found, languages, "--languages").items():
        for split in SPLITS:
            utterances += _list(language, path, split)
    return prepare_listed(
        folder,
        utterances,
        corpus="fleurs",
        origin=corpus_folder,
        options=options,
        settings={"languages": languages},
    )


def _list(language: str, folder: Path, split: str) -> list[Utterance]:
    audio = folder / AUDIO_FOLDER / split
    if not audio.is_dir():
        archive = audio.with_name(f"{split}.tar.gz")
        hint = f"Unpack it: tar -xzf {archive} -C {archive.parent}" if archive.is_file() else "Fetch it."
        raise UserError(f"{audio}: no such folder; {folder} holds {describe_folder(folder)}. {hint}")
    table = read_table(folder / TABLES[split], ("file", "samples"), header=HEADER)
    counts = to_numbers(folder / TABLES[split], "samples", table["samples"])
    return [
        Utterance(
            audiopath=str(audio / name),
            class_name=language,
            id=f"{language}/{split}/{Path(name).stem}",
            split=split,
            seconds=round(samples / SAMPLE_RATE, 3),
            source="fleurs",
        )
        for name, samples in zip(table["file"], counts, strict=True)
    ]
