"""Manifests of NVIDIA NeMo, a JSON object a line: ``lid-mapmix prepare jsonl``.

One file, which is divided, or a folder with train, dev and test, each a file that ends in .jsonl or .json.
"""

import argparse
import json
import math
from collections import Counter
from pathlib import Path

from ...utils.errors import UserError
from .. import SPLITS
from .steps.corpus import DEFAULT_FRACTION, Listing, Utterance, listed_corpus
from .steps.tables import describe_folder, exported_clusters, read_lines

EXTENSIONS = (".jsonl", ".json")
AUDIO, OFFSET, DURATION, LABEL = "audio_filepath", "offset", "duration", "label"
# Not NeMo's; read if a line has them.
OTHERS = ("id", "speaker", "group", "source")
# Missing values; a class or a speaker may be named 0.
_NOTHING = (None, "")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    meaning = "key of the dialect or language (default: %(default)s)"
    parser.add_argument("--label-key", default=LABEL, metavar="KEY", help=meaning)


def _list(options: argparse.Namespace) -> Listing:
    """List a manifest, or those named train, dev and test; without dev, train is divided.

    Relative paths are relative to the folder of the manifest.

    Raises UserError: no manifest, or a line that is not a JSON object or lacks a key.
    """
    corpus, label_key = options.corpus_folder.resolve(), options.label_key
    files = {"": corpus} if corpus.is_file() else _find_files(corpus)
    clusters = exported_clusters(corpus)
    utterances = [utterance for split, path in files.items() for utterance in _list_file(path, split, label_key)]
    utterances = _parts_apart(utterances)
    return Listing(corpus, utterances, {"label_key": label_key, "clusters": clusters}, clusters)


def _parts_apart(utterances: list[Utterance]) -> list[Utterance]:
    """Tell apart the parts of a file that start at the same time, and keep those of a file in one drawn split."""
    ids, files = (Counter(getattr(one, name) for one in utterances) for name in ("id", "audiopath"))
    is_drawn = not all(one.split for one in utterances)
    apart = []
    for one in utterances:
        audio = one.id.removesuffix(f"@{one.start}")
        # An id of the manifest's own is not changed.
        is_named = ids[one.id] > 1 and not math.isnan(one.end) and one.audiopath.endswith(audio)
        name = f"{audio}@{one.start}-{one.end}" if is_named else one.id
        shared = one.audiopath if is_drawn and files[one.audiopath] > 1 else ""
        apart.append(one._replace(id=name, group=one.group or shared))
    return apart


def _find_files(folder: Path) -> dict[str, Path]:
    files = {
        split: path
        for split in SPLITS
        for path in [folder / f"{split}{extension}" for extension in reversed(EXTENSIONS)]
        if path.is_file()
    }
    if "train" not in files:
        raise UserError(
            f"{folder}: expected train{EXTENSIONS[0]}, found {describe_folder(folder)}. Pass another folder, or a file."
        )
    if "dev" not in files:
        return {"": files.pop("train"), **files}
    return files


def _list_file(path: Path, split: str, label_key: str) -> list[Utterance]:
    utterances = []
    for number, line in read_lines(path):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{path}: expected a JSON object in line {number}, found other text ({error}). Correct it."
            ) from None
        missing = [key for key in (AUDIO, label_key) if not isinstance(entry, dict) or entry.get(key) in _NOTHING]
        if missing:
            found = ", ".join(entry) if isinstance(entry, dict) else type(entry).__name__
            raise UserError(
                f"{path}: expected {' and '.join(missing)} in line {number}, found {found or 'nothing'}. "
                "Pass the key of the class by --label-key."
            )
        try:
            utterances.append(_to_utterance(entry, path, split, label_key))
        except (TypeError, ValueError):
            raise UserError(
                f"{path}: expected numbers as {OFFSET} and {DURATION} in line {number}, found others. Correct it."
            ) from None
    return utterances


def _to_utterance(entry: dict, path: Path, split: str, label_key: str) -> Utterance:
    start, duration = (math.nan if entry.get(key) is None else float(entry[key]) for key in (OFFSET, DURATION))
    others = {key: str(entry[key]) for key in OTHERS if entry.get(key) not in _NOTHING}
    audio = str(entry[AUDIO])
    return Utterance(
        audiopath=str(path.parent / audio),
        class_name=str(entry[label_key]),
        id=others.pop("id", f"{audio}@{start}" if start > 0 else audio),
        split=split,
        seconds=duration,
        start=start,
        # Without an offset the whole file is the utterance, whatever its nominal duration.
        end=round(start + duration, 3),
        **others,
    )


CORPUS = listed_corpus(
    "a NeMo manifest (JSON lines with audio_filepath, offset, duration, label), or train, dev and test",
    """\
lid-mapmix prepare jsonl manifests/ --out data/
lid-mapmix prepare jsonl all.jsonl --out data/ --label-key lang --dev-fraction 0.1 --test-fraction 0.1""",
    _list,
    source="a manifest, or a folder with train.jsonl, dev.jsonl and test.jsonl",
    drawn_fraction=DEFAULT_FRACTION,
    add_own_flags=_add_flags,
)
