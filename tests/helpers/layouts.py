"""What tests of corpora have in common: small audio files, and the manifests that were made of them."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from lid_mapmix.apps import cli
from lid_mapmix.data.audio.spans import utterance_spans
from lid_mapmix.data.labels import read_labels
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.data.prepare import find_corpus

SPLITS = ("train", "dev", "test")


def write_tone(path: Path, seconds: float = 0.3, rate: int = 16_000) -> Path:
    """Write an audio file in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(round(rate * seconds)) / 9), rate)
    return path


def write_lines(path: Path, lines: Iterable[Sequence[str]], *, between: str = "\t", encoding: str = "utf-8") -> Path:
    """Write a table, a sequence of fields a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(between.join(map(str, fields)) + "\n" for fields in lines), encoding=encoding)
    return path


def prepare(corpus: str, *places: Path, **flags: object) -> Path:
    """Prepare a corpus into the last place: ``dev_fraction=0.2`` is ``--dev-fraction 0.2``, True a flag alone."""
    words = [corpus, *map(str, places[:-1]), "--out", str(places[-1])]
    for name, value in flags.items():
        flag = "--" + name.strip("_").replace("_", "-")
        if isinstance(value, list | tuple):
            words += [flag, *map(str, value)]
        elif value is not False:
            words.append(flag if value is True else f"{flag}={value}")
    return find_corpus(corpus).prepare(cli.make_prepare_parser().parse_args(words))


def read_rows(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Return split → its utterances, once training would take all of them and nobody is in two splits."""
    rows = {}
    for split in SPLITS:
        if not (folder / f"{split}.csv").is_file():
            continue
        manifest = read_manifest(folder / f"{split}.csv")
        read_labels(folder / "labels.yaml").class_indices(manifest)
        utterance_spans(manifest)
        columns = {name: list(map(str, values)) for name, values in manifest.columns.items()}
        rows[split] = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for name, (one, other) in itertools.product(("id", "speaker", "group"), itertools.combinations(rows, 2)):
        shared = {row.get(name) for row in rows[one]} & {row.get(name) for row in rows[other]} - {None, ""}
        assert not shared, f"{name} in {one} and {other}: {shared}"
    return rows


def values(rows: Iterable[dict[str, str]], name: str) -> set[str]:
    """Return what is in a column."""
    return {row[name] for row in rows}


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of what was prepared, but for the settings, which name the folder of the audio."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in {".csv", ".yaml"}}
