"""Kaldi data directories: ``lid-mapmix prepare kaldi``.

One directory, which is divided, or a folder with train, dev and test, each a data directory. Audio must be in files:
commands in wav.scp are refused, because they cannot be read in parts.
"""

import argparse
import logging
import math
import re
from pathlib import Path

from ...utils.errors import UserError
from .. import SPLITS
from .steps.corpus import DEFAULT_FRACTION, Listing, Utterance, listed_corpus
from .steps.tables import describe_folder, exported_clusters, read_pairs, to_numbers

RECORDINGS = "wav.scp"
LANGUAGES = "utt2lang"
SEGMENTS = "segments"
SPEAKERS = "utt2spk"
UTTERANCE_SECONDS = "utt2dur"
RECORDING_SECONDS = "reco2dur"
# In segments: the end of the recording.
_TO_THE_END = -1.0
_ARCHIVE = re.compile(r".+:\d+(?:\[.*\])?")

log = logging.getLogger(__name__)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    meaning = "folder that relative paths in wav.scp are relative to (default: working directory)"
    parser.add_argument("--root", type=Path, default=Path(), metavar="DIR", help=meaning)


def _list(options: argparse.Namespace) -> Listing:
    """List a data directory, or those of the splits; without dev, train is divided. Raises UserError: bad content."""
    corpus_folder, root = options.corpus_folder.resolve(), options.root.resolve()
    if (corpus_folder / RECORDINGS).is_file():
        directories = {"": corpus_folder}
    else:
        directories = {
            split: corpus_folder / split for split in SPLITS if (corpus_folder / split / RECORDINGS).is_file()
        }
    if not directories.keys() & {"", "train"}:
        raise UserError(
            f"{corpus_folder}: expected {RECORDINGS} in it or in its train/, found {describe_folder(corpus_folder)}. "
            "Pass a Kaldi data directory, or a folder of several."
        )
    if "train" in directories and "dev" not in directories:
        directories = {"": directories.pop("train"), **directories}
    clusters = exported_clusters(corpus_folder)
    utterances = [
        utterance for split, directory in directories.items() for utterance in list_directory(directory, split, root)
    ]
    return Listing(corpus_folder, utterances, {"clusters": clusters}, clusters)


def list_directory(directory: Path, split: str, root: Path, languages_file: str = LANGUAGES) -> list[Utterance]:
    """Return the utterances of a data directory; `root`: of relative paths. Raises UserError: bad content."""
    recordings = _read_recordings(directory / RECORDINGS, root)
    segments = _read_segments(directory / SEGMENTS, recordings)
    languages = read_pairs(directory / languages_file)
    speakers = read_pairs(directory / SPEAKERS) if (directory / SPEAKERS).is_file() else {}
    seconds, recording_seconds = (_read_durations(directory / name) for name in (UTTERANCE_SECONDS, RECORDING_SECONDS))
    # Recipes for language recognition copy utt2lang there if speakers are unknown.
    if speakers and all(speakers.get(name) == language for name, language in languages.items()):
        log.info("%s: the speakers are the languages, and are ignored", directory / SPEAKERS)
        speakers = {}
    # Kaldi has no utterance without a speaker: if it is unknown, its name is the utterance's.
    speakers = {name: speaker for name, speaker in speakers.items() if speaker != name}
    utterances = segments or {name: (name, math.nan, math.nan) for name in recordings}
    for names, others, what in ((utterances, languages, "a language"), (languages, utterances, "audio")):
        lacking = [name for name in names if name not in others]
        if lacking:
            raise UserError(
                f"{directory / languages_file}: expected {what} for {lacking[0]}, found none ({len(lacking)} such). "
                "Repair the directory, for example by Kaldi's utils/fix_data_dir.sh."
            )

    def duration(name: str, recording: str, start: float, end: float) -> float:
        if name in seconds:
            return seconds[name]
        if math.isnan(end):
            end = recording_seconds.get(recording, math.nan)
        return round(end - (0.0 if math.isnan(start) else start), 3)

    return [
        Utterance(
            audiopath=recordings[recording],
            class_name=languages[name],
            id=name,
            split=split,
            seconds=duration(name, recording, start, end),
            start=start,
            end=end,
            speaker=speakers.get(name, ""),
            group=recording if segments else "",
        )
        for name, (recording, start, end) in utterances.items()
    ]


def _what_is_no_file(value: str) -> str:
    """Return what a value in wav.scp is if it is not a file; empty for a file."""
    if value.endswith("|"):
        return "a command"
    if value == "-":
        return "standard input"
    return "a part of an archive" if _ARCHIVE.fullmatch(value) else ""


def _read_recordings(path: Path, root: Path) -> dict[str, str]:
    recordings = read_pairs(path)
    for name, value in recordings.items():
        kind = _what_is_no_file(value)
        if kind:
            raise UserError(
                f"{path}: expected an audio file for {name}, found {kind} ({value}). Write the audio to files, "
                "for example by Kaldi's wav-copy or ESPnet's format_wav_scp.sh, and list those."
            )
    return {name: str(root / value) for name, value in recordings.items()}


def _read_durations(path: Path) -> dict[str, float]:
    pairs = read_pairs(path) if path.is_file() else {}
    return dict(zip(pairs, to_numbers(path, path.name, pairs.values()), strict=True))


def _read_segments(path: Path, recordings: dict[str, str]) -> dict[str, tuple[str, float, float]]:
    if not path.is_file():
        return {}
    segments = {}
    for name, value in read_pairs(path).items():
        try:
            recording, start, end = value.split()
            times = float(start), float(end)
        except ValueError:
            raise UserError(
                f"{path}: expected a recording, a start and an end in seconds for {name}, found '{value}'. Correct it."
            ) from None
        if recording not in recordings:
            raise UserError(
                f"{path}: expected a recording of {RECORDINGS} for {name}, found {recording}. Repair the directory."
            )
        segments[name] = (recording, times[0], math.nan if times[1] == _TO_THE_END else times[1])
    return segments


CORPUS = listed_corpus(
    "a Kaldi data directory with utt2lang, or train, dev and test with one each",
    """\
lid-mapmix prepare kaldi egs/lid/v1/data/ --out data/ --root egs/lid/v1/
lid-mapmix prepare kaldi dump/raw/all/ --out data/ --dev-fraction 0.1 --test-fraction 0.1""",
    _list,
    source="a data directory, or a folder with train/, dev/ and test/",
    drawn_fraction=DEFAULT_FRACTION,
    add_own_flags=_add_flags,
)
