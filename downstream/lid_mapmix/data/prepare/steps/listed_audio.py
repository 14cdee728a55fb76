"""The audio of a corpus: checking that it exists, reading its durations, copying it."""

import math
import os
import shutil
import zlib
from collections.abc import MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ....utils.errors import UserError
from ...audio.reading import read_header
from .prepared_folder import cannot_write
from .splits import Columns, select

_HEADER_THREADS = 8
# Files queued for the threads: a queue of millions would take gigabytes, and Ctrl-C would have to wait for it.
_AT_ONCE = 1000
_AUDIO_FOLDER = "audio"


def with_present_audio(columns: Columns, origin: Path, *, skip: bool) -> Columns:
    """Refuse utterances whose audio is missing, or drop them; reads each folder once.

    Raises UserError: some are missing, and not to be dropped.

    `columns`: column name → (utterances,) values, with ``audiopath``. `origin`: of the corpus, for the error.
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


def with_seconds(columns: Columns, *, skip: bool) -> Columns:
    """Set the duration of each utterance without one, from its file's header.

    Raises UserError: unreadable files that are not to be dropped.

    `columns`: column name → (utterances,) values, with ``audiopath``, ``seconds``, ``start`` and ``end``. `skip`: read
    all headers, and drop utterances of unreadable files.
    """
    unknown = np.isnan(columns["seconds"])
    wanted = unknown | skip
    if not wanted.any():
        return columns
    paths = columns["audiopath"]
    faults: dict[str, str] = {}
    files = np.full(len(unknown), np.nan)
    files[wanted] = read_seconds(paths[wanted], faults)
    faulty = wanted & np.array([path in faults for path in paths])
    first = faults[paths[np.argmax(faulty)]] if faults else ""
    if faults and not skip:
        raise UserError(f"{first} ({np.count_nonzero(faulty)} such; --skip-bad-audio drops such utterances)")
    starts, ends = columns["start"], columns["end"]
    seconds = np.round(np.where(np.isnan(ends), files, ends) - np.nan_to_num(starts), 3)
    columns = {**columns, "seconds": np.where(unknown, seconds, columns["seconds"])}
    return select(columns, ~faulty, f"utterances whose audio is unreadable; the first: {first}")


def read_seconds(paths: Sequence[str] | np.ndarray, faults: MutableMapping[str, str] | None = None) -> np.ndarray:
    """Read the durations of audio files from their headers, in several threads and each file once.

    Returns (utterances,) seconds.

    Raises UserError: as :func:`~lid_mapmix.data.audio.reading.read_header`, for the first file with a fault.

    `paths`: (utterances,) str, the files. `faults`: if given, the faults of files are added to it, by path, and not
    raised; the duration is then NaN.
    """

    def duration(path: str) -> float:
        try:
            header = read_header(Path(path))
        except UserError as error:
            if faults is None:
                raise
            faults[path] = str(error)
            return math.nan
        return round(header.frames / header.sample_rate, 3)

    files, seconds_of = list(dict.fromkeys(paths)), {}
    with (
        tqdm(total=len(files), desc="Reading headers", unit="file") as progress,
        ThreadPoolExecutor(_HEADER_THREADS) as pool,
    ):
        for first in range(0, len(files), _AT_ONCE):
            some = files[first : first + _AT_ONCE]
            for path, seconds in zip(some, pool.map(duration, some), strict=True):
                seconds_of[path] = seconds
                progress.update()
    return np.array([seconds_of[path] for path in paths])


def copy_audio(paths: np.ndarray, origin: Path, folder: Path) -> np.ndarray:
    """Copy audio to the folder of the manifests.

    Raises UserError: an unreadable file, or a folder that cannot be written.

    Returns (utterances,) str, paths of the copies, relative to `folder`.

    `paths`: (utterances,) str, absolute. `origin`: files in it keep their relative path.
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
