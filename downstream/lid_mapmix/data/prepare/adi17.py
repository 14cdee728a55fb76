"""ADI17 of the MGB-5 challenge, YouTube in the Arabic of 17 countries: ``lid-mapmix prepare adi17``.

train_segments has one folder per country; dev_segments and test_segments have a list of their files with the countries.
A file's name has its video and its times. The layout is the one that Hyperion's egs/lre22 reads.
"""

import argparse
import math
import re
from pathlib import Path

from .. import SPLITS
from .steps.corpus import Listing, Utterance, listed_corpus
from .steps.tables import file_names, read_pairs, sub_folders

AUDIO, LIST, EXTENSION = "{}_segments", "adi17_official_{}_label.txt", ".wav"
# VIDEO_055962-056391.wav, from 559.62 to 563.91 s.
NAME = re.compile(r"(?P<video>.+)_(?P<start>\d+)-(?P<end>\d+)")
# The publisher's codes that are not those of ISO 3166, which some copies have.
ISO = {
    **{"ALG": "DZA", "IRA": "IRQ", "KSA": "SAU", "KUW": "KWT", "LEB": "LBN", "LIB": "LBY", "MAU": "MRT"},
    **{"MOR": "MAR", "OMA": "OMN", "PAL": "PSE", "SUD": "SDN", "UAE": "ARE"},
}


def _list(options: argparse.Namespace) -> Listing:
    """List the segments of the splits. Raises UserError: another layout."""
    folder = options.corpus_folder.resolve()
    segments = {
        path / name: ("train", code)
        for code, path in sub_folders(folder / AUDIO.format("train")).items()
        for name in file_names(path)
        if name.endswith(EXTENSION)
    }
    for split in SPLITS[1:]:
        codes = read_pairs(folder / LIST.format(split))
        codes.pop("id", None)  # the header of some copies
        audio = folder / AUDIO.format(split)
        segments |= {audio / f"{Path(name).name}{EXTENSION}": (split, code) for name, code in codes.items()}
    return Listing(folder, [_to_utterance(path, *values) for path, values in segments.items()])


def _to_utterance(path: Path, split: str, code: str) -> Utterance:
    match = NAME.fullmatch(path.stem)
    return Utterance(
        audiopath=str(path),
        class_name=f"ara-{ISO.get(code, code)}",
        id=f"{split}/{path.stem}",
        split=split,
        seconds=(int(match["end"]) - int(match["start"])) / 100 if match else math.nan,
        group=match["video"] if match else path.stem,
        source="adi17",
    )


CORPUS = listed_corpus(
    "ADI17 (MGB-5): YouTube in the Arabic of 17 countries",
    "lid-mapmix prepare adi17 ADI17/ --out data/ --max-hours-per-class 50",
    _list,
    source="folder with train_segments/, dev_segments/, test_segments/ and the lists of labels",
)
