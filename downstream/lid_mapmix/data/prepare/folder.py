"""A folder of audio, one sub-folder a class: ``lid-mapmix prepare folder AUDIO_DIR OUT_DIR``.

The audio stays where it is; the manifests name it by absolute path. Where `--speaker-pattern` can read a speaker from
a file's path, no speaker is in two splits: otherwise a score says as much about voices as about dialects.
"""

import argparse
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...utils.errors import UserError
from ..audio.folders import EXTENSIONS, audio_below
from .steps.corpus import DEFAULT_SHARE, Listing, Utterance, listed_corpus
from .steps.tables import enumerate_names, fingerprint

NAMES_OF_SPLITS = frozenset({"train", "training", "dev", "val", "valid", "validation", "test", "testing", "eval"})

log = logging.getLogger(__name__)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--speaker-pattern",
        metavar="REGEX",
        help="finds the speaker in a file's path below its class folder: its group named 'speaker', or its first one",
    )


def _list(options: argparse.Namespace) -> Listing:
    """List the audio below each class's folder.

    Raises
    ------
    UserError : no class or no audio, a pattern that finds no speaker.
    """
    audio_folder, folder = options.corpus_folder.resolve(), options.folder.resolve()
    if options.copy_audio and folder == audio_folder:
        raise UserError(f"{folder}: copies of audio would be taken for a class there. Name another folder for them.")
    class_folders = _class_folders(audio_folder, folder)
    files_of = {path.name: audio_below(path) for path in class_folders}
    silent = [name for name, files in files_of.items() if not files]
    if silent:
        raise UserError(
            f"{audio_folder / silent[0]}: found no audio ({' '.join(EXTENSIONS)}). Convert its files, or move the "
            "folder away if it is no class."
        )
    _say_what_is_left_out(class_folders, EXTENSIONS)
    files = [file for members in files_of.values() for file in members]
    ids = [file.relative_to(audio_folder).as_posix() for file in files]
    pattern = options.speaker_pattern
    speakers = [""] * len(ids) if pattern is None else _speakers(pattern, ids)
    classes = [name for name, members in files_of.items() for _ in members]
    utterances = [
        Utterance(audiopath=str(file), class_name=name, id=identifier, speaker=speaker)
        for file, name, identifier, speaker in zip(files, classes, ids, speakers, strict=True)
    ]
    return Listing(audio_folder, utterances, {"files": fingerprint(files, audio_folder), "speaker_pattern": pattern})


def _class_folders(audio_folder: Path, folder: Path) -> list[Path]:
    """Return the folders of the classes, sorted; `folder` is for the manifests."""
    if not audio_folder.is_dir():
        raise UserError(f"{audio_folder}: no such folder. Name the folder that has one sub-folder a class.")
    classes = sorted(
        path for path in audio_folder.iterdir() if path.is_dir() and path.name[0] != "." and path.resolve() != folder
    )
    if len(classes) <= 1:
        found = f"only {classes[0].name}" if classes else "no sub-folder"
        raise UserError(f"{audio_folder}: found {found} where one sub-folder a class is expected, two or more of them.")
    if {path.name.lower() for path in classes} <= NAMES_OF_SPLITS:
        found = enumerate_names(path.name for path in classes)
        raise UserError(
            f"{audio_folder}: expected one sub-folder a class, found splits: {found}. "
            "Name the folder of one of them, or give the splits as NeMo's manifests to 'lid-mapmix prepare jsonl'."
        )
    return classes


def _say_what_is_left_out(folders: Iterable[Path], extensions: Sequence[str]) -> None:
    others: Counter[str] = Counter()
    for folder in folders:
        for _, _, files in os.walk(folder):
            suffixes = [os.path.splitext(name)[1] for name in files if not name.startswith(".")]  # noqa: PTH122 - quicker
            others.update(suffix for suffix in suffixes if suffix.lower() not in extensions)
    if others:
        listed = enumerate_names(f"{count} {kind or 'without a suffix'}" for kind, count in others.most_common())
        log.info("left out what is not named %s: %s", " ".join(extensions), listed)


def _speakers(pattern: str, ids: list[str]) -> list[str]:
    """Return the speaker of each recording."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--speaker-pattern {pattern}: is no regular expression ({error}). Correct it.") from None
    if not compiled.groups:
        raise UserError(
            f"--speaker-pattern {pattern}: has no group. Put parentheses around the part that is the speaker."
        )
    group = "speaker" if "speaker" in compiled.groupindex else 1
    # The class folder is not searched: two classes' speakers of one name are taken for one person.
    matches = [compiled.search(name.split("/", 1)[1]) for name in ids]
    missed = [name for name, match in zip(ids, matches, strict=True) if match is None or not match[group]]
    if missed:
        found = "no file" if len(missed) == len(ids) else f"{len(ids) - len(missed)} of {len(ids)} files"
        raise UserError(
            f"--speaker-pattern {pattern}: finds a speaker in {found}, not for example in {missed[0]}. "
            "Write it so that it fits every path below a class folder, or leave it out."
        )
    return [match[group] for match in matches if match]


CORPUS = listed_corpus(
    "folder",
    "your own recordings, one sub-folder a class",
    """\
lid-mapmix prepare folder recordings/ data/
lid-mapmix prepare folder recordings/ data/ --speaker-pattern '(?P<speaker>spk\\d+)_'
lid-mapmix prepare folder recordings/ data/ --speaker-pattern '(?P<speaker>spk\\d+)_' --split-by file""",
    _list,
    source="has one sub-folder of audio a class",
    metavar="AUDIO_DIR",
    drawn_share=DEFAULT_SHARE,
    add_own_flags=_add_flags,
)
