"""Features on disk, in numbered slots that several processes may fill in any order and read at once.

A folder holds the slots of one split:

============== =====================================================================================================
header.json    description of the slots, by which a later run recognises what it needs; written last
frames.u32     one number per slot: its number of frames, 0 if it is empty
features.f16   one block per slot, (layers, frames, dim) float16; a sparse file, so an empty slot takes no disk space
============== =====================================================================================================

A slot is filled by writing its features, waiting until they are on the disk, and then writing its number of frames:
a process that is killed in between leaves an empty slot, and two processes that fill the same slot write the same.
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
    """The place of each slot in the file."""

    capacities: np.ndarray  # (slots,) int64, maximum number of frames per slot
    # layers, dim: number of layers per slot, and size of a frame.
    layers: int
    dim: int

    @property
    def byte_count(self) -> int:
        """Size of the features when every slot is filled."""
        return int(self.capacities.sum()) * self.layers * self.dim * _VALUE.itemsize


class FeatureStore:
    """The slots of a folder.

    Raises UserError: the folder has other content, or is damaged.

    `folder`: created if absent. Processes that may open it at the same time must hold a lock meanwhile. `layout`: of
    the slots. `header`: description of the content, in JSON types.
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
        """Return whether a slot is filled, which it then stays."""
        return bool(self._frames[slot])

    def read(self, slot: int) -> np.ndarray:
        """Return a filled slot, (layers, frames, dim) float16, as a view of the file that must not be written to."""
        frames, start = int(self._frames[slot]), self._starts[slot]
        shape = (self.layout.layers, frames, self.layout.dim)
        return self._features[start : start + shape[0] * shape[1] * shape[2]].reshape(shape)

    def write(self, slots: Sequence[int], features: Sequence[np.ndarray]) -> None:
        """Fill slots. `slots`: their numbers. `features`: (layers, frames, dim) float16 each."""
        for slot, each in zip(slots, features, strict=True):
            (layers, frames, dim), most = each.shape, self.layout.capacities[slot]
            if (layers, dim) != (self.layout.layers, self.layout.dim) or not 0 < frames <= most:
                raise ValueError(
                    f"{self.folder}: expected {self.layout.layers} layers of 1 to {most} frames of {self.layout.dim} "
                    f"in slot {slot}, found {each.shape}"
                )
        values = [each.astype(_VALUE, order="C", copy=False) for each in features]
        _write_at(self.folder / _FEATURES, values, [self._starts[slot] * _VALUE.itemsize for slot in slots], wait=True)
        counts = [np.array([each.shape[1]], dtype=_COUNT) for each in features]
        _write_at(self.folder / _FRAMES, counts, [slot * _COUNT.itemsize for slot in slots])

    def _make(self, header: Mapping[str, Any]) -> None:
        """Create a store with empty slots, replacing what an interrupted process had begun to create."""
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
                raise UserError(f"{path}: expected {size} bytes, found {found}. Delete the folder {self.folder}.")
        # Mapped as writable, although it is never written to, because torch warns of read-only arrays.
        self._frames = np.memmap(self.folder / _FRAMES, dtype=_COUNT, mode="r+")
        if (self._frames > self.layout.capacities).any():
            path = self.folder / _FRAMES
            raise UserError(
                f"{path}: is damaged: a slot has more frames than its capacity. Delete the folder {self.folder}."
            )
        self._features = np.memmap(self.folder / _FEATURES, dtype=_VALUE, mode="r+")
        # The index of each slot's first value, and last the number of all values.
        self._starts = [0, *np.cumsum(self.layout.capacities * self.layout.layers * self.layout.dim).tolist()]

    def _sizes(self) -> dict[str, int]:
        return {_FRAMES: len(self) * _COUNT.itemsize, _FEATURES: self.layout.byte_count}

    def __getstate__(self) -> dict[str, Any]:
        # Processes that read audio get the paths of the files, not their content.
        return {"folder": self.folder, "layout": self.layout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


def check_header(path: Path, expected: Mapping[str, Any]) -> None:
    """Compare a header file, if there is one, with what is needed. Raises UserError: they differ, or it is damaged."""
    if not path.is_file():
        return
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError(f"{path}: is damaged. Delete the folder {path.parent}.") from None
    for name in dict.fromkeys((*expected, *found)):
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{path.parent}: {name} of the features: expected {expected.get(name)}, found {found.get(name)}. Use "
                "another folder by --cache-features, or delete this one."
            )


def allocated_bytes(folder: Path) -> int:
    """Return the disk space that a folder's features take, without the holes of a sparse file."""
    path = folder / _FEATURES
    return path.stat().st_blocks * 512 if path.is_file() else 0


def _write_at(path: Path, values: Sequence[np.ndarray], offsets: Sequence[int], *, wait: bool = False) -> None:
    """Write arrays at byte offsets of a file, and `wait` until they are on the disk.

    Not through mapped memory: a full disk would then kill the process without a message.
    """
    try:
        with path.open("r+b", buffering=0) as file:
            for array, offset in zip(values, offsets, strict=True):
                content, place = array.data.cast("B"), offset
                while content:
                    written = os.pwrite(file.fileno(), content, place)
                    content, place = content[written:], place + written
            if wait:
                os.fsync(file.fileno())
    except OSError as error:
        # The original error does not name the file.
        raise OSError(error.errno, error.strerror, str(path)) from error
