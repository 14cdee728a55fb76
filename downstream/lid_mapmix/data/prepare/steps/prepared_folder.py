"""A prepared folder: whether it is one already, and the files that make it one, which are written last.

A folder is prepared when train.csv, dev.csv, test.csv and labels.yaml are there and prepared.json holds the settings
they were made with. They take their places after all audio, and train.csv last of all, so an interrupted preparation is
seen as such and simply starts again. One process at a time writes to a folder.
"""

import errno
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from ....utils.errors import UserError
from ....utils.files import replace_when_complete
from ... import LABELS_FILE, SPLITS
from ...labels import Labels, write_labels
from ...manifest.manifest import PARQUET, write_manifest
from .corpus import SETTINGS_FILE

# Of a preparation; and in its place, what export-manifest may have put there.
_RESULT_FILES = (LABELS_FILE, *(f"{split}{suffix}" for suffix in (".csv", PARQUET) for split in reversed(SPLITS)))
_LOCK_FILE = ".prepare.lock"
# What network file systems say that have none; it is no reason to prepare nothing there.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)

log = logging.getLogger(__name__)


@contextmanager
def preparation(
    folder: Path, settings: Mapping[str, object], *, overwrite: bool, splits: Sequence[str] = SPLITS
) -> Iterator[bool]:
    """Tell whether `folder` has yet to be prepared, and if so keep other processes out of it until the block ends.

    Where the block puts nothing into a folder that was not there, it is gone again.

    Parameters
    ----------
    folder : where the manifests go.
    settings : everything the result depends on; has to survive JSON.
    overwrite : prepare it whatever is there.
    splits : those that the corpus will have.

    Raises
    ------
    UserError : the folder holds manifests made in another way, and `overwrite` was not asked for; another process
        prepares it, or it cannot be written.
    """
    if not _is_needed(folder, settings, overwrite, splits):
        yield False
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = FileLock(folder / _LOCK_FILE, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(lock)
        for name in (*_RESULT_FILES, SETTINGS_FILE):
            # What one that was killed has left.
            for part in folder.glob(f".{name}.*.part"):
                part.unlink()
    except Timeout:
        raise UserError(f"{folder}: another process is preparing it. Wait for it, or name another folder.") from None
    except OSError as error:
        raise cannot_write(folder, error) from None
    try:
        # Another process may just have ended.
        yield _is_needed(folder, settings, overwrite, splits)
    finally:
        (folder / _LOCK_FILE).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            for path in made:
                path.rmdir()


def _is_needed(folder: Path, settings: Mapping[str, object], overwrite: bool, splits: Sequence[str]) -> bool:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file where a folder is needed. Name another folder.")
    if overwrite:
        return True
    present = [name for name in _RESULT_FILES if (folder / name).exists()]
    if _stored_settings(folder) == json.loads(json.dumps(settings)):
        if {LABELS_FILE, *(f"{split}.csv" for split in splits)} <= set(present):
            log.info("%s: already prepared with these settings; nothing to do", folder)
            return False
        return True
    if present:
        raise UserError(
            f"{folder}: already holds {', '.join(present)}, made from other settings or recordings. "
            "Name another folder, or replace them with --overwrite."
        )
    return True


def _acquire(lock: FileLock) -> None:
    try:
        lock.acquire()
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
            raise
        log.info("%s: this file system has no locks; start no second preparation there", Path(lock.lock_file).parent)


def remove_manifests(folder: Path) -> None:
    """Take away manifests of an earlier preparation, before anything they refer to changes."""
    for name in (*reversed(_RESULT_FILES), SETTINGS_FILE):
        (folder / name).unlink(missing_ok=True)


def write_corpus(
    folder: Path,
    settings: Mapping[str, object],
    manifests: Mapping[str, Mapping[str, Sequence | np.ndarray]],
    labels: Labels,
) -> Path:
    """Write the settings, labels and manifests of a corpus whose audio is complete, and say how much it is.

    Those of an earlier preparation stay until the new ones are complete.

    Parameters
    ----------
    folder : where to, within its :func:`preparation`.
    settings : what :func:`preparation` compares the next time.
    manifests : split → columns; train and dev at least.
    labels : the classes and their clusters.
    """
    splits = sorted(manifests, key=SPLITS.index)
    # They take their places in reverse order; train.csv last, since it is what everything else looks for first.
    names = (*(f"{split}.csv" for split in splits), LABELS_FILE, SETTINGS_FILE)
    try:
        with ExitStack() as complete:
            parts = {name: complete.enter_context(replace_when_complete(folder / name)) for name in names}
            text = json.dumps(settings, indent=1, ensure_ascii=False) + "\n"
            parts[SETTINGS_FILE].write_text(text, encoding="utf-8")
            write_labels(parts[LABELS_FILE], labels)
            for split in splits:
                write_manifest(parts[f"{split}.csv"], manifests[split])
            remove_manifests(folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    for split in splits:
        seconds = np.asarray(manifests[split]["seconds"], dtype=np.float64)
        log.info("%s: %d utterances, %.2f h", split, len(seconds), seconds.sum() / 3600)
    return folder


def cannot_write(folder: Path, error: OSError) -> UserError:
    """Return the error for a folder that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{folder}: no space left on the disk or in the quota. Free some and try again.")
    return UserError(f"{folder}: cannot write there ({error.strerror or error}). Name a folder that you may write.")


def _stored_settings(folder: Path) -> object:
    try:
        return json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Absent or not ours: then whatever else is there is not ours either.
        return None
