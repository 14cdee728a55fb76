"""KeSpeech, Mandarin and its eight subdialects, read in 34 cities: ``lid-mapmix prepare kespeech``.

The task of subdialect identification has one Kaldi data directory per split, such as train_phase1, with utt2subdialect
in place of utt2lang, and paths of audio that are relative to the corpus.
"""

import argparse

from .. import SPLITS
from .kaldi import list_directory
from .steps.corpus import Listing, listed_corpus
from .steps.tables import sub_folders

TASK, LANGUAGES = "Tasks/SubdialectID", "utt2subdialect"
SUBDIALECTS = ("Beijing", "Ji-Lu", "Jiang-Huai", "Jiao-Liao", "Lan-Yin", "Northeastern", "Southwestern", "Zhongyuan")
CLUSTERS = {"mandarin": ("Mandarin", *SUBDIALECTS)}


def _list(options: argparse.Namespace) -> Listing:
    """List the splits of the task. Raises UserError: another layout."""
    folder = options.corpus_folder.resolve()
    splits = {path: name.partition("_")[0] for name, path in sub_folders(folder / TASK).items()}
    utterances = [
        utterance._replace(source="kespeech")
        for path, split in splits.items()
        if split in SPLITS
        for utterance in list_directory(path, split, folder, LANGUAGES)
    ]
    return Listing(folder, utterances, clusters=CLUSTERS)


CORPUS = listed_corpus(
    "KeSpeech: Mandarin and its eight subdialects, read in 34 cities",
    "lid-mapmix prepare kespeech KeSpeech/ --out data/",
    _list,
    source="folder with Audio/ and Tasks/",
)
