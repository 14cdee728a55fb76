"""A folder of audio, one sub-folder a class: ``lid-mapmix prepare folder AUDIO_DIR OUT_DIR``.

The audio stays where it is; the manifests name it by absolute path. Where `--speaker-pattern` can read a speaker from
a file's path, no speaker is in two splits: otherwise a score says as much about voices as about dialects.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..audio import EXTENSIONS
from ..audio_files import audio_below
from ..labels import labels_from_manifest
from ..manifest import Manifest
from .corpus import DEFAULT_SHARE, add_common_arguments, divide, fingerprint, needs_preparation, write_corpus
from .splitting import check_shares, split_units
from .tables import read_seconds

DESCRIPTION = "your own recordings, one sub-folder a class"
EXAMPLES = """\
lid-mapmix prepare folder recordings/ data/
lid-mapmix prepare folder recordings/ data/ --speaker-pattern '(?P<speaker>spk\\d+)_'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("audio_folder", type=Path, metavar="AUDIO_DIR", help="has one sub-folder of audio a class")
    parser.add_argument("folder", type=Path, metavar="OUT_DIR", help="where the manifests go")
    parser.add_argument(
        "--speaker-pattern",
        metavar="REGEX",
        help="finds the speaker in a file's path below its class folder: its group named 'speaker', or its first one",
    )
    add_common_arguments(parser, shares=True)


def run(arguments: argparse.Namespace) -> Path:
    """Prepare the corpus that the arguments ask for and return its folder."""
    return prepare(
        arguments.audio_folder,
        arguments.folder,
        speaker_pattern=arguments.speaker_pattern,
        dev_share=arguments.dev_share,
        test_share=arguments.test_share,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
    )


def prepare(
    audio_folder: Path,
    folder: Path,
    *,
    speaker_pattern: str | None = None,
    dev_share: float = DEFAULT_SHARE,
    test_share: float = DEFAULT_SHARE,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write manifests for the audio below `audio_folder`.

    Parameters
    ----------
    audio_folder : has one sub-folder a class, with audio anywhere below it.
    folder : where the manifests go.
    speaker_pattern : regular expression whose group ``speaker``, or first group, is the speaker.
    dev_share, test_share : wanted shares of each class's duration.
    seed : another seed, another division.
    overwrite : replace manifests that are already there.

    Returns
    -------
    Path : `folder`.

    Raises
    ------
    UserError : no class or no audio, a broken file, a pattern that finds no speaker, too few speakers.
    """
    check_shares(dev_share, test_share)
    audio_folder, folder = audio_folder.resolve(), folder.resolve()
    files_of = _list_files(audio_folder, folder)
    files = [file for members in files_of.values() for file in members]
    settings = {
        "corpus": "folder",
        "audio": str(audio_folder),
        "files": len(files),
        "fingerprint": fingerprint(files, audio_folder),
        "speaker_pattern": speaker_pattern,
        "dev_share": dev_share,
        "test_share": test_share,
        "seed": seed,
    }
    if not needs_preparation(folder, settings, overwrite=overwrite):
        return folder

    ids = [file.relative_to(audio_folder).as_posix() for file in files]
    columns = {
        "audiopath": np.array([str(file) for file in files]),
        "class": np.repeat(list(files_of), [len(members) for members in files_of.values()]),
    }
    if speaker_pattern is not None:
        columns["speaker"] = _speakers(speaker_pattern, ids)
    columns["seconds"] = read_seconds(files)
    columns["id"] = np.array(ids)
    splits = split_units(
        columns.get("speaker", columns["id"]),
        columns["class"],
        columns["seconds"],
        unit_name="recording" if speaker_pattern is None else "speaker",
        dev_share=dev_share,
        test_share=test_share,
        seed=seed,
    )
    order = ("audiopath", "class", "seconds", "id", "speaker")
    ordered = {name: columns[name] for name in order if name in columns}
    labels = labels_from_manifest(Manifest(folder / "train.csv", ordered))
    return write_corpus(folder, settings, divide(ordered, splits), labels)


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
    files_of = {path.name: audio_below(path) for path in classes}
    silent = [name for name, files in files_of.items() if not files]
    if silent:
        raise UserError(
            f"{audio_folder / silent[0]}: found no audio ({' '.join(EXTENSIONS)}). Convert its files, or move the "
            "folder away if it is no class."
        )
    return files_of


def _speakers(pattern: str, ids: list[str]) -> np.ndarray:
    """Return the speaker of each recording, (recordings,) str."""
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
    return np.array([match[group] for match in matches if match])
