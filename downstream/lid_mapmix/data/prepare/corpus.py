"""What every prepared corpus has in common: its splits, its flags and the files written last.

A folder is prepared when train.csv, dev.csv, test.csv and labels.yaml are there and prepared.json holds the settings
they were made with. They are written after all audio, and train.csv last of all, so an interrupted preparation is
seen as such and simply starts again.
"""

import argparse
import json
import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...files import replace_when_complete
from ..labels import Labels, write_labels
from ..manifest import write_manifest

SPLITS = ("train", "dev", "test")
DEFAULT_SHARE = 0.15
SETTINGS_FILE = "prepared.json"
LABELS_FILE = "labels.yaml"
# In the order of writing; train.csv last, because it is what everything else looks for first.
_RESULT_FILES = (LABELS_FILE, *(f"{split}.csv" for split in reversed(SPLITS)))

Columns = Mapping[str, Sequence | np.ndarray]

log = logging.getLogger(__name__)


def _seed(text: str) -> int:
    """Read a seed, which may not be negative."""
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return int(text)


def add_common_arguments(parser: argparse.ArgumentParser, *, shares: bool, share: float = DEFAULT_SHARE) -> None:
    """Add the flags that every corpus has, and the shares of dev and test (by default `share`) where they are drawn."""
    if shares:
        for split in SPLITS[1:]:
            parser.add_argument(
                f"--{split}-share",
                type=float,
                default=share,
                metavar="SHARE",
                help=f"share of the recordings that goes to {split}.csv (default: %(default)s)",
            )
    parser.add_argument("--seed", type=_seed, default=0, help="another seed draws other splits (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace manifests that are already there")


def needs_preparation(
    folder: Path, settings: Mapping[str, object], *, overwrite: bool, splits: Sequence[str] = SPLITS
) -> bool:
    """Tell whether `folder` has yet to be prepared with these settings.

    Parameters
    ----------
    folder : where the manifests go.
    settings : everything the result depends on; has to survive JSON.
    overwrite : prepare even where other manifests would be replaced.
    splits : those that the corpus will have.

    Raises
    ------
    UserError : the folder holds manifests made in another way, and `overwrite` was not asked for.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file where a folder is needed. Name another folder.")
    present = [name for name in _RESULT_FILES if (folder / name).exists()]
    if _stored_settings(folder) == json.loads(json.dumps(settings)):
        if {LABELS_FILE, *(f"{split}.csv" for split in splits)} <= set(present):
            log.info("%s: already prepared with these settings; nothing to do", folder)
            return False
        return True
    if present and not overwrite:
        raise UserError(
            f"{folder}: already holds {', '.join(present)}, made from other settings or recordings. "
            "Name another folder, or replace them with --overwrite."
        )
    return True


def remove_manifests(folder: Path) -> None:
    """Take away manifests of an earlier preparation, before anything they refer to changes."""
    for name in (*reversed(_RESULT_FILES), SETTINGS_FILE):
        (folder / name).unlink(missing_ok=True)


def write_corpus(
    folder: Path, settings: Mapping[str, object], manifests: Mapping[str, Columns], labels: Labels
) -> Path:
    """Write the settings, labels and manifests of a corpus whose audio is complete.

    Parameters
    ----------
    folder : where to; made if need be.
    settings : what :func:`needs_preparation` compares the next time.
    manifests : split → columns; train and dev at least.
    labels : the classes and their clusters.
    """
    try:
        remove_manifests(folder)
        with replace_when_complete(folder / SETTINGS_FILE) as temporary:
            temporary.write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        write_labels(folder / LABELS_FILE, labels)
        for split in sorted(manifests, key=SPLITS.index, reverse=True):
            write_manifest(folder / f"{split}.csv", manifests[split])
    except OSError as error:
        raise cannot_write(folder, error) from None
    return folder


def cannot_write(folder: Path, error: OSError) -> UserError:
    """Return the error for a folder that cannot be written."""
    return UserError(f"{folder}: cannot write there ({error.strerror or error}). Name a folder that you may write.")


def divide(columns: Mapping[str, np.ndarray], splits: np.ndarray) -> dict[str, Columns]:
    """Return the columns of each split.

    Parameters
    ----------
    columns : column name → (utterances,) values.
    splits : (utterances,) str, the split of each utterance.
    """
    return {split: {name: values[splits == split] for name, values in columns.items()} for split in SPLITS}


def fingerprint(files: Iterable[Path], folder: Path) -> str:
    """Return a checksum of names and sizes, which changes when recordings come, go or are replaced."""
    checksum = 0
    for file in files:
        checksum = zlib.crc32(f"{file.relative_to(folder).as_posix()}\t{file.stat().st_size}\n".encode(), checksum)
    return f"{checksum:08x}"


def _stored_settings(folder: Path) -> object:
    try:
        return json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Absent or not ours: then whatever else is there is not ours either.
        return None
