"""Manifests in other forms: Kaldi data directories, NeMo's JSON lines, and our own as Parquet.

The first two are read again by ``lid-mapmix prepare kaldi`` and ``prepare jsonl``. Audio is named by absolute path.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import replace_when_complete
from .manifest import Manifest, read_manifests, write_manifest
from .manifest_files import PARQUET
from .prepare import jsonl, kaldi
from .prepare.corpus import LABELS_FILE, SPLITS, cannot_write
from .shards import find_member

# Blanks divide Kaldi's columns, and its scripts take ids for names of files.
_NOT_IN_NAMES = re.compile(r"[\s/]+")
_TABLE = "parquet"


def export_manifests(data: Path, target: str, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write every manifest of a folder in another toolkit's form.

    Parameters
    ----------
    data : the folder of train.csv, dev.csv, test.csv, those that are there.
    target : ``kaldi`` writes FOLDER/SPLIT/wav.scp and what goes with it; ``jsonl`` writes FOLDER/SPLIT.jsonl;
        ``parquet`` writes FOLDER/SPLIT.parquet, and labels.yaml where there is one, for this package.
    folder : where to.
    overwrite : replace files that are there.

    Returns
    -------
    list of Path : what was written, a directory or file a split.

    Raises
    ------
    UserError : no manifest, one that is wrong, files that are there already, ids that Kaldi cannot tell apart.
    """
    manifests = read_manifests(data, SPLITS)
    if target == _TABLE:
        tables = {folder / f"{split}{PARQUET}": manifest for split, manifest in manifests.items()}
        _refuse_present(tables, overwrite=overwrite)
        return _write_tables(data, folder, tables)
    _refuse_members(manifests.values(), target)
    files = {
        folder / name: lines for split, manifest in manifests.items() for name, lines in LINES[target](split, manifest)
    }
    _refuse_present(files, overwrite=overwrite)
    try:
        for path, lines in files.items():
            with replace_when_complete(path) as temporary, temporary.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise cannot_write(folder, error) from None
    return [folder / split if target == "kaldi" else folder / f"{split}.jsonl" for split in manifests]


def _refuse_present(paths: Iterable[Path], *, overwrite: bool) -> None:
    present = [path for path in paths if path.exists()]
    if present and not overwrite:
        raise UserError(
            f"{present[0]}: is there already. Name another folder, or replace what is there by --overwrite."
        )


def _refuse_members(manifests: Iterable[Manifest], target: str) -> None:
    paths = (manifest.audio_path(index) for manifest in manifests for index in range(len(manifest)))
    member = next((path for path in paths if find_member(path) and not path.is_file()), None)
    if member is not None:
        raise UserError(
            f"{member}: expected audio files, which is what {target} knows, found a member of a shard. Export the "
            "folder that was packed."
        )


def _write_tables(data: Path, folder: Path, tables: Mapping[Path, Manifest]) -> list[Path]:
    """Write manifests of our own as Parquet, with the labels beside them."""
    written = list(tables)
    try:
        if (data / LABELS_FILE).is_file():
            written.append(folder / LABELS_FILE)
            with replace_when_complete(written[-1]) as temporary:
                shutil.copyfile(data / LABELS_FILE, temporary)
        for path, manifest in tables.items():
            paths = [_absolute(manifest, index) for index in range(len(manifest))]
            write_manifest(path, {**manifest.columns, "audiopath": paths})
    except OSError as error:
        raise cannot_write(folder, error) from None
    return written


def _jsonl_files(split: str, manifest: Manifest) -> Iterable[tuple[str, Iterable[str]]]:
    yield f"{split}.jsonl", _json_lines(manifest)


def _json_lines(manifest: Manifest) -> Iterable[str]:
    starts, ends = _parts(manifest)
    others = {key: manifest.text_column(key) for key in jsonl.OTHERS}
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        part = not (np.isnan(start) and np.isnan(end))
        first = 0.0 if np.isnan(start) else float(start)
        seconds = float(manifest.columns["seconds"][index]) if np.isnan(end) else round(float(end) - first, 3)
        entry = {
            jsonl.AUDIO: _absolute(manifest, index),
            **({jsonl.OFFSET: first} if part else {}),
            jsonl.DURATION: seconds,
            jsonl.LABEL: str(manifest.columns["class"][index]),
            **{key: str(values[index]) for key, values in others.items() if values[index]},
        }
        yield json.dumps(entry, ensure_ascii=False)


def _kaldi_files(split: str, manifest: Manifest) -> Iterable[tuple[str, Iterable[str]]]:
    """Return the files of a data directory; ids begin with their speaker, as Kaldi's sorting needs."""
    count = len(manifest)
    starts, ends = _parts(manifest)
    ids = [_kaldi_name(name) for name in manifest.columns["id"]]
    speakers = [_kaldi_name(name) for name in manifest.text_column("speaker")]
    names = [
        name if name.startswith(speaker) else f"{speaker}-{name}" for name, speaker in zip(ids, speakers, strict=True)
    ]
    _check_distinct(manifest, names)
    paths = [_absolute(manifest, index) for index in range(count)]
    parts = not (np.isnan(starts).all() and np.isnan(ends).all())
    recordings = names
    if parts:
        common = os.path.commonpath([str(Path(path).parent) for path in paths])
        name_of = {path: _kaldi_name(os.path.relpath(path, common)) for path in paths}
        _check_distinct(manifest, list(name_of.values()))
        recordings = [name_of[path] for path in paths]
        times = zip(
            names, recordings, np.nan_to_num(starts), np.where(np.isnan(ends), kaldi.TO_THE_END, ends), strict=True
        )
        segments = {name: f"{recording} {start:.3f} {end:.3f}" for name, recording, start, end in times}
        yield f"{split}/{kaldi.SEGMENTS}", _kaldi_lines(segments)
    of_speaker: dict[str, list[str]] = {}
    who = {name: speaker or name for name, speaker in zip(names, speakers, strict=True)}
    for name in sorted(who, key=str.encode):
        of_speaker.setdefault(who[name], []).append(name)
    seconds = manifest.columns["seconds"]
    tables: dict[str, Mapping[str, str]] = {
        kaldi.RECORDINGS: dict(zip(recordings, paths, strict=True)),
        kaldi.LANGUAGES: dict(zip(names, map(_kaldi_name, manifest.columns["class"]), strict=True)),
        kaldi.SPEAKERS: who,
        "spk2utt": {speaker: " ".join(members) for speaker, members in of_speaker.items()},
        kaldi.UTTERANCE_SECONDS: {name: f"{value:.3f}" for name, value in zip(names, seconds, strict=True)},
    }
    for name, table in tables.items():
        yield f"{split}/{name}", _kaldi_lines(table)


def _kaldi_lines(table: Mapping[str, str]) -> list[str]:
    # As `LC_ALL=C sort` does.
    return [f"{name} {table[name]}" for name in sorted(table, key=str.encode)]


def _kaldi_name(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", str(text))


def _check_distinct(manifest: Manifest, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(
                f"{manifest.path}: two ids become {name} where Kaldi allows neither blanks nor slashes. Rename one."
            )
        seen.add(name)


def _parts(manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of each utterance, (utterances,) seconds, NaN for those of its file."""
    nothing = np.full(len(manifest), np.nan)
    return manifest.columns.get("start", nothing), manifest.columns.get("end", nothing)


def _absolute(manifest: Manifest, index: int) -> str:
    return os.path.abspath(manifest.audio_path(index))  # noqa: PTH100 - resolve() would follow links


LINES: Mapping[str, Callable[[str, Manifest], Iterable[tuple[str, Iterable[str]]]]] = {
    "kaldi": _kaldi_files,
    "jsonl": _jsonl_files,
}
TARGETS = (*LINES, _TABLE)
