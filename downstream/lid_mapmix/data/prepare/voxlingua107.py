"""VoxLingua107, YouTube in 107 languages: ``lid-mapmix prepare voxlingua107``.

The zips unpack to one folder per language; dev.zip, unpacked into the folder dev, has the same structure. A file's name
has its video, the voice in it, and its times, so that no header needs to be read. The publisher's dev is dev.csv, and
test.csv is drawn by videos from the training data.
"""

import argparse
import logging
import math
import re
from pathlib import Path

from tqdm import tqdm

from .steps.corpus import Listing, Utterance, listed_corpus
from .steps.tables import choose, file_names, language_folders

DEV_FOLDER = "dev"
EXTENSION = ".wav"
# VIDEO---0012.990-0029.860.wav, or VIDEO__U__S1---0012.990-0029.860.wav, where S1 is a voice.
NAME = re.compile(r"(?P<voice>(?P<video>.+?)(?:__U__S\d+)?)---(?P<start>\d+\.\d+)-(?P<end>\d+\.\d+)")
# Withdrawn codes of ISO 639-1.
RENAMED = {"iw": "he", "jw": "jv"}
# Of 6,628 h.
TEST_FRACTION = 0.02

log = logging.getLogger(__name__)


def _list(options: argparse.Namespace) -> Listing:
    """List the languages, and dev if it was unpacked, else it is drawn. Raises UserError: another layout."""
    corpus_folder = options.corpus_folder.resolve()
    parts = {"": _languages(corpus_folder, options.languages)}
    if (corpus_folder / DEV_FOLDER).is_dir():
        held_out = _languages(corpus_folder / DEV_FOLDER, None)
        parts["dev"] = {code: paths for code, paths in held_out.items() if code in parts[""]}
    else:
        log.info("%s: no folder %s, so dev.csv is drawn from the training data", corpus_folder, DEV_FOLDER)
    utterances = []
    for split, folders_of in parts.items():
        for code, folders in tqdm(folders_of.items(), desc=f"Listing {split or 'train'}", unit="language"):
            utterances += [utterance for path in folders for utterance in _list_folder(code, path, split)]
    nameless = sum(math.isnan(utterance.seconds) for utterance in utterances)
    if nameless:
        log.info("%d file names have no video and times; each of these files is its own group", nameless)
    return Listing(corpus_folder, utterances, {"languages": options.languages})


def _languages(folder: Path, wanted: list[str] | None) -> dict[str, list[Path]]:
    """Return current code of each language → its folders."""
    found = language_folders(
        folder,
        lambda path: path.name != DEV_FOLDER and any(file.endswith(EXTENSION) for file in file_names(path)),
        f"{EXTENSION} files, such as en/",
        "Unpack the zips there.",
    )
    codes: dict[str, list[Path]] = {}
    for name, path in found.items():
        codes.setdefault(RENAMED.get(name, name), []).append(path)
    return choose(codes, [RENAMED.get(name, name) for name in wanted] if wanted else None)


def _list_folder(code: str, folder: Path, split: str) -> list[Utterance]:
    utterances = []
    for name in file_names(folder):
        if not name.endswith(EXTENSION):
            continue
        stem = name.removesuffix(EXTENSION)
        match = NAME.fullmatch(stem)
        utterances.append(
            Utterance(
                audiopath=str(folder / name),
                class_name=code,
                id=f"{split}/{code}/{stem}".lstrip("/"),
                split=split,
                seconds=round(float(match["end"]) - float(match["start"]), 3) if match else math.nan,
                speaker=match["voice"] if match else "",
                group=match["video"] if match else f"{code}/{stem}",
                source="voxlingua107",
            )
        )
    return utterances


CORPUS = listed_corpus(
    "VoxLingua107: YouTube in 107 languages, 6,628 h",
    """\
lid-mapmix prepare voxlingua107 voxlingua107/ --out data/
lid-mapmix prepare voxlingua107 voxlingua107/ --out data/ --languages no nn sv da --max-hours-per-class 10""",
    _list,
    source="folder with one folder per language, and dev",
    languages=True,
    drawn_fraction=TEST_FRACTION,
)
