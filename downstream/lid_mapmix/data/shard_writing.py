"""Writes tar shards that are valid WebDatasets, and knows where in them each member lies."""

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .shards import member_path


@dataclass
class ShardWriter:
    """Writes the shards of a split, one after the other; the same content gives the same bytes.

    Attributes
    ----------
    folder : where to.
    split : how their names begin.
    shard_bytes : a shard that would become larger is ended; a sample that is larger has one of its own.
    count : how many have been begun.
    """

    folder: Path
    split: str
    shard_bytes: int
    count: int = 0
    _tar: tarfile.TarFile | None = field(default=None, init=False)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._tar is not None:
            self._tar.close()

    def add(self, key: str, parts: Mapping[str, bytes]) -> str:
        """Write the parts of a sample, extension → content, and return the path of the first of them."""
        needed = sum(tarfile.BLOCKSIZE + _padded(len(content)) for content in parts.values())
        if self._tar is None or (self._tar.offset and self._tar.offset + needed > self.shard_bytes):
            self._begin()
        assert self._tar is not None
        paths = []
        for extension, content in parts.items():
            header = tarfile.TarInfo(f"{key}.{extension}")
            header.size = len(content)
            self._tar.addfile(header, io.BytesIO(content))
            start = self._tar.offset - _padded(len(content))
            paths.append(member_path(Path(str(self._tar.name)).name, start, len(content)))
        return paths[0]

    def _begin(self) -> None:
        if self._tar is not None:
            self._tar.close()
        self._tar = tarfile.open(  # noqa: SIM115 - closed by __exit__
            self.folder / f"{self.split}-{self.count:06d}.tar", "w", format=tarfile.USTAR_FORMAT
        )
        self.count += 1


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
