"""Features on disk, in numbered slots that may be filled in any order, by several processes, and read again at once.

A folder holds the slots of one split:

============== =====================================================================================================
header.json    what the slots hold, by which a later run knows whether they are what it needs; written last
frames.u32     a number a slot: how many frames it holds, 0 while it is empty
features.f16   a block a slot, of (layers, frames, dim) float16; a sparse file, so an empty slot takes no disk
============== =====================================================================================================

A slot is filled by writing its features, then waiting until they are on the disk, then writing its number of frames:
whoever is killed in between leaves an empty slot, and two processes that fill the same one write the same.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.errors import UserError
from ..utils.files import write_text

_HEADER, _FRAMES, _FEATURES = "header.json", "frames.u32", "features.f16"
_VALUE, _COUNT = np.dtype("<f2"), np.dtype("<u4")


@dataclass(frozen=True, eq=False)
class SlotLayout:
    """Where in its file each slot lies.

    Attributes
    ----------
    capacities : (slots,) int64, frames that a slot holds at most.
    layers, dim : how many layers a slot holds, and the size of a frame.
    """

    capacities: np.ndarray
    layers: int
    dim: int

    @property
    def starts(self) -> np.ndarray:
        """Return (slots + 1,) int64: the first value of each slot, and behind the last one the number of all."""
        return np.concatenate([[0], np.cumsum(self.capacities * self.layers * self.dim)])

    @property
    def byte_count(self) -> int:
        """How large the features are once every slot is filled."""
        return int(self.capacities.sum()) * self.layers * self.dim * _VALUE.itemsize


class FeatureStore:
    """The slots of a folder.

    Parameters
    ----------
    folder : made where absent. Whoever may open it at the same time holds a lock meanwhile.
    layout : of the slots.
    header : what they hold, JSON's types.

    Raises
    ------
    UserError : the folder holds something else, or is damaged.
    """

    def __init__(self, folder: Path, layout: SlotLayout, header: Mapping[str, Any]) -> None:
        self.folder = folder
        self.layout = layout
        check_header(folder / _HEADER, header)
        if not (folder / _HEADER).is_file():
            self._make(header)
        self._open()

    def __len__(self) -> int:
        return len(self.layout.capacities)

    def holds(self, slot: int) -> bool:
        """Say whether a slot is filled, as it then stays."""
        return bool(self._frames[slot])

    def filled(self) -> int:
        """Count the slots that are filled."""
        return int(np.count_nonzero(self._frames))

    def read(self, slot: int) -> np.ndarray:
        """Return a filled slot, (layers, frames, dim) float16, as a view of the file; not to be written to."""
        frames, start = int(self._frames[slot]), self._starts[slot]
        shape = (self.layout.layers, frames, self.layout.dim)
        return self._features[start : start + shape[0] * shape[1] * shape[2]].reshape(shape)

    def write(self, slots: Sequence[int], features: Sequence[np.ndarray]) -> None:
        """Fill slots.

        Parameters
        ----------
        slots : their numbers.
        features : (layers, frames, dim) float16 each.
        """
        path = self.folder / _FEATURES
        descriptor = os.open(path, os.O_RDWR)
        try:
            for slot, each in zip(slots, features, strict=True):
                layers, frames, dim = each.shape
                if (layers, dim) != (self.layout.layers, self.layout.dim) or not (
                    0 < frames <= self.layout.capacities[slot]
                ):
                    raise ValueError(
                        f"{self.folder}: slot {slot} takes {self.layout.layers} layers of 1 to "
                        f"{self.layout.capacities[slot]} frames of {self.layout.dim}; got {each.shape}"
                    )
                values = each.astype(_VALUE, order="C", copy=False)
                _write_at(path, descriptor, values, self._starts[slot] * _VALUE.itemsize)
            # Not through memory: where the disk is full, that would end the process without a word.
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path = self.folder / _FRAMES
        descriptor = os.open(path, os.O_RDWR)
        try:
            for slot, each in zip(slots, features, strict=True):
                _write_at(path, descriptor, np.array([each.shape[1]], dtype=_COUNT), slot * _COUNT.itemsize)
        finally:
            os.close(descriptor)

    def _make(self, header: Mapping[str, Any]) -> None:
        """Make a store all of whose slots are empty, over whatever an interrupted process had begun to make."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, size in self._sizes().items():
            with (self.folder / name).open("wb") as file:
                file.truncate(size)
        write_text(self.folder / _HEADER, json.dumps(header, indent=1))

    def _open(self) -> None:
        for name, size in self._sizes().items():
            path = self.folder / name
            found = path.stat().st_size if path.is_file() else 0
            if found != size:
                raise UserError(f"{path}: has {found} bytes, expected {size}. Delete the folder {self.folder}.")
        # Mapped to be written, which it never is, since torch warns of arrays that may not be.
        self._frames = np.memmap(self.folder / _FRAMES, dtype=_COUNT, mode="r+")
        if (self._frames > self.layout.capacities).any():
            path = self.folder / _FRAMES
            raise UserError(f"{path}: is damaged, with more frames than a slot holds. Delete the folder {self.folder}.")
        self._features = np.memmap(self.folder / _FEATURES, dtype=_VALUE, mode="r+")
        self._starts = [int(start) for start in self.layout.starts]

    def _sizes(self) -> dict[str, int]:
        return {_FRAMES: len(self) * _COUNT.itemsize, _FEATURES: self.layout.byte_count}

    def __getstate__(self) -> dict[str, Any]:
        # To a process that reads audio goes where the files are, not what is in them.
        return {"folder": self.folder, "layout": self.layout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def check_header(path: Path, expected: Mapping[str, Any]) -> None:
    """Compare what a file says with what is needed; where there is none, all is well.

    Raises
    ------
    UserError : they differ, or the file is damaged.
    """
    if not path.is_file():
        return
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{path}: is damaged. Delete the folder {path.parent}.") from None
    for name in dict.fromkeys((*expected, *found)):
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{path.parent}: holds features of another {name}: expected {expected.get(name)}, found "
                f"{found.get(name)}. Name another folder by --cache-features, or delete this one."
            )


def allocated_bytes(folder: Path) -> int:
    """Return what the features of a folder take on the disk, the holes in a sparse file not counted."""
    path = folder / _FEATURES
    return path.stat().st_blocks * 512 if path.is_file() else 0


def _write_at(path: Path, descriptor: int, values: np.ndarray, offset: int) -> None:
    content = values.data.cast("B")
    while content:
        try:
            written = os.pwrite(descriptor, content, offset)
        except OSError as error:
            # By itself it names no file.
            raise OSError(error.errno, error.strerror, str(path)) from error
        content, offset = content[written:], offset + written
