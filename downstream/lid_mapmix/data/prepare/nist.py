"""NIST's language recognition evaluations, by their segment keys: ``lid-mapmix prepare nist``.

A key has one row per segment. Those of 2017 and 2022 have a header; those of 2005 to 2009 have comments that start with
#, and blanks or commas between fields (``--columns``). The layouts are taken from Kaldi's egs/lre07 and Hyperion's
egs/lre22. Audio is found by name at any depth below the folder. Segments of several durations are cut from one
recording; the keys do not say so, and it is found by comparing the audio.
"""

import argparse
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ...utils.errors import UserError
from ..audio.folders import audio_below
from .steps.corpus import DEFAULT_FRACTION, Listing, Utterance, listed_corpus
from .steps.tables import describe_folder, read_lines, read_table, to_numbers

ID, CLASS, DIALECT, SOURCE = "segmentid", "language_code", "dialect", "data_source"
# The nominal duration of a segment cut to 3, 10 or 30 s of speech; empty for VAST, whose files are whole.
NOMINAL_SECONDS = ("speech_duration", "length_condition")
OTHER_NAMES = {"file_name": ID, "language": CLASS}
IGNORED = "-"
UNSEARCHED = "do not compare audio; each segment is its own group"
_NO_DIALECT = ("", "na", "n/a")
# The two sides of a call are separate files, 20110112_085632_25-a.sph and 695200_ch0.sph.
SIDE_OF_CALL = re.compile(r"[-_](?:[abAB]|ch\d)$")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--key", type=Path, required=True, metavar="FILE", help="key of train, which is divided without --dev-key")
    add("--dev-key", type=Path, metavar="FILE", help="key of dev")
    add("--test-key", type=Path, metavar="FILE", help="key of test")
    names = (ID, CLASS, DIALECT, *NOMINAL_SECONDS, SOURCE, IGNORED)
    columns = f"names of the first columns of keys without a header: {', '.join(names[:-1])}, or {IGNORED} for another"
    add("--columns", nargs="+", metavar="NAME", choices=names, help=columns)
    add("--no-cut-search", action="store_true", help=UNSEARCHED)


def _list(options: argparse.Namespace) -> Listing:
    """List the segments of the keys. Raises UserError: a key of another layout, or a segment with several files."""
    from .nist_cuts import group_with_whole  # noqa: PLC0415

    folder = options.corpus_folder.resolve()
    describe_folder(folder)
    files = find_audio(folder)
    keys = {"train" if options.dev_key else "": options.key, "dev": options.dev_key, "test": options.test_key}
    utterances = [
        utterance
        for split, path in keys.items()
        if path is not None
        for utterance in list_segments(path, _read_key(path, options.columns), split, folder, files)
    ]
    path, count = Counter(one.audiopath for one in utterances).most_common(1)[0] if utterances else ("", 1)
    if count > 1:
        raise UserError(f"{path}: expected one row in all keys, found {count}. Remove it from one of them.")
    search_cuts = not options.no_cut_search
    arrange = partial(group_with_whole, ids={utterance.id for utterance in utterances}) if search_cuts else None
    return Listing(folder, utterances, {"search_cuts": search_cuts}, arrange=arrange)


def _read_key(path: Path, columns: Sequence[str] | None) -> dict[str, list[str]]:
    if columns is None:
        separator, optional = "," if path.suffix == ".csv" else "\t", (DIALECT, *NOMINAL_SECONDS, SOURCE)
        return read_table(path, (ID, CLASS), optional, separator=separator, other_names=OTHER_NAMES)
    rows = [re.split(r"\s*,\s*|\s+", line.strip()) for _, line in read_lines(path) if not line.startswith("#")]
    wrong = next((row for row in rows if len(row) < len(columns)), [] if {ID, CLASS} <= set(columns) else columns)
    if wrong:
        raise UserError(
            f"{path}: expected the fields {', '.join(columns)}, {ID} and {CLASS} among them, found {' '.join(wrong)}. "
            "Correct --columns."
        )
    return {name: [row[number] for row in rows] for number, name in enumerate(columns)}


def find_audio(folder: Path) -> dict[str, list[Path]]:
    """Return the audio files below a folder by name, and by name without extension."""
    files: dict[str, list[Path]] = {}
    for path in audio_below(folder):
        for name in (path.name, path.stem):
            files.setdefault(name, []).append(path)
    return files


def list_segments(
    path: Path, key: Mapping[str, Sequence[str]], split: str, folder: Path, files: Mapping[str, Sequence[Path]]
) -> list[Utterance]:
    """Return the segments of a key. Raises UserError: a duration is not a number, or a segment has several files.

    `key`: column name → (segments,) values. `split`: empty or train groups them by call, others singly. `files`: the
    audio in `folder`, by :func:`find_audio`.
    """
    duration = next((name for name in NOMINAL_SECONDS if name in key), None)
    count = len(key[ID])
    nominal = to_numbers(path, duration, key[duration]) if duration else [math.nan] * count
    dialects, sources = (key.get(name, [""] * count) for name in (DIALECT, SOURCE))
    utterances = []
    for name, language, dialect, source, seconds in zip(key[ID], key[CLASS], dialects, sources, nominal, strict=True):
        file = Path(Path(name).name)
        found = files.get(file.name) or files.get(file.stem) or [folder / file]
        if len(found) > 1:
            raise UserError(
                f"{path}: expected one file for {name}, found {found[0]} and {found[1]}. Use a folder with one of them."
            )
        utterances.append(
            Utterance(
                audiopath=str(found[0]),
                class_name=language if dialect.lower() in _NO_DIALECT else f"{language}-{dialect}",
                id=f"{split}/{name}".lstrip("/"),
                split=split,
                seconds=seconds,
                group=SIDE_OF_CALL.sub("", file.stem) if split in ("", "train") else f"{split}/{name}",
                source=source.lower(),
            )
        )
    return utterances


CORPUS = listed_corpus(
    "any NIST LRE with segment keys (licensed by the LDC)",
    """\
lid-mapmix prepare nist LRE22/ --out data/ --key LRE22/metadata/lre22_dev_metadata.tsv --test-key eval_key.tsv
lid-mapmix prepare nist LRE09/ --out data/ --key NIST_LRE09_segment.key.v0.txt --columns segmentid language_code""",
    _list,
    source="folder with the audio, at any depth",
    drawn_fraction=DEFAULT_FRACTION,
    add_own_flags=_add_flags,
)
