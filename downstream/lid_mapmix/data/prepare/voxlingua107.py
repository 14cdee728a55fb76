"""VoxLingua107, YouTube in 107 languages: ``lid-mapmix prepare voxlingua107 DIR OUT``.

The zips unpack to a folder a language; dev.zip, unpacked into the folder dev, to the same within it. A file's name has
its video, the voice within it, and its times, so that no header has to be read. The publisher's dev is dev.csv, and
test.csv is drawn, by videos, from the training data.
"""

import argparse
import logging
import math
import re
from pathlib import Path

from tqdm import tqdm

from .steps.listing import Utterance, prepare_listed
from .steps.options import DEFAULTS, Options, add_languages_argument, add_listing_arguments, prepare_as_asked
from .steps.tables import choose, file_names, language_folders

DESCRIPTION = "VoxLingua107: YouTube in 107 languages, 6,628 h"
EXAMPLES = """\
lid-mapmix prepare voxlingua107 voxlingua107/ data/
lid-mapmix prepare voxlingua107 voxlingua107/ data/ --languages no nn sv da --max-hours-per-class 10"""

DEV_FOLDER = "dev"
EXTENSION = ".wav"
# VIDEO---0012.990-0029.860.wav, or VIDEO__U__S1---0012.990-0029.860.wav, S1 being a voice.
NAME = re.compile(r"(?P<voice>(?P<video>.+?)(?:__U__S\d+)?)---(?P<start>\d+\.\d+)-(?P<end>\d+\.\d+)")
# Codes that ISO 639-1 has withdrawn.
RENAMED = {"iw": "he", "jw": "jv"}
# Of 6,628 h.
TEST_SHARE = 0.02

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_listing_arguments(parser, "has a folder a language, and dev", shares=True, share=TEST_SHARE)
    add_languages_argument(parser)


def run(arguments: argparse.Namespace) -> Path:
    """Prepare the corpus that the arguments ask for and return its folder."""
    return prepare_as_asked(prepare, arguments, languages=arguments.languages)


def prepare(
    corpus_folder: Path,
    folder: Path,
    *,
    languages: list[str] | None = None,
    options: Options = DEFAULTS,
) -> Path:
    """Write manifests of VoxLingua107.

    Parameters
    ----------
    corpus_folder : has a folder a language, and dev with the same if it was unpacked.
    folder : where the manifests go.
    languages : codes, today's or those of the folders; None for all.
    options : as of all corpora. Without dev, dev.csv is drawn too.

    Raises
    ------
    UserError : another layout, a language that is not there, audio that is missing, too few videos.
    """
    corpus_folder = corpus_folder.resolve()
    parts = {"": _languages(corpus_folder, languages)}
    if (corpus_folder / DEV_FOLDER).is_dir():
        held_out = _languages(corpus_folder / DEV_FOLDER, None)
        parts["dev"] = {code: paths for code, paths in held_out.items() if code in parts[""]}
    else:
        log.info("%s has no folder %s, so dev.csv is drawn from the training data", corpus_folder, DEV_FOLDER)
    utterances = []
    for split, folders_of in parts.items():
        for code, folders in tqdm(folders_of.items(), desc=f"Listing {split or 'train'}", unit="language"):
            utterances += [utterance for path in folders for utterance in _list(code, path, split)]
    nameless = sum(math.isnan(utterance.seconds) for utterance in utterances)
    if nameless:
        log.info("%d names have no video and times: each of these files is a group of its own", nameless)
    return prepare_listed(
        folder,
        utterances,
        corpus="voxlingua107",
        origin=corpus_folder,
        options=options,
        settings={"languages": languages},
    )


def _languages(folder: Path, wanted: list[str] | None) -> dict[str, list[Path]]:
    """Return today's code of each language → its folders."""
    found = language_folders(
        folder,
        lambda path: path.name != DEV_FOLDER and any(file.endswith(EXTENSION) for file in file_names(path)),
        f"{EXTENSION} files, such as en/",
        "Unpack the zips there.",
    )
    codes: dict[str, list[Path]] = {}
    for name, path in found.items():
        codes.setdefault(RENAMED.get(name, name), []).append(path)
    return choose(codes, [RENAMED.get(name, name) for name in wanted] if wanted else None, "--languages")


def _list(code: str, folder: Path, split: str) -> list[Utterance]:
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
