"""Export of manifests: Kaldi data directories, NeMo's JSON lines, and Parquet for this package.

``lid-mapmix prepare kaldi`` and ``prepare jsonl`` read the first two again. Audio paths are absolute.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from ...utils.files import replace_when_complete
from .. import LABELS_FILE, SPLITS
from ..audio.shards import find_member
from ..labels import Labels, read_labels, write_labels
from ..manifest.manifest import PARQUET, Manifest, read_manifests
from ..manifest.parquet_format import write_parquet
from ..prepare import jsonl, kaldi
from ..prepare.steps.prepared_folder import cannot_write
from . import ManifestForm

# Blanks separate Kaldi's columns, and its scripts use ids as file names.
_NOT_IN_NAMES = re.compile(r"[\s/]+")
_SPEAKERS_UTTERANCES = "spk2utt"
_KALDI_FILES = (
    *(kaldi.RECORDINGS, kaldi.SEGMENTS, kaldi.LANGUAGES, kaldi.SPEAKERS, _SPEAKERS_UTTERANCES),
    kaldi.UTTERANCE_SECONDS,
)
# All files of a split that an export may write.
_SPLIT_FILES = {
    ManifestForm.KALDI: [f"{{}}/{name}" for name in _KALDI_FILES],
    ManifestForm.JSONL: ["{}.jsonl"],
    ManifestForm.PARQUET: ["{}" + PARQUET],
}


def export_manifests(data: Path, target: ManifestForm, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write every manifest of a folder in another format.

    Raises UserError: no manifest, a fault in one, files that already exist, ids that are equal in Kaldi's format, or
    paths that Kaldi would read as something else.

    Returns what was written: one directory or file per split, and the labels.

    `data`: the folder with train.csv, dev.csv and test.csv, or some of them. `target`: ``kaldi`` writes
    FOLDER/SPLIT/wav.scp and the other tables; ``jsonl`` writes FOLDER/SPLIT.jsonl; ``parquet`` writes
    FOLDER/SPLIT.parquet for this package. labels.yaml is copied if there is one.
    """
    manifests = read_manifests(data, SPLITS)
    labels = read_labels(data / LABELS_FILE) if (data / LABELS_FILE).is_file() else None
    if target == ManifestForm.PARQUET:
        _refuse_second_form(folder)
    else:
        _refuse_members(manifests.values(), target)
    files = {
        folder / name: write
        for split, manifest in manifests.items()
        for name, write in _split_files(split, manifest, target)
    }
    files |= _labels_file(labels, target, folder)
    # Files of an earlier export that this one does not write would be read as a part of it.
    possible = (folder / name.format(split) for split in SPLITS for name in _SPLIT_FILES[target])
    present = [path for path in possible if path.exists()]
    if present and not overwrite:
        raise UserError(f"{present[0]}: already exists. Use another folder, or replace it by --overwrite.")
    try:
        with ExitStack() as complete:
            for path, write in files.items():
                write(complete.enter_context(replace_when_complete(path)))
            for path in present:
                if path not in files:
                    path.unlink()
    except OSError as error:
        raise cannot_write(folder, error) from None
    return list(dict.fromkeys(path.parent if path.parent != folder else path for path in files))


def _split_files(split: str, manifest: Manifest, target: ManifestForm) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield the name of each file of a split, and the function that writes it."""
    if target == ManifestForm.PARQUET:
        columns = {**manifest.columns, "audiopath": _absolute_paths(manifest)}
        yield f"{split}{PARQUET}", partial(write_parquet, columns=columns)
    elif target == ManifestForm.JSONL:
        yield f"{split}.jsonl", partial(_write_lines, lines=_json_lines(manifest))
    else:
        for name, table in _kaldi_tables(manifest):
            # As `LC_ALL=C sort` does.
            lines = [f"{key} {table[key]}" for key in sorted(table, key=str.encode)]
            yield f"{split}/{name}", partial(_write_lines, lines=lines)


def _labels_file(labels: Labels | None, target: ManifestForm, folder: Path) -> dict[Path, Callable[[Path], None]]:
    """Return how to write the labels, which the other toolkits' formats do not have."""
    if labels is not None and target == ManifestForm.KALDI:
        labels = Labels({name: tuple(map(_kaldi_name, members)) for name, members in labels.clusters.items()})
    path = folder / LABELS_FILE
    if path.is_file():
        if labels is None or [*read_labels(path).clusters.items()] != [*labels.clusters.items()]:
            raise UserError(
                f"{path}: expected the labels of the exported corpus, found others. Use another folder, or delete it."
            )
        return {}
    return {} if labels is None else {path: partial(write_labels, labels=labels)}


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _refuse_second_form(folder: Path) -> None:
    text = next((path for path in (folder / f"{split}.csv" for split in SPLITS) if path.is_file()), None)
    if text is not None:
        raise UserError(f"{text}: already exists; a folder has one manifest per split. Use another folder by --out.")


def _refuse_members(manifests: Iterable[Manifest], target: ManifestForm) -> None:
    paths = (Path(path) for manifest in manifests for path in _absolute_paths(manifest) if "#" in path)
    member = next((path for path in paths if find_member(path) and not path.is_file()), None)
    if member is not None:
        raise UserError(
            f"{member}: expected audio files, as {target} needs, found a member of a shard. Export the folder that was "
            "packed."
        )


def _json_lines(manifest: Manifest) -> Iterable[str]:
    others = map(manifest.text_column, jsonl.OTHERS)
    columns = (manifest.columns["class"], *map(manifest.number_column, ("seconds", "start", "end")), *others)
    rows = zip(_absolute_paths(manifest), *(values.tolist() for values in columns), strict=True)
    for path, class_name, nominal, start, end, *values in rows:
        part = not (np.isnan(start) and np.isnan(end))
        first = 0.0 if np.isnan(start) else start
        entry = {
            jsonl.AUDIO: path,
            **({jsonl.OFFSET: first} if part else {}),
            jsonl.DURATION: nominal if np.isnan(end) else round(end - first, 3),
            jsonl.LABEL: class_name,
            **{key: value for key, value in zip(jsonl.OTHERS, values, strict=True) if value},
        }
        yield json.dumps(entry, ensure_ascii=False)


def _kaldi_tables(manifest: Manifest) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the name and table of each file of a data directory; ids start with the speaker, for Kaldi's sorting."""
    starts, ends = map(manifest.number_column, ("start", "end"))
    ids, speakers, classes = (
        [_kaldi_name(text) for text in manifest.text_column(name).tolist()] for name in ("id", "speaker", "class")
    )
    names = [
        name if name.startswith(speaker) else f"{speaker}-{name}" for name, speaker in zip(ids, speakers, strict=True)
    ]
    _check_distinct(manifest, names)
    for column, what in (("class", "classes"), ("speaker", "speakers")):
        _check_distinct(manifest, [_kaldi_name(name) for name in set(manifest.text_column(column).tolist())], what)
    paths = _absolute_paths(manifest)
    _check_paths(manifest, paths)
    parts = not (np.isnan(starts).all() and np.isnan(ends).all())
    recordings = names
    if parts:
        common = os.path.commonpath([str(Path(path).parent) for path in paths])
        name_of = {path: _kaldi_name(os.path.relpath(path, common)) for path in paths}
        _check_distinct(manifest, list(name_of.values()), "files")
        recordings = [name_of[path] for path in paths]
        times = zip(
            names, recordings, np.nan_to_num(starts), np.where(np.isnan(ends), kaldi.TO_THE_END, ends), strict=True
        )
        yield kaldi.SEGMENTS, {name: f"{recording} {start:.3f} {end:.3f}" for name, recording, start, end in times}
    of_speaker: dict[str, list[str]] = {}
    who = {name: speaker or name for name, speaker in zip(names, speakers, strict=True)}
    for name in sorted(who, key=str.encode):
        of_speaker.setdefault(who[name], []).append(name)
    seconds = manifest.columns["seconds"]
    yield kaldi.RECORDINGS, dict(zip(recordings, paths, strict=True))
    yield kaldi.LANGUAGES, dict(zip(names, classes, strict=True))
    yield kaldi.SPEAKERS, who
    yield _SPEAKERS_UTTERANCES, {speaker: " ".join(members) for speaker, members in of_speaker.items()}
    yield kaldi.UTTERANCE_SECONDS, {name: f"{value:.3f}" for name, value in zip(names, seconds, strict=True)}


def _kaldi_name(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text)


def _check_distinct(manifest: Manifest, names: list[str], what: str = "ids") -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(
                f"{manifest.path}: two {what} become {name}, because Kaldi allows no blanks and slashes. Rename one."
            )
        seen.add(name)


def _check_paths(manifest: Manifest, paths: Iterable[str]) -> None:
    for path in paths:
        if "\n" in path or path != path.strip() or kaldi.what_is_no_file(path):
            raise UserError(
                f"{manifest.path}: expected a path that Kaldi reads as a file, found {path!r}. Rename it: without line "
                "feeds, blanks at an end, '|', or ':' and a number at its end."
            )


def _absolute_paths(manifest: Manifest) -> list[str]:
    folder, paths = str(manifest.path.parent), manifest.columns["audiopath"].tolist()
    # Not resolve(), which would follow links; and text, because millions of Path objects are slow.
    return [os.path.abspath(os.path.join(folder, path)) for path in paths]  # noqa: PTH100, PTH118
