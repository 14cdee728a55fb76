"""A folder of audio, one sub-folder per class: ``lid-mapmix prepare folder``.

The audio is not copied; the manifests have absolute paths. With `--speaker-pattern`, which reads the speaker from a
file's path, no speaker is in two splits: otherwise scores measure voices as much as dialects.
"""

import argparse
import logging
import re
from collections import Counter
from pathlib import Path

from ...utils.errors import UserError
from ..audio.conversion import FOREIGN_EXTENSIONS
from ..audio.folders import EXTENSIONS, audio_below, describe_left_out
from .steps.corpus import DEFAULT_FRACTION, SPLIT_NAMES, Listing, Utterance, listed_corpus
from .steps.tables import enumerate_names, files_digest

log = logging.getLogger(__name__)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    meaning = "finds the speaker in a file's path below its class folder: the group named 'speaker', or the first group"
    parser.add_argument("--speaker-pattern", metavar="REGEX", help=meaning)


def _list(options: argparse.Namespace) -> Listing:
    """List the audio in each class's folder. Raises UserError: no class, no audio, or no speaker found."""
    audio_folder, folder = options.corpus_folder.resolve(), options.folder.resolve()
    if options.copy_audio and folder == audio_folder:
        raise UserError(f"{folder}: copies of audio would be read as a class there. Use another folder for them.")
    class_folders = _class_folders(audio_folder, folder)
    left_out: Counter[str] = Counter()
    files_of = {path.name: audio_below(path, left_out=left_out) for path in class_folders}
    if left_out:
        remedy = (
            "; convert audio to wav first: ffmpeg -i FILE.m4a FILE.wav"
            if left_out.keys() & set(FOREIGN_EXTENSIONS)
            else ""
        )
        log.info("left out: %s%s", describe_left_out(left_out), remedy)
    empty = [name for name, files in files_of.items() if not files]
    if empty:
        raise UserError(
            f"{audio_folder / empty[0]}: expected audio ({' '.join(EXTENSIONS)}), found none. Convert its files, or "
            "move the folder away if it is not a class."
        )
    files = [file for members in files_of.values() for file in members]
    ids = [file.relative_to(audio_folder).as_posix() for file in files]
    pattern = options.speaker_pattern
    speakers = [""] * len(ids) if pattern is None else _speakers(pattern, ids)
    classes = [name for name, members in files_of.items() for _ in members]
    utterances = [
        Utterance(audiopath=str(file), class_name=name, id=identifier, speaker=speaker)
        for file, name, identifier, speaker in zip(files, classes, ids, speakers, strict=True)
    ]
    return Listing(audio_folder, utterances, {"files": files_digest(files, audio_folder), "speaker_pattern": pattern})


def _class_folders(audio_folder: Path, folder: Path) -> list[Path]:
    """Return the folders of the classes, sorted, without `folder`, which is for the manifests."""
    if not audio_folder.is_dir():
        raise UserError(f"{audio_folder}: no such folder. Use a folder with one sub-folder per class.")
    classes = sorted(
        path for path in audio_folder.iterdir() if path.is_dir() and path.name[0] != "." and path.resolve() != folder
    )
    if len(classes) <= 1:
        found = f"only {classes[0].name}" if classes else "none"
        raise UserError(
            f"{audio_folder}: expected one sub-folder per class, at least two of them, found {found}. Add them."
        )
    if {path.name.lower() for path in classes} <= SPLIT_NAMES.keys():
        found = enumerate_names(path.name for path in classes)
        raise UserError(
            f"{audio_folder}: expected one sub-folder per class, found splits: {found}. "
            "Use the folder of one of them, or give the splits as NeMo's manifests to 'lid-mapmix prepare jsonl'."
        )
    return classes


def _speakers(pattern: str, ids: list[str]) -> list[str]:
    """Return the speaker of each recording."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"--speaker-pattern {pattern}: expected a regular expression, found an invalid one ({error}). Correct it."
        ) from None
    if not compiled.groups:
        raise UserError(
            f"--speaker-pattern {pattern}: expected a group, found none. Put parentheses around the speaker's part."
        )
    group = "speaker" if "speaker" in compiled.groupindex else 1
    # The class folder is not searched: speakers of the same name in two classes count as one person.
    matches = [compiled.search(name.split("/", 1)[1]) for name in ids]
    missed = [name for name, match in zip(ids, matches, strict=True) if match is None or not match[group]]
    if missed:
        found = "no file" if len(missed) == len(ids) else f"{len(ids) - len(missed)} of {len(ids)} files"
        raise UserError(
            f"--speaker-pattern {pattern}: expected a speaker in every file's path, found one in {found}, not for "
            f"example in {missed[0]}. Write it so that it matches every path below a class folder, or omit it."
        )
    return [match[group] for match in matches if match]


CORPUS = listed_corpus(
    "your own recordings, one sub-folder per class",
    """\
lid-mapmix prepare folder recordings/ --out data/
lid-mapmix prepare folder recordings/ --out data/ --speaker-pattern '(?P<speaker>spk\\d+)_'
lid-mapmix prepare folder recordings/ --out data/ --speaker-pattern '(?P<speaker>spk\\d+)_' --split-by file""",
    _list,
    source="folder with one sub-folder of audio per class",
    metavar="AUDIO_DIR",
    drawn_fraction=DEFAULT_FRACTION,
    add_own_flags=_add_flags,
)
