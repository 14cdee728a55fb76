"""Datasets of Hugging Face, as Parquet files or by save_to_disk: ``lid-mapmix prepare huggingface``.

Labels that are numbers get the names that the dataset has for them. Audio within the files is written to tar shards in
OUT/shards, row by row; audio beside them stays where it is. No audio outside the dataset's folder is read.
"""

import argparse
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ...utils.errors import UserError
from .. import SPLITS
from .steps.corpus import DEFAULT_FRACTION, SPLIT_NAMES, Listing, Utterance, listed_corpus
from .steps.tables import describe_folder, enumerate_names, files_digest

if TYPE_CHECKING:
    from .steps.splits import Columns

# Flag → usual names of its column.
USUAL = {
    "label": ("label", "dialect", "accent", "language", "lang", "locale"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "id": ("id", "utt_id", "segment_id", "seg_id"),
    "audio": ("audio", "speech", "file", "path"),
}
ROWS_AT_ONCE = 64

log = logging.getLogger(__name__)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    for name, usual in USUAL.items():
        parser.add_argument(f"--{name}", metavar="COLUMN", help=f"default: the first of {', '.join(usual)}")


def _list(options: argparse.Namespace) -> Listing:
    """List the rows with a label. Raises UserError: another layout, damaged files, or no such column."""
    from ..manifest.parquet_format import require_pyarrow  # noqa: PLC0415

    folder = options.corpus_folder.resolve()
    require_pyarrow(folder, "a dataset of Hugging Face")
    files, utterances, unlabelled = _find_files(folder), [], 0
    for path, split in files.items():
        for row, values in enumerate(_read_rows(path, options, ("label", "speaker", "id"))):
            label, speaker, name = ("" if value in (None, -1) else str(value).strip() for value in values)
            if label:
                utterances.append(Utterance(f"{path}#{row}", label, name, split, speaker=speaker))
            unlabelled += not label
    if unlabelled:
        log.info("%s: left out %d rows without a label", folder, unlabelled)
    if not options.id and len({one.id for one in utterances}) < len(utterances):
        # The places of rows are unique.
        utterances = [one._replace(id=one.audiopath.removeprefix(f"{folder}/")) for one in utterances]
    settings = {"files": files_digest(files, folder), **{flag: getattr(options, flag) for flag in USUAL}}
    return Listing(folder, utterances, settings, write_audio=lambda columns, part: _write_audio(columns, part, options))


def _find_files(folder: Path) -> dict[Path, str]:
    """Return file → split; without dev, train is divided. Raises UserError: no train."""
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix == ".parquet" or _is_saved(path))
    splits = {path: _split_of(path.relative_to(folder)) for path in paths}
    others = sorted(set(splits.values()) - SPLIT_NAMES.keys())
    files = {path: SPLIT_NAMES[split] for path, split in splits.items() if split in SPLIT_NAMES}
    if SPLITS[0] not in files.values():
        names = enumerate_names(others) if others else describe_folder(folder)
        raise UserError(f"{folder}: expected Parquet files or a dataset of save_to_disk with train, found {names}.")
    if others:
        log.info("%s: left out the splits %s", folder, enumerate_names(others))
    return files if SPLITS[1] in files.values() else {path: split.replace("train", "") for path, split in files.items()}


def _is_saved(path: Path) -> bool:
    """Return whether an Arrow file is of a dataset; others are caches, or of one that was there before."""
    state = path.with_name("state.json")
    return path.suffix == ".arrow" and state.is_file() and f'"{path.name}"'.encode() in state.read_bytes()


def _split_of(path: Path) -> str:
    """Return the split in data/SPLIT-00000-of-00003.parquet, SPLIT/0000.parquet or SPLIT/data-00000-of-00001.arrow."""
    names = (re.sub(r"-\d.*", "", name) for name in reversed(path.with_suffix("").parts))
    return next((name for name in names if name != "data" and not name.isdigit()), SPLITS[0])


def _read_rows(path: Path, options: argparse.Namespace, flags: Sequence[str]) -> Iterator[list]:
    """Yield the values of each row for some flags, one row at a time; None where there is no such column."""
    import pyarrow  # noqa: PLC0415
    from pyarrow import ipc, parquet  # noqa: PLC0415

    try:
        is_stream = path.suffix == ".arrow"
        with ipc.open_stream(pyarrow.memory_map(str(path))) if is_stream else parquet.ParquetFile(path) as file:
            schema = file.schema if is_stream else file.schema_arrow
            columns = {flag: _column(path, schema.names, flag, getattr(options, flag)) for flag in USUAL}
            stored = (schema.metadata or {}).get(b"huggingface", '{"info": {}}')
            names = json.loads(stored)["info"].get("features", {}).get(columns["label"], {}).get("names", ())
            classes = dict[object, str](enumerate(names))  # empty without names
            wanted = [name for flag, name in columns.items() if flag in flags and name]
            for batch in file if is_stream else file.iter_batches(ROWS_AT_ONCE, columns=wanted):
                for row in range(len(batch)):
                    found = {name: batch.column(name)[row].as_py() for name in wanted}
                    values = {flag: found.get(columns[flag] or "") for flag in flags}
                    label = values.get("label")
                    if not isinstance(label, str | int | None):
                        raise UserError(
                            f"{path}: expected text or whole numbers as --label, found {label!r}. Choose it."
                        )
                    if classes and label not in (None, -1):
                        values["label"] = classes[label]
                    yield list(values.values())
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: expected a complete file of a dataset, found other content ({why}).") from None


def _column(path: Path, names: Sequence[str], flag: str, asked: str | None) -> str | None:
    found = next((name for name in ([asked] if asked else USUAL[flag]) if name in names), None)
    if found is None and (asked or flag in ("audio", "label")):
        wanted = asked or " or ".join(USUAL[flag])
        raise UserError(f"{path}: expected the column {wanted}, found {enumerate_names(names)}. Name it by --{flag}.")
    return found


def _write_audio(columns: "Columns", part: Path, options: argparse.Namespace) -> "Columns":
    """Write the audio of rows to shards. Raises UserError: there is none, and it is not to be dropped."""
    import numpy as np  # noqa: PLC0415

    from ..export import DEFAULT_SHARD_BYTES  # noqa: PLC0415
    from ..export.packing import ShardWriter, recognise  # noqa: PLC0415
    from .steps.splits import select  # noqa: PLC0415

    folder, first = options.corpus_folder.resolve(), ""
    paths: list[str] = []
    with ShardWriter(part, "audio", DEFAULT_SHARD_BYTES) as shards:
        for place, name, content in _read_audio(columns["audiopath"], options):
            try:
                path = "" if content else _file_within(folder, name, place)
                audio = Path(path).read_bytes() if path and options.copy_audio else content
                if audio:
                    member = {recognise(Path(place), audio)[0]: audio}
                    path = str(part / shards.add(f"{len(paths):08d}", member))
            except UserError as error:
                if not options.skip_bad_audio:
                    raise
                path, first = "", first or str(error)
            paths.append(path)
    columns = {**columns, "audiopath": np.array(paths, dtype=object)}
    return select(columns, columns["audiopath"] != "", f"rows without readable audio; the first: {first}")


def _read_audio(places: Iterable[str], options: argparse.Namespace) -> Iterator[tuple[str, str, bytes | None]]:
    """Yield place, path and bytes of the audio of rows."""
    for path, some in groupby(places, key=lambda place: place.rpartition("#")[0]):
        rows = {int(place.rpartition("#")[2]) for place in some}
        for row, (audio,) in enumerate(_read_rows(Path(path), options, ["audio"])):
            if row in rows:
                parts = audio if isinstance(audio, dict) else {"path" if isinstance(audio, str) else "bytes": audio}
                name, content = parts.get("path") or "", parts.get("bytes")
                if not (isinstance(name, str) and isinstance(content, bytes | None)):
                    found = ", ".join(f"{key}: {type(value).__name__}" for key, value in parts.items())
                    raise UserError(f"{path}#{row}: expected bytes or a path as --audio, found {found}. Choose it.")
                yield f"{path}#{row}", name, content


def _file_within(folder: Path, name: str, place: str) -> str:
    """Return a file in a folder. Raises UserError: there is none, it is elsewhere, or a link leads there."""
    with suppress(OSError, ValueError):
        path = (folder / name).resolve()
        if name and path.is_relative_to(folder) and path.is_file():
            return str(path)
    raise UserError(f"{place}: expected audio in {folder}, found {name or 'none'}. Put it there.")


CORPUS = listed_corpus(
    "a dataset of Hugging Face: Parquet files, or saved by save_to_disk",
    """\
lid-mapmix prepare huggingface dialects/ --out data/
lid-mapmix prepare huggingface dialects/ --out data/ --label accent --speaker client_id --test-fraction 0.2""",
    _list,
    source="folder of the dataset, or of one of its configurations",
    metavar="DIR",
    drawn_fraction=DEFAULT_FRACTION,
    add_own_flags=_add_flags,
)
