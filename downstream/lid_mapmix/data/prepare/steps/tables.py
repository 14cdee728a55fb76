"""What publishers lay beside their audio: tab-separated tables, and folders of languages.

Whatever is not as expected is an error that lists what was found, since a corpus may come in another edition.
"""

import csv
import math
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ....utils.errors import UserError
from ... import LABELS_FILE
from .corpus import SETTINGS_FILE

_MOST_LISTED = 8
# What stands where a number is not known.
_UNKNOWN = ("", "n/a", "na")

T = TypeVar("T")


def enumerate_names(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are: ``a, b and 3 more``; ``nothing`` of none."""
    listed = list(names)
    more = len(listed) - _MOST_LISTED
    return (", ".join(listed[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")) or "nothing"


def describe_folder(folder: Path) -> str:
    """Return what is in a folder, for an error; sub-folders end in a slash.

    Raises
    ------
    UserError : there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Name the folder in which the corpus is unpacked.")
    return enumerate_names(
        sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    )


def sub_folders(folder: Path) -> dict[str, Path]:
    """Return name → sub-folder, sorted, without hidden ones.

    Raises
    ------
    UserError : there is no such folder.
    """
    describe_folder(folder)
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}


def language_folders(folder: Path, holds: Callable[[Path], bool], what: str, remedy: str) -> dict[str, Path]:
    """Return name → sub-folder of those that are of a language.

    Parameters
    ----------
    folder : of the corpus.
    holds : says whether a sub-folder is of a language.
    what, remedy : for the error: what such a sub-folder has, and what to do.

    Raises
    ------
    UserError : there is none.
    """
    found = {name: path for name, path in sub_folders(folder).items() if holds(path)}
    if not found:
        raise UserError(f"{folder}: no folder of a language with {what}; found {describe_folder(folder)}. {remedy}")
    return found


def file_names(folder: Path | str) -> list[str]:
    """Return the names of what is in a folder, sorted; without hidden ones, such as macOS's ._NAME.wav."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith("."))


def choose(found: Mapping[str, T], wanted: Sequence[str] | None, flag: str) -> dict[str, T]:
    """Return the wanted ones of what was found, in the order found; all where none is named.

    Raises
    ------
    UserError : one is wanted that is not there.
    """
    unknown = [name for name in wanted or () if name not in found]
    if unknown:
        raise UserError(f"{flag} {unknown[0]}: is not in this corpus; found {enumerate_names(found)}.")
    return {name: value for name, value in found.items() if wanted is None or name in wanted}


def _not_there(path: Path, what: str) -> UserError:
    """Return the error for a file that is not there, with what the nearest folder that is there holds."""
    nearest = next(folder for folder in path.parents if folder.is_dir())
    return UserError(f"{path}: no such {what}; {nearest} holds {describe_folder(nearest)}. Is the corpus complete?")


def read_table(
    path: Path,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    *,
    header: Sequence[str] | None = None,
    encoding: str = "utf-8-sig",
) -> dict[str, list[str]]:
    """Read columns of a tab-separated table. Quotation marks have no meaning: transcripts hold single ones.

    Parameters
    ----------
    path : the table.
    needed, optional : names of the columns to return; of the optional ones those that are there.
    header : the columns' names where the table has none.
    encoding : of the file.

    Returns
    -------
    dict : name → (rows,) values.

    Raises
    ------
    UserError : no such table, a column that it lacks, a row with another number of fields.
    """
    if not path.is_file():
        raise _not_there(path, "table")
    try:
        with path.open(newline="", encoding=encoding) as file:
            rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            names = list(header or next(rows, []))
            missing = [name for name in needed if name not in names]
            if missing:
                raise UserError(
                    f"{path}: lacks the column {', '.join(missing)}; found {enumerate_names(names)}. Is this another "
                    "edition of the corpus? The names it needs stand at the top of its file in data/prepare/."
                )
            table = []
            for row in rows:
                if row and len(row) != len(names):
                    raise UserError(
                        f"{path}: line {rows.line_num} has {len(row)} fields where {len(names)} are expected "
                        f"({enumerate_names(names)}). Is the file complete?"
                    )
                table += [row] if row else []
    except (UnicodeError, csv.Error) as error:
        raise UserError(f"{path}: is no tab-separated table in {encoding.upper()} ({error}).") from None
    return {name: [row[names.index(name)] for row in table] for name in (*needed, *optional) if name in names}


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text that are not blank, each with its number.

    Raises
    ------
    UserError : no such file, or not in UTF-8.
    """
    if not path.is_file():
        raise _not_there(path, "file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text in UTF-8 ({error}). Save it as one.") from None
    # Not splitlines(), which also ends lines at signs that a transcript may have.
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def to_numbers(path: Path, name: str, values: Iterable[str]) -> list[float]:
    """Return what stands in a column of numbers; NaN where it is empty or says so.

    Raises
    ------
    UserError : something there is no number.
    """
    try:
        return [math.nan if value.strip().lower() in _UNKNOWN else float(value) for value in values]
    except ValueError as error:
        raise UserError(f"{path}: {name} has what is no number ({error}). Correct it.") from None


def read_pairs(path: Path) -> dict[str, str]:
    """Read lines of a name and a value with white space between, as Kaldi has them.

    Raises
    ------
    UserError : no such file, a name without a value, a name twice.
    """
    pairs: dict[str, str] = {}
    for number, line in read_lines(path):
        name, *value = line.split(maxsplit=1)
        if not value:
            raise UserError(f"{path}: line {number} has {name} and no value. Correct it, or take it out.")
        if name in pairs:
            raise UserError(f"{path}: line {number} has {name} a second time. Names must be unique.")
        pairs[name] = value[0].strip()
    return pairs


def exported_clusters(folder: Path) -> Mapping[str, tuple[str, ...]] | None:
    """Return cluster → classes of the labels that export-manifest wrote into a folder; None where there are none."""
    path = folder / LABELS_FILE
    # Beside prepared.json they are derived from what was prepared there.
    if not path.is_file() or (folder / SETTINGS_FILE).exists():
        return None
    from ...labels import read_labels  # noqa: PLC0415

    return read_labels(path).clusters


def checksum(texts: Iterable[str]) -> str:
    """Return eight hexadecimal digits that change when a text comes, goes or changes."""
    number = 0
    for text in texts:
        number = zlib.crc32(text.encode(errors="surrogateescape"), number)
    return f"{number:08x}"


def fingerprint(files: Iterable[Path], folder: Path) -> str:
    """Return a checksum of names and sizes, which changes when recordings come, go or are replaced."""
    return checksum(f"{file.relative_to(folder).as_posix()}\t{_size(file)}\n" for file in files)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        # A link that leads nowhere.
        return -1
