"""A synthetic corpus to try everything on, made in a minute: ``lid-mapmix prepare demo DIR``.

eSpeak NG says dates, prices, measures and names from CLDR in dialects of seven clusters. The dialects of a cluster say
the same things; speakers (eSpeak's voice variants) and what is said are disjoint between train, dev and test. So a
model has to go by pronunciation, and by words only where dialects truly differ in them.
"""

import argparse
import csv
import multiprocessing
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import torch
from tqdm import tqdm

from ....utils.errors import UserError
from ....utils.files import replace_when_complete
from ...labels import Labels
from ..steps.corpus import SPLITS, Columns, cannot_write, preparation, remove_manifests, write_corpus
from ..steps.options import add_common_arguments
from .dialects import CLUSTERS
from .utterance import Utterance, write_utterance

DESCRIPTION = "synthetic speech in 21 dialects of 7 clusters, made on the spot"
EXAMPLES = """\
lid-mapmix prepare demo data/
lid-mapmix prepare demo data/ --utterances 50 --clusters english iberian"""

DEFAULT_UTTERANCES = 106
MINIMUM_UTTERANCES = 5
# Raised whenever the same settings give other audio than before.
RECIPE = 1

_T = TypeVar("_T")
_R = TypeVar("_R")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the audio and the manifests go")
    parser.add_argument(
        "--utterances",
        type=int,
        default=DEFAULT_UTTERANCES,
        metavar="N",
        help="utterances a dialect, all splits together (default: %(default)s)",
    )
    parser.add_argument(
        "--clusters", nargs="+", choices=list(CLUSTERS), default=list(CLUSTERS), help="only these (default: all)"
    )
    add_common_arguments(parser, shares=False)


def run(arguments: argparse.Namespace) -> Path:
    """Prepare the corpus that the arguments ask for and return its folder."""
    return prepare(
        arguments.folder,
        utterances=arguments.utterances,
        clusters=arguments.clusters,
        seed=arguments.seed,
        overwrite=arguments.overwrite,
    )


def prepare(
    folder: Path,
    *,
    utterances: int = DEFAULT_UTTERANCES,
    clusters: Sequence[str] = tuple(CLUSTERS),
    seed: int = 0,
    overwrite: bool = False,
    processes: int | None = None,
) -> Path:
    """Make the demo corpus.

    Parameters
    ----------
    folder : where the audio and the manifests go.
    utterances : utterances a dialect, all splits together.
    clusters : which clusters of dialects.
    seed : the same seed gives the same files, byte for byte.
    overwrite : replace manifests that are already there.
    processes : how many speak at once; one a core by default.

    Returns
    -------
    Path : `folder`.

    Raises
    ------
    UserError : too few utterances, eSpeak NG is missing, or the folder cannot be written.
    """
    if utterances < MINIMUM_UTTERANCES:
        raise UserError(
            f"--utterances {utterances}: expected {MINIMUM_UTTERANCES} or more, for each split to have one."
        )
    chosen = {name: CLUSTERS[name] for name in CLUSTERS if name in clusters}
    settings = {
        "corpus": "demo",
        "recipe": RECIPE,
        "utterances": utterances,
        "clusters": list(chosen),
        "seed": seed,
    }
    with preparation(folder, settings, overwrite=overwrite) as needed:
        if not needed:
            return folder
        planning = _import_planning()
        planned = [
            utterance
            for cluster, members in chosen.items()
            for utterance in planning.plan_cluster(cluster, members, utterances, seed)
        ]
        try:
            remove_manifests(folder)
            for members in chosen.values():
                for dialect in members:
                    (folder / "audio" / dialect.name).mkdir(parents=True, exist_ok=True)
            speak = partial(write_utterance, folder=folder, seed=seed)
            seconds = _in_parallel(speak, planned, processes or _usable_cores(), "Speaking")
            _write_texts(folder / "texts.csv", planned)
        except OSError as error:
            raise cannot_write(folder, error) from None
        labels = Labels({cluster: tuple(member.name for member in members) for cluster, members in chosen.items()})
        return write_corpus(folder, settings, _manifests(planned, seconds), labels)


def _import_planning() -> ModuleType:
    """Import what needs Babel; it comes with an extra, and the other commands do without."""
    try:
        from . import planning  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "babel":
            raise
        raise UserError(
            "the demo corpus takes its words from Babel, which is not installed. "
            "Run 'pip install babel espeakng-loader'."
        ) from None
    return planning


def _in_parallel(function: Callable[[_T], _R], items: Sequence[_T], processes: int, description: str) -> list[_R]:
    """Return the function of each item, in order, showing progress."""
    with tqdm(total=len(items), desc=description, unit="item") as progress:
        results = []
        if processes == 1:
            for item in items:
                results.append(function(item))
                progress.update()
            return results
        # Spawned and not forked: this process may have threads of torch running.
        with multiprocessing.get_context("spawn").Pool(processes, _limit_threads) as pool:
            for result in pool.imap(function, items, chunksize=max(1, min(16, len(items) // processes))):
                results.append(result)
                progress.update()
        return results


def _usable_cores() -> int:
    # macOS has no affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _limit_threads() -> None:
    torch.set_num_threads(1)


def _manifests(planned: Sequence[Utterance], seconds: Sequence[float]) -> dict[str, Columns]:
    rows_of: dict[str, list] = {split: [] for split in SPLITS}
    for utterance, duration in zip(planned, seconds, strict=True):
        rows_of[utterance.split].append(
            (utterance.audio_path, utterance.dialect.name, duration, utterance.id, utterance.speaker, "espeak-ng")
        )
    names = ("audiopath", "class", "seconds", "id", "speaker", "source")
    return {split: dict(zip(names, zip(*sorted(rows), strict=True), strict=True)) for split, rows in rows_of.items()}


def _write_texts(path: Path, planned: Sequence[Utterance]) -> None:
    """Write what is said, for people."""
    with replace_when_complete(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "text"))
        writer.writerows((utterance.id, utterance.text) for utterance in planned)
