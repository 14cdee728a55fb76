"""Files that publishers add to their audio: tab-separated tables, and folders of languages.

Anything unexpected is an error that lists what was found, because a corpus may come in another edition.
"""

import math
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ....utils.errors import UserError
from ... import LABELS_FILE
from .corpus import SETTINGS_FILE

_MAX_LISTED = 8
# Values of an unknown number.
_UNKNOWN = ("", "n/a", "na")

T = TypeVar("T")


def enumerate_names(names: Iterable[str]) -> str:
    """Return the first names, and the number of others: ``a, b and 3 more``; ``nothing`` if there are none."""
    listed = list(names)
    more = len(listed) - _MAX_LISTED
    return (", ".join(listed[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")) or "nothing"


def describe_folder(folder: Path) -> str:
    """Return the content of a folder, for an error. Raises UserError: there is no such folder."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Use the folder of the unpacked corpus.")
    return enumerate_names(
        sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    )


def sub_folders(folder: Path) -> dict[str, Path]:
    """Return name → sub-folder, sorted, without hidden ones. Raises UserError: there is no such folder."""
    describe_folder(folder)
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}


def language_folders(folder: Path, holds: Callable[[Path], bool], what: str, remedy: str) -> dict[str, Path]:
    """Return name → sub-folder for those that hold a language. Raises UserError: there is none.

    `what`, `remedy`: for the error: the content of such a sub-folder, and what to do.
    """
    found = {name: path for name, path in sub_folders(folder).items() if holds(path)}
    if not found:
        raise UserError(
            f"{folder}: expected folders of languages with {what}, found {describe_folder(folder)}. {remedy}"
        )
    return found


def file_names(folder: Path | str) -> list[str]:
    """Return the names of a folder's files and sub-folders, sorted, without hidden ones such as macOS's ._NAME.wav."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith("."))


def choose(found: Mapping[str, T], wanted: Sequence[str] | None) -> dict[str, T]:
    """Return the languages that are requested, or all, in the order of `found`. Raises UserError: one is not there."""
    unknown = [name for name in wanted or () if name not in found]
    if unknown:
        raise UserError(
            f"--languages {unknown[0]}: expected one of {enumerate_names(found)}, found another. Choose one of these."
        )
    return {name: value for name, value in found.items() if wanted is None or name in wanted}


def _not_there(path: Path, what: str) -> UserError:
    """Return the error for a missing file, with the content of the nearest existing folder."""
    nearest = next(folder for folder in path.parents if folder.is_dir())
    return UserError(
        f"{path}: no such {what}; {nearest} has {describe_folder(nearest)}. Check that the corpus is complete."
    )


def read_table(
    path: Path,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    *,
    header: Sequence[str] | None = None,
    separator: str = "\t",
    other_names: Mapping[str, str] | None = None,
) -> dict[str, list[str]]:
    """Read columns of a table. Quotation marks have no meaning, because transcripts have single ones.

    Raises UserError: no such table, a missing column, or a row with another number of fields.

    Returns name → (rows,) values.

    `needed`, `optional`: names of the columns to return; missing optional ones are omitted. `header`: the columns'
    names if the table has no header. `separator`: between fields. `other_names`: name in some tables → name used here.
    """
    if not path.is_file():
        raise _not_there(path, "table")
    try:
        # Not csv, for which a carriage return within a transcript ends the line.
        with path.open(newline="\n", encoding="utf-8-sig") as file:
            rows = (line.removesuffix("\n").removesuffix("\r").split(separator) for line in file)
            names = [(other_names or {}).get(name, name) for name in header or next(rows, [])]
            missing = [name for name in needed if name not in names]
            if missing:
                raise UserError(
                    f"{path}: expected the column {', '.join(missing)}, found {enumerate_names(names)}. If this is "
                    "another edition of the corpus, change the names at the top of its file in data/prepare/."
                )
            table = []
            for number, row in enumerate(rows, start=1 if header else 2):
                is_blank = row == [""]
                if len(row) != len(names) and not is_blank:
                    raise UserError(
                        f"{path}: expected {len(names)} fields ({enumerate_names(names)}) in line {number}, "
                        f"found {len(row)}. Check that the file is complete."
                    )
                table += [] if is_blank else [row]
    except UnicodeError as error:
        raise UserError(f"{path}: expected a table in UTF-8-SIG, found other data ({error}). Save it as one.") from None
    return {name: [row[names.index(name)] for row in table] for name in (*needed, *optional) if name in names}


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the non-blank lines of a text file, each with its number. Raises UserError: no such file, or not UTF-8."""
    if not path.is_file():
        raise _not_there(path, "file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected text in UTF-8, found other content ({error}). Save it as UTF-8.") from None
    # Not splitlines(), which also splits at characters that a transcript may have.
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def to_numbers(path: Path, name: str, values: Iterable[str]) -> list[float]:
    """Return the values of a column of numbers; NaN if empty or unknown. Raises UserError: a value is not a number."""
    try:
        return [math.nan if value.strip().lower() in _UNKNOWN else float(value) for value in values]
    except ValueError as error:
        raise UserError(f"{path}: expected numbers in {name}, found other text ({error}). Correct it.") from None


def read_pairs(path: Path) -> dict[str, str]:
    """Read lines of a name and a value. Raises UserError: no such file, no value, or a name twice."""
    pairs: dict[str, str] = {}
    for number, line in read_lines(path):
        name, *value = line.split(maxsplit=1)
        if not value:
            raise UserError(
                f"{path}: expected a value for {name} in line {number}, found none. Correct it, or remove it."
            )
        if name in pairs:
            raise UserError(f"{path}: expected unique names, found {name} again in line {number}. Remove one.")
        pairs[name] = value[0].strip()
    return pairs


def exported_clusters(folder: Path) -> Mapping[str, tuple[str, ...]] | None:
    """Return cluster → classes of the labels that export-manifest wrote to a folder; None if there are none."""
    path = folder / LABELS_FILE
    # Beside prepared.json they are derived from the corpus that was prepared there.
    if not path.is_file() or (folder / SETTINGS_FILE).exists():
        return None
    from ...labels import read_labels  # noqa: PLC0415

    return read_labels(path).clusters


def text_digest(texts: Iterable[str]) -> str:
    """Return a digest (CRC-32) of texts, eight hexadecimal digits."""
    number = 0
    for text in texts:
        number = zlib.crc32(text.encode(errors="surrogateescape"), number)
    return f"{number:08x}"


def files_digest(files: Iterable[Path], folder: Path) -> str:
    """Return a digest of the names and sizes of files."""
    return text_digest(f"{file.relative_to(folder).as_posix()}\t{_size(file)}\n" for file in files)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        # A broken link.
        return -1
