"""FLEURS, the same sentences read in 102 languages: ``lid-mapmix prepare fleurs``.

google/fleurs has, below data/, one folder per language with one table and one archive per split. The splits are the
publisher's: speakers of train are in no other split, but speakers are not named.
"""

import argparse
from pathlib import Path

from ...utils.errors import UserError
from .. import SPLITS
from .steps.corpus import Listing, Utterance, listed_corpus
from .steps.tables import choose, describe_folder, language_folders, read_table, to_numbers

DATA_FOLDER = "data"
AUDIO_FOLDER = "audio"
TABLES = {split: f"{split}.tsv" for split in SPLITS}
# The tables have no header.
HEADER = ("sentence", "file", "raw_transcription", "transcription", "characters", "samples", "gender")
SAMPLE_RATE = 16_000


def _list(options: argparse.Namespace) -> Listing:
    """List the splits of the languages. Raises UserError: another layout, or a language that is not there."""
    corpus_folder = options.corpus_folder.resolve()
    if corpus_folder.name != DATA_FOLDER and (corpus_folder / DATA_FOLDER).is_dir():
        corpus_folder /= DATA_FOLDER
    found = language_folders(
        corpus_folder,
        lambda path: any((path / table).is_file() for table in TABLES.values()),
        f"{TABLES['train']}, such as en_us/",
        "Pass the folder of google/fleurs that has them.",
    )
    utterances = [
        utterance
        for language, path in choose(found, options.languages).items()
        for split in SPLITS
        for utterance in _list_split(language, path, split)
    ]
    return Listing(corpus_folder, utterances, {"languages": options.languages})


def _list_split(language: str, folder: Path, split: str) -> list[Utterance]:
    audio = folder / AUDIO_FOLDER / split
    if not audio.is_dir():
        archive = audio.with_name(f"{split}.tar.gz")
        hint = f"Unpack it: tar -xzf {archive} -C {archive.parent}" if archive.is_file() else "Download it."
        raise UserError(f"{audio}: no such folder; {folder} has {describe_folder(folder)}. {hint}")
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


CORPUS = listed_corpus(
    "FLEURS: the same sentences read in 102 languages, 12 h each",
    """\
lid-mapmix prepare fleurs fleurs/data/ --out data/
lid-mapmix prepare fleurs fleurs/data/ --out data/ --languages hi_in ur_pk pa_in""",
    _list,
    source="folder with one folder per language, which has train.tsv and audio/train/",
    languages=True,
)
