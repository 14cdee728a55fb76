"""The audio of a corpus: checking that it exists, reading its durations, copying it."""

import logging
import math
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ....utils.errors import UserError
from ...audio.lengths import Length, read_lengths
from ...audio.reading import SAMPLE_RATE
from ...audio.spans import cut_to_audio, utterance_spans
from ...manifest.manifest import Manifest
from .prepared_folder import cannot_write
from .splits import Columns, select

_AUDIO_FOLDER = "audio"

log = logging.getLogger(__name__)


def with_present_audio(columns: Columns, origin: Path, *, skip: bool) -> Columns:
    """Refuse utterances whose audio is missing, or drop them; reads each folder once.

    Raises UserError: some are missing, and not to be dropped. `origin`: of the corpus, for the error.
    """
    paths = columns["audiopath"]
    names_in: dict[str, set[str]] = {}
    present = np.ones(len(paths), dtype=bool)
    for number, path in enumerate(paths):
        folder, name = os.path.split(path)
        if folder not in names_in:
            names_in[folder] = _files_in(folder)
        present[number] = name in names_in[folder]
    missing = paths[~present]
    if len(missing) and not skip:
        raise UserError(
            f"{origin}: expected the listed audio, found {missing[0]} missing ({len(missing)} such). Unpack or restore "
            "it, or drop such utterances by --skip-bad-audio."
        )
    what = "utterances whose audio is missing" + (f", such as {missing[0]}" if len(missing) else "")
    return select(columns, present, what)


def _files_in(folder: str) -> set[str]:
    # Broken links, such as git-annex leaves for files that were not fetched, are not files.
    if not Path(folder).is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}


def within_audio(columns: Columns, origin: Path, *, skip: bool) -> Columns:
    """Set unknown durations, shorten utterances that end just after their file, and refuse others with bad audio.

    Headers are read where an utterance is a part of a file or has no duration; with `skip`, all of them. Bad audio is
    what training refuses: see :func:`~lid_mapmix.data.audio.spans.utterance_span`.

    Raises UserError: bad audio that is not to be dropped. `origin`: of the corpus, for errors.
    """
    paths, starts, ends, seconds = (columns[name] for name in ("audiopath", "start", "end", "seconds"))
    wanted = np.isnan(seconds) | ~np.isnan(ends) | (starts > 0) | skip
    if not wanted.any():
        return columns
    lengths = _read_lengths(paths[wanted])
    available = np.array([_seconds(lengths.get(path)) for path in paths])
    ends, seconds, is_cut = cut_to_audio(starts, ends, seconds, available)
    if is_cut.any():
        log.info(
            "shortened %d of %d utterances, which end up to %.3g s after their audio",
            np.count_nonzero(is_cut),
            len(paths),
            (columns["end"] - ends)[is_cut].max(),
        )
    left = np.round(np.where(np.isnan(ends), available, ends) - np.nan_to_num(starts), 3)
    columns = {**columns, "end": ends, "seconds": np.where(np.isnan(seconds), left, seconds)}
    faults: dict[int, str] = {}
    times = {name: columns[name][wanted] for name in ("audiopath", "seconds", "start", "end")}
    utterance_spans(Manifest(origin, times), faults, lengths)
    if not faults:
        return columns
    first = faults[min(faults)]
    if not skip:
        raise UserError(f"{first} ({len(faults)} such; --skip-bad-audio drops such utterances)")
    kept = np.ones(len(paths), dtype=bool)
    kept[np.flatnonzero(wanted)[list(faults)]] = False
    return select(columns, kept, f"utterances whose audio is unreadable or too short; the first: {first}")


def read_seconds(paths: Sequence[str] | np.ndarray) -> np.ndarray:
    """Read the durations of audio files, (files,) seconds. Raises UserError: an unreadable file."""
    lengths = _read_lengths(paths)
    for length in lengths.values():
        if isinstance(length, UserError):
            raise length
    return np.array([round(_seconds(lengths[path]), 3) for path in paths])


def _read_lengths(paths: Sequence[str] | np.ndarray) -> dict[str, Length]:
    files = list(dict.fromkeys(paths))
    return dict(zip(files, read_lengths(files, {}, "Reading headers"), strict=True))


def _seconds(length: Length | None) -> float:
    return length / SAMPLE_RATE if isinstance(length, int) else math.nan


def copy_audio(paths: np.ndarray, origin: Path, folder: Path) -> np.ndarray:
    """Copy audio, of absolute paths, to the folder of the manifests, and return the paths of the copies within it.

    Raises UserError: an unreadable file, or a folder that cannot be written. `origin`: files in it keep their relative
    path.
    """
    targets = {path: _AUDIO_FOLDER + "/" + _name_of_copy(Path(path), origin) for path in paths}
    for path, target in tqdm(targets.items(), desc="Copying audio", unit="file"):
        copy = folder / target
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not (copy.exists() and copy.samefile(path)):
                shutil.copyfile(path, copy)
        except OSError as error:
            # A full disk is reported for the file that is read as well.
            if error.filename == path and isinstance(error, PermissionError | FileNotFoundError):
                raise UserError(f"{path}: cannot be read ({error.strerror}). Correct its permissions.") from None
            raise cannot_write(folder, error) from None
    return np.array([targets[path] for path in paths], dtype=object)


def _name_of_copy(path: Path, origin: Path) -> str:
    # A path with .. may lead out of the folder of the copies.
    if path.is_relative_to(origin) and ".." not in path.parts:
        return path.relative_to(origin).as_posix()
    # Files of the same name from elsewhere are distinguished by their folders.
    return f"{zlib.crc32(str(path.parent).encode()):08x}/{path.name}"
