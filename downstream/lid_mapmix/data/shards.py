"""Audio inside uncompressed tar files: ``shard.tar#offset+size`` names a member, which is read by seeking.

``offset`` is the first byte of the member's content in the shard, ``size`` how many there are. A real file of such a
name is read as a file where no such shard is there. ``lid-mapmix pack`` (:mod:`.packing`) makes shards; any program's
uncompressed tar will do, WebDataset's as well. Each opening has a file descriptor of its own, so threads and processes
that were forked never share a position, and a shard that is replaced is seen.
"""

import errno
import io
import os
import re
import stat
import tarfile
from pathlib import Path
from typing import Any

from ..errors import UserError

_MEMBER = re.compile(r"(?P<shard>.+\.tar)#(?P<offset>\d+)\+(?P<size>\d+)", re.DOTALL)
_RIFF_HEADER_BYTES = 8


def member_path(shard: str, offset: int, size: int) -> str:
    """Return the name of a member, for a manifest's audiopath."""
    return f"{shard}#{offset}+{size}"


def holding_file(path: Path) -> Path:
    """Return the file that holds audio: the shard of a member, or `path` itself."""
    found = _MEMBER.fullmatch(str(path))
    shard = None if found is None else Path(found["shard"])
    return path if shard is None or (path.is_file() and not shard.is_file()) else shard


def open_member(path: Path) -> "MemberFile | None":
    """Open a member of a shard for reading; None where `path` names none, but a file of its own.

    Raises
    ------
    UserError : no such shard, or it ends before the member does.
    """
    found = _MEMBER.fullmatch(str(path))
    if found is None:
        return None
    try:
        descriptor = os.open(found["shard"], os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_file():
            return None
        raise UserError(
            f"{path}: no such shard. Paths in a manifest are relative to the folder of the manifest."
        ) from None
    return MemberFile(path, descriptor, int(found["offset"]), int(found["size"]))


class MemberFile(io.RawIOBase):
    """The bytes of a member as a binary file of their own, to read.

    An error of the disk ends the file, since libsndfile, which reads it, cannot pass errors on; :attr:`error` keeps it.

    Parameters
    ----------
    path : the member's name, for errors.
    descriptor : of the shard; closed with this.
    offset, size : where the member is in it, in bytes.

    Raises
    ------
    UserError : the shard ends before the member does.
    """

    def __init__(self, path: Path, descriptor: int, offset: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.error: OSError | None = None
        self._path = path
        self._descriptor = descriptor
        self._offset = offset
        self._position = 0
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            self.close()
            raise UserError(f"{path}: its shard is no file. Name an uncompressed tar file.")
        if offset + size > state.st_size:
            self.close()
            raise UserError(
                f"{path}: ends at byte {offset + size} of a shard that has {state.st_size}. The shard is truncated, or "
                "the manifest belongs to another one: restore it, or pack anew."
            )

    def check(self) -> None:
        """Compare the member with the tar header in front of it.

        Raises
        ------
        UserError : no member begins there, or it has another size.
        """
        block = os.pread(self._descriptor, tarfile.BLOCKSIZE, max(self._offset - tarfile.BLOCKSIZE, 0))
        try:
            header = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
        except tarfile.HeaderError:
            found = "no member begins there"
        else:
            if self._offset >= tarfile.BLOCKSIZE and header.isreg() and header.size == self.size:
                return
            found = f"the member there, {header.name}, has {header.size} bytes"
        raise UserError(
            f"{self._path}: {found}. The manifest belongs to another shard, or one of them is broken: restore it, or "
            "pack anew."
        )

    def content(self) -> bytes:
        """Return all bytes of the member.

        Raises
        ------
        OSError : the disk cannot read them.
        """
        parts: list[bytes] = []
        # The system reads at most 2 GiB at once.
        while (done := sum(map(len, parts))) < self.size:
            parts.append(os.pread(self._descriptor, self.size - done, self._offset + done))
            if not parts[-1]:
                raise OSError(errno.EIO, "the shard was cut while it was read")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def embedded_descriptor(self) -> int | None:
        """Return the shard's file descriptor, set to the member, where libsndfile can read that by itself.

        It can where a RIFF (wav) file says rightly how long it is, and is quicker than through calls of Python. Of
        other formats it does not find the end, or the beginning.
        """
        start = os.pread(self._descriptor, _RIFF_HEADER_BYTES, self._offset)
        if start[:4] != b"RIFF" or _RIFF_HEADER_BYTES + int.from_bytes(start[4:], "little") != self.size:
            return None
        os.lseek(self._descriptor, self._offset, os.SEEK_SET)
        return self._descriptor

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the position in the member, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte of the member and return its number."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the member goes, and return the number of bytes."""
        wanted = min(len(buffer), self.size - self._position)
        if wanted <= 0:
            return 0
        try:
            count = os.preadv(self._descriptor, [memoryview(buffer)[:wanted]], self._offset + self._position)
        except OSError as error:
            self.error = error
            return 0
        self._position += count
        return count

    def close(self) -> None:
        """Close the shard."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()
