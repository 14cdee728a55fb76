"""Manifests as Parquet, read column by column."""

import hashlib
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import UserError, is_of_the_system
from ...utils.files import encodable_name
from ...utils.randomness import keyed_generator
from .columns import ROWS_AT_ONCE, TEXT, ManifestTable, Names, check_header, empty_columns, id_column

# Other text columns have repeated values, and Arrow then reads each value once.
_OF_ITS_OWN = ("audiopath", "id")
_WORD = np.dtype("<u8")
# Words of a text that its hash uses. No path is that long.
_MAX_WORDS = 1024
_MAX_BYTES_AT_ONCE = 1 << 26
_THREADS = 2


def read_parquet(path: Path, required: Collection[str], numbers: Collection[str]) -> ManifestTable:
    """Read a Parquet file; see :func:`.manifest.read_table`."""
    _require_pyarrow(path)
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    try:
        # Opened once; columns are read from the mapped memory.
        with encodable_name(path) as name:
            content = pyarrow.memory_map(name).read_buffer()
        metadata = parquet.read_metadata(pyarrow.BufferReader(content))
        names, rows = metadata.schema.to_arrow_schema().names, metadata.num_rows
        check_header(path, names, required)
        columns, hashes = empty_columns(names, rows, numbers), np.zeros(rows, dtype=_WORD)

        def read(name: str) -> Names | None:
            return _fill(path, content, name, columns[name], hashes if name == id_column(names) else None)

        # Arrow and NumPy release the interpreter lock; a task frees Arrow's memory of its column.
        with ThreadPoolExecutor(_THREADS) as threads:
            encoded = dict(zip(names, threads.map(read, names), strict=True))
    except (pyarrow.ArrowException, OSError) as error:
        if is_of_the_system(error):
            raise
        raise UserError(
            f"{path}: expected a Parquet file, found other content ({' '.join(str(error).split())}). Write it again."
        ) from None
    return ManifestTable(columns, hashes, encoded.get("class"), hashlib.sha256(content).hexdigest())


def _fill(path: Path, content: Any, name: str, into: np.ndarray, hashes: np.ndarray | None) -> Names | None:
    """Read a column; return its texts as numbers if it is the class column."""
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    is_own, is_number = name in _OF_ITS_OWN, into.dtype != TEXT
    dictionaries = () if is_own or is_number else (name,)
    with parquet.ParquetFile(pyarrow.BufferReader(content), read_dictionary=dictionaries) as file:
        if is_own:
            _fill_own(file, name, into, hashes)
            return None
        column = file.read(columns=[name], use_threads=False).column(0)
        if is_number:
            into[:] = _numbers(path, name, column)
            return None
        parts = _fill_repeating(column, into)
        return _joined(parts) if name == "class" else None


def _require_pyarrow(path: Path) -> None:
    if find_spec("pyarrow") is None:
        raise UserError(
            f"{path}: a Parquet manifest needs pyarrow, which is not installed. Run 'pip install "
            '"lid-mapmix[parquet]"\'.'
        )


def _numbers(path: Path, name: str, column: Any) -> np.ndarray:
    import pyarrow  # noqa: PLC0415

    try:
        return np.asarray(column.cast(pyarrow.float64()).to_numpy(), dtype=np.float64)
    except pyarrow.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: expected numbers of seconds in column {name}, found other values: {reason}. Correct it."
        ) from None


def _fill_own(file: Any, name: str, into: np.ndarray, hashes: np.ndarray | None) -> None:
    """Read a column with mostly different texts, and their hashes if requested."""
    at = 0
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=[name]):
        part = slice(at, at + len(batch))
        _fill_texts(batch.column(0), into[part], None if hashes is None else hashes[part])
        at += len(batch)


def _fill_texts(texts: Any, into: np.ndarray, hashes: np.ndarray | None) -> None:
    """Write an Arrow array of text into (rows,) `TEXT`, and hashes into (rows,) words.

    Rows of bytes of one length are viewed as numbers and as NumPy's byte strings, without a Python object per row.
    """
    import pyarrow  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    texts = compute.fill_null(texts.cast(pyarrow.large_string()), "")
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    content = np.frombuffer(data or b"", dtype=np.uint8)[bounds[0] : bounds[-1]]
    lengths = np.diff(bounds)
    width = -(-int(lengths.max(initial=1)) // _WORD.itemsize) * _WORD.itemsize
    if len(texts) > 1 and len(texts) * width > _MAX_BYTES_AT_ONCE:
        half = len(texts) // 2
        for part in (slice(0, half), slice(half, len(texts))):
            _fill_texts(texts[part], into[part], None if hashes is None else hashes[part])
        return
    padded = np.zeros((len(texts), width), dtype=np.uint8)
    # Small integers are compared several at a time.
    small = np.min_scalar_type(width)
    padded[np.arange(width, dtype=small) < lengths.astype(small)[:, None]] = content
    if hashes is not None:
        words = padded.view(_WORD)[:, :_MAX_WORDS]
        hashes[:] = words @ _multipliers()[: words.shape[1]]
    # NumPy's byte strings are ASCII, and lose zeros at their end.
    is_plain = content.min(initial=1) > 0 and content.max(initial=1) < 128  # noqa: PLR2004 - ASCII
    into[:] = padded.view(f"S{width}")[:, 0] if is_plain else texts.to_pylist()


def _multipliers() -> np.ndarray:
    """Return odd words: texts that differ in one word have different hashes, others almost always."""
    generator = keyed_generator(0, "hashes")
    return generator.integers(2**64, size=_MAX_WORDS, dtype=np.uint64).astype(_WORD) | _WORD.type(1)


def _fill_repeating(column: Any, into: np.ndarray) -> list[Names]:
    """Read a column with repeated texts; return one part per row group."""
    import pyarrow  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    at, parts = 0, []
    for chunk in column.chunks:
        encoded = chunk if pyarrow.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        texts = compute.fill_null(encoded.dictionary.cast(pyarrow.large_string()), "").to_pylist()
        # One index more than there are texts, for null.
        codes = compute.fill_null(encoded.indices.cast(pyarrow.int64()), len(texts)).to_numpy(zero_copy_only=False)
        part = Names(np.array([*texts, ""], dtype=TEXT), codes)
        part.decode(into[at : at + len(chunk)])
        at += len(chunk)
        parts.append(part)
    return parts


def _joined(parts: list[Names]) -> Names:
    """Number the texts of all parts, without those that no row has."""
    number_of: dict[str, int] = {}
    codes = []
    for part in parts:
        is_used = np.bincount(part.codes, minlength=len(part.names)) > 0
        numbers = [
            number_of.setdefault(name, len(number_of)) if used else -1
            for name, used in zip(part.names.tolist(), is_used.tolist(), strict=True)
        ]
        codes.append(np.array(numbers, dtype=np.int32)[part.codes])
    return Names(np.array(list(number_of), dtype=TEXT), np.concatenate(codes) if codes else np.array([], np.int32))


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns as Parquet. Raises UserError: pyarrow is not installed."""
    _require_pyarrow(path)
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    arrays = {name: np.asarray(values) for name, values in columns.items()}
    plain = {name: values if values.dtype.kind in "fiu" else values.tolist() for name, values in arrays.items()}
    with path.open("wb") as file:
        parquet.write_table(pyarrow.table({name: pyarrow.array(values) for name, values in plain.items()}), file)
