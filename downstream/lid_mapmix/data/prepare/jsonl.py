"""Manifests of NVIDIA NeMo, a JSON object a line: ``lid-mapmix prepare jsonl FILE_OR_DIR OUT``.

Either one file, which is divided, or a folder with train, dev and test, each a file that ends in .jsonl or .json.
"""

import argparse
import json
import math
from pathlib import Path

from ...utils.errors import UserError
from .steps.corpus import SPLITS, exported_labels
from .steps.listing import Utterance, prepare_listed
from .steps.options import DEFAULTS, Options, add_listing_arguments, prepare_as_asked
from .steps.tables import describe_folder, read_lines

DESCRIPTION = "a NeMo manifest (JSON lines with audio_filepath, offset, duration, label), or train, dev and test"
EXAMPLES = """\
lid-mapmix prepare jsonl manifests/ data/
lid-mapmix prepare jsonl all.jsonl data/ --label-key lang --dev-share 0.1 --test-share 0.1"""

EXTENSIONS = (".jsonl", ".json")
AUDIO, OFFSET, DURATION, LABEL = "audio_filepath", "offset", "duration", "label"
# Not NeMo's; they are read and written so that nothing is lost on the way.
OTHERS = ("id", "speaker", "group", "source")
# A class or a speaker may be named 0.
_NOTHING = (None, "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_listing_arguments(parser, "a manifest, or a folder with train.jsonl, dev.jsonl and test.jsonl", shares=True)
    parser.add_argument(
        "--label-key", default=LABEL, metavar="KEY", help="where the dialect or language is (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> Path:
    """Prepare the corpus that the arguments ask for and return its folder."""
    return prepare_as_asked(prepare, arguments, label_key=arguments.label_key)


def prepare(corpus: Path, folder: Path, *, label_key: str = LABEL, options: Options = DEFAULTS) -> Path:
    """Write manifests of NeMo's manifests. Relative paths there are relative to the folder they are in.

    Parameters
    ----------
    corpus : a file, or a folder with files named train, dev and test.
    folder : where the manifests go.
    label_key : the key of the class.
    options : as of all corpora. Without dev, dev is drawn from train, and test too if that is not there.

    Raises
    ------
    UserError : no manifest there, a line that is no JSON object or lacks a key, audio that is missing or broken.
    """
    corpus = corpus.resolve()
    files = {"": corpus} if corpus.is_file() else _find_files(corpus)
    labels = exported_labels(corpus)
    return prepare_listed(
        folder,
        [utterance for split, path in files.items() for utterance in _list(path, split, label_key)],
        corpus="jsonl",
        origin=corpus,
        options=options,
        settings={"label_key": label_key, "clusters": labels and labels.clusters},
        labels=labels,
    )


def _find_files(folder: Path) -> dict[str, Path]:
    files = {
        split: path
        for split in SPLITS
        for path in [folder / f"{split}{extension}" for extension in reversed(EXTENSIONS)]
        if path.is_file()
    }
    if "train" not in files:
        raise UserError(f"{folder}: no train{EXTENSIONS[0]}; found {describe_folder(folder)}. Name it, or one file.")
    if "dev" not in files:
        return {"": files.pop("train"), **files}
    return files


def _list(path: Path, split: str, label_key: str) -> list[Utterance]:
    utterances = []
    for number, line in read_lines(path):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}: line {number} is no JSON ({error}). NeMo has an object on each line.") from None
        missing = [key for key in (AUDIO, label_key) if not isinstance(entry, dict) or entry.get(key) in _NOTHING]
        if missing:
            found = ", ".join(entry) if isinstance(entry, dict) else type(entry).__name__
            raise UserError(
                f"{path}: line {number} has no {' and no '.join(missing)}; found {found or 'nothing'}. "
                "Name the key of the class by --label-key."
            )
        try:
            utterances.append(_to_utterance(entry, path, split, label_key))
        except (TypeError, ValueError):
            raise UserError(f"{path}: line {number} has an {OFFSET} or {DURATION} that is no number.") from None
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
        # Without an offset the file is the utterance, whatever its nominal duration.
        end=round(start + duration, 3),
        **others,
    )
