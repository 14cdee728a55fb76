"""A prepared folder: recognising it, and writing its files.

A folder is prepared when it has train.csv, dev.csv, test.csv and labels.yaml, and prepared.json has the settings that
they were made with. They are moved there after all audio, train.csv last, so an interrupted preparation is recognised
and starts again. One process at a time writes to a folder.
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

# Of a preparation, and the Parquet manifests that export-manifest may have written instead.
_RESULT_FILES = (LABELS_FILE, *(f"{split}{suffix}" for suffix in (".csv", PARQUET) for split in reversed(SPLITS)))
_LOCK_FILE = ".prepare.lock"
# Errors of network file systems without locks, where a folder can be prepared without one.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)
# Names in version 0.1.0 → present names, in prepared.json.
_RENAMED = {"dev_share": "dev_fraction", "test_share": "test_fraction", "fingerprint": "digest"}

log = logging.getLogger(__name__)


@contextmanager
def preparation(
    folder: Path, settings: Mapping[str, object], *, overwrite: bool, splits: Sequence[str] = SPLITS
) -> Iterator[bool]:
    """Yield whether `folder` must be prepared, and if so lock it until the block ends.

    A folder that was created for the block and is still empty is deleted again.

    Raises UserError: the folder has manifests with other settings and `overwrite` is false, another process is
    preparing it, or it cannot be written.

    `settings`: everything that the result depends on, in JSON types.
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
            # A killed process may have left it.
            for part in folder.glob(f".{name}.*.part"):
                part.unlink()
    except Timeout:
        raise UserError(f"{folder}: another process is preparing it. Wait for it, or use another folder.") from None
    except OSError as error:
        raise cannot_write(folder, error) from None
    try:
        # Another process may have prepared it in the meantime.
        yield _is_needed(folder, settings, overwrite, splits)
    finally:
        (folder / _LOCK_FILE).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            for path in made:
                path.rmdir()


def _is_needed(folder: Path, settings: Mapping[str, object], overwrite: bool, splits: Sequence[str]) -> bool:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: expected a folder, found a file. Use another folder.")
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
            "Use another folder, or replace them by --overwrite."
        )
    return True


def _acquire(lock: FileLock) -> None:
    try:
        lock.acquire()
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
            raise
        log.info("%s: this file system has no locks; do not prepare it twice at a time", Path(lock.lock_file).parent)


def remove_manifests(folder: Path) -> None:
    """Delete manifests of an earlier preparation, before the files they refer to change."""
    for name in (*reversed(_RESULT_FILES), SETTINGS_FILE):
        (folder / name).unlink(missing_ok=True)


def write_corpus(
    folder: Path,
    settings: Mapping[str, object],
    manifests: Mapping[str, Mapping[str, Sequence | np.ndarray]],
    labels: Labels,
) -> Path:
    """Write the settings, labels and manifests of a corpus whose audio is complete, and log its size.

    The files of an earlier preparation are kept until the new ones are complete.

    `folder`: within its :func:`preparation`. `manifests`: split → columns; at least train and dev.
    """
    splits = sorted(manifests, key=SPLITS.index)
    # They are moved in reverse order; train.csv is last, because it is what other commands look for first.
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
    return UserError(f"{folder}: cannot be written ({error.strerror or error}). Use a folder that you may write to.")


def _stored_settings(folder: Path) -> object:
    try:
        stored = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        return {_RENAMED.get(name, name): value for name, value in stored.items()}
    except (OSError, ValueError, AttributeError):
        # Absent, or written by another program.
        return None
