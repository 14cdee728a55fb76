"""Files and folders that are complete or absent."""

import csv
import itertools
import logging
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def replace_when_complete(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` when the block ends without an error.

    An interrupted or failed block leaves `path` unchanged and no temporary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        # A failed write, for example on a full disk, does not name the file.
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file in UTF-8, complete or not at all; file names in it keep their bytes whatever the locale."""
    with replace_when_complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_csv(path: Path | str, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    """Write a CSV file in UTF-8, complete or not at all."""
    with replace_when_complete(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(itertools.chain([header], rows))


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, complete or not at all."""
    with replace_when_complete(target) as temporary:
        shutil.copyfile(source, temporary)


@contextmanager
def warn_if_not_written(path: Path) -> Iterator[None]:
    """Log a warning if the block fails: what can be written again by a command must not fail a run."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())
        logger.warning("%s was not written: %s", path, reason or type(error).__name__)


@contextmanager
def encodable_name(path: Path) -> Iterator[str]:
    """Yield a name of a file or folder for libraries that encode names as UTF-8 themselves.

    It is `path`, or the number of an open file if the locale could not decode the name (umlauts, in ASCII).
    """
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            yield f"/dev/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        yield name


@contextmanager
def folder_when_complete(path: Path | str) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`, which becomes `path` when the block ends without an error.

    `path` must be absent or empty. An interrupted or failed block leaves no temporary folder.

    Raises OSError: `path` has files by then; they are kept.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    temporary.mkdir()
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
