"""A folder of audio, one sub-folder a class: ``lid-mapmix prepare folder AUDIO_DIR OUT_DIR``.

The audio stays where it is; the manifests name it by absolute path. Where `--speaker-pattern` can read a speaker from
a file's path, no speaker is in two splits: otherwise a score says as much about voices as about dialects.
"""

import argparse
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ...utils.errors import UserError
from ..audio.folders import audio_below
from ..audio.reading import EXTENSIONS
from .steps.corpus import fingerprint
from .steps.listing import Utterance, prepare_listed
from .steps.options import DEFAULTS, Options, add_listing_arguments, prepare_as_asked
from .steps.tables import enumerate_names

DESCRIPTION = "your own recordings, one sub-folder a class"
EXAMPLES = """\
lid-mapmix prepare folder recordings/ data/
lid-mapmix prepare folder recordings/ data/ --speaker-pattern '(?P<speaker>spk\\d+)_'"""


NAMES_OF_SPLITS = frozenset({"train", "training", "dev", "val", "valid", "validation", "test", "testing", "eval"})

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_listing_arguments(parser, "has one sub-folder of audio a class", shares=True, metavar="AUDIO_DIR")
    parser.add_argument(
        "--speaker-pattern",
        metavar="REGEX",
        help="finds the speaker in a file's path below its class folder: its group named 'speaker', or its first one",
    )


def run(arguments: argparse.Namespace) -> Path:
    """Prepare the corpus that the arguments ask for and return its folder."""
    return prepare_as_asked(prepare, arguments, speaker_pattern=arguments.speaker_pattern)


def prepare(
    audio_folder: Path, folder: Path, *, speaker_pattern: str | None = None, options: Options = DEFAULTS
) -> Path:
    """Write manifests for the audio below `audio_folder`.

    Parameters
    ----------
    audio_folder : has one sub-folder a class, with audio anywhere below it.
    folder : where the manifests go.
    speaker_pattern : regular expression whose group ``speaker``, or first group, is the speaker.
    options : as of all corpora.

    Returns
    -------
    Path : `folder`.

    Raises
    ------
    UserError : no class or no audio, a broken file, a pattern that finds no speaker, too few speakers.
    """
    audio_folder, folder = audio_folder.resolve(), folder.resolve()
    if options.copy_audio and folder == audio_folder:
        raise UserError(f"{folder}: copies of audio would be taken for a class there. Name another folder for them.")
    files_of = _list_files(audio_folder, folder)
    _say_what_is_left_out(audio_folder / name for name in files_of)
    files = [file for members in files_of.values() for file in members]
    ids = [file.relative_to(audio_folder).as_posix() for file in files]
    speakers = [""] * len(ids) if speaker_pattern is None else _speakers(speaker_pattern, ids)
    classes = [name for name, members in files_of.items() for _ in members]
    return prepare_listed(
        folder,
        [
            Utterance(audiopath=str(file), class_name=name, id=identifier, speaker=speaker)
            for file, name, identifier, speaker in zip(files, classes, ids, speakers, strict=True)
        ],
        corpus="folder",
        origin=audio_folder,
        options=options,
        settings={"files": fingerprint(files, audio_folder), "speaker_pattern": speaker_pattern},
    )


def _list_files(audio_folder: Path, folder: Path) -> dict[str, list[Path]]:
    """Return class → its audio files, sorted."""
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
    files_of = {path.name: audio_below(path) for path in classes}
    silent = [name for name, files in files_of.items() if not files]
    if silent:
        raise UserError(
            f"{audio_folder / silent[0]}: found no audio ({' '.join(EXTENSIONS)}). Convert its files, or move the "
            "folder away if it is no class."
        )
    return files_of


def _say_what_is_left_out(folders: Iterable[Path]) -> None:
    others: Counter[str] = Counter()
    for folder in folders:
        for _, _, files in os.walk(folder):
            suffixes = [os.path.splitext(name)[1] for name in files if not name.startswith(".")]  # noqa: PTH122 - quicker
            others.update(suffix for suffix in suffixes if suffix.lower() not in EXTENSIONS)
    if others:
        listed = enumerate_names(f"{count} {kind or 'without a suffix'}" for kind, count in others.most_common())
        log.info("left out what is not named %s: %s", " ".join(EXTENSIONS), listed)


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
