"""Audio in uncompressed tar files: ``shard.tar#offset+size`` names a member, which is read by seeking.

``offset`` is the first byte of the member's content in the shard, ``size`` its number of bytes. If there is no such
shard, a file with such a name is read as a file. ``lid-mapmix pack`` (:mod:`.packing`) writes shards; any other
uncompressed tar file works as well, for example WebDataset's. Each opening has its own file descriptor, so threads and
forked processes never share a position, and a replaced shard is noticed.
"""

import errno
import io
import os
import re
import stat
import tarfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from ...utils.errors import UserError
from .faults import AudioFileError, FileFault

# Compressed files are recognised too, to refuse them.
_MEMBER = re.compile(r"(.+\.(?:tar|tgz|tar\.\w+))#(\d{1,18})\+(\d{1,18})", re.DOTALL)
# gzip, bzip2, xz, Zstandard.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")
_RIFF_HEADER_BYTES = 8


def member_path(shard: str, offset: int, size: int) -> str:
    """Return the name of a member, for the audiopath of a manifest."""
    return f"{shard}#{offset}+{size}"


class Member(NamedTuple):
    """The place of a member: its shard, its first byte and its number of bytes."""

    shard: str
    offset: int
    size: int


def find_member(path: Path) -> Member | None:
    """Return the member that a path names, or None for a file."""
    found = _MEMBER.fullmatch(str(path))
    return None if found is None else Member(found[1], int(found[2]), int(found[3]))


def holding_file(path: Path) -> Path:
    """Return the file with the audio: the shard of a member, or `path` itself."""
    member = find_member(path)
    return path if member is None or (path.is_file() and not Path(member.shard).is_file()) else Path(member.shard)


def open_shard(path: Path, member: Member) -> int | None:
    """Return a file descriptor of a member's shard, or None if `path` is a file. Raises UserError: no such shard."""
    try:
        return os.open(member.shard, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_file():
            return None
        raise AudioFileError(
            f"{path}: no such shard. Paths in a manifest are relative to the folder of the manifest.", FileFault.MISSING
        ) from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}). Check the shard's permissions and the disk."
        ) from None


def goes_to_wav(descriptor: int, member: Member) -> bool:
    """Seek a shard's file descriptor to a member, and return whether libsndfile can read it directly.

    It can read a RIFF file with the right size in its header; for other formats it does not find the end or the start.
    """
    try:
        start = os.pread(descriptor, _RIFF_HEADER_BYTES, member.offset)
    except OSError:
        # The next read reports it.
        return False
    if start[:4] != b"RIFF" or _RIFF_HEADER_BYTES + int.from_bytes(start[4:], "little") != member.size:
        return False
    os.lseek(descriptor, member.offset, os.SEEK_SET)
    return True


def open_bytes(path: Path) -> BinaryIO:
    """Open a file or a member for reading.

    Raises UserError: no such shard, or it ends before the member does; OSError: no such file, or no permission to read
    it.
    """
    member = find_member(path)
    descriptor = None if member is None else open_shard(path, member)
    if member is None or descriptor is None:
        return path.open("rb")
    return cast(BinaryIO, MemberFile(path, descriptor, member))


def read_content(path: Path) -> bytes:
    """Read all bytes of a file or of a member. Raises UserError: as :func:`open_bytes`; OSError: of the disk."""
    with open_bytes(path) as file:
        return file.content() if isinstance(file, MemberFile) else file.read()


class MemberFile(io.RawIOBase):
    """The bytes of a member as a readable binary file.

    A disk error ends the file, because libsndfile, which reads it, cannot pass errors on; :attr:`error` has it.

    Raises UserError: the shard ends before the member does.

    `path`: the member's name, for errors. `descriptor`: of the shard; closed with this file. `member`: its place in the
    shard.
    """

    def __init__(self, path: Path, descriptor: int, member: Member) -> None:
        super().__init__()
        _, self._offset, self.size = self.member = member
        self.error: OSError | None = None
        self._path = path
        self.descriptor = descriptor
        self._position = 0
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            self.close()
            raise UserError(f"{path}: expected an uncompressed tar file as the shard, found no file. Correct the path.")
        if self._offset + self.size > state.st_size:
            try:
                self._refuse_compressed()
            finally:
                self.close()
            raise UserError(
                f"{path}: expected a shard of at least {self._offset + self.size} bytes, found {state.st_size}. The "
                "shard is truncated, or the manifest belongs to another one: restore it, or pack again."
            )

    def check(self) -> None:
        """Compare the member with its tar header. Raises UserError: it has none there, or one of another size."""
        self._refuse_compressed()
        start = self._offset - tarfile.BLOCKSIZE
        block = os.pread(self.descriptor, tarfile.BLOCKSIZE, start) if start >= 0 else b""
        try:
            header = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
        except tarfile.HeaderError:
            found = "no member"
        else:
            if header.isreg() and header.size == self.size:
                return
            found = f"the member {header.name} of {header.size} bytes"
        raise UserError(
            f"{self._path}: expected a member of {self.size} bytes, found {found}. The manifest belongs to another "
            "shard, or one of them is damaged: restore it, or pack again."
        )

    def _refuse_compressed(self) -> None:
        if os.pread(self.descriptor, tarfile.BLOCKSIZE, 0).startswith(_COMPRESSED):
            raise UserError(f"{self._path}: expected an uncompressed shard, found a compressed one. Decompress it.")

    def content(self) -> bytes:
        """Return all bytes of the member. Raises OSError: they cannot be read from the disk."""
        parts: list[bytes] = []
        # The system reads at most 2 GiB at once.
        while (done := sum(map(len, parts))) < self.size:
            parts.append(os.pread(self.descriptor, self.size - done, self._offset + done))
            if not parts[-1]:
                raise OSError(errno.EIO, "the shard was truncated while it was read")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in the member, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte of the member and return its number."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the member, and return the number of bytes."""
        wanted = min(len(buffer), self.size - self._position)
        if wanted <= 0:
            return 0
        try:
            count = os.preadv(self.descriptor, [memoryview(buffer)[:wanted]], self._offset + self._position)
        except OSError as error:
            self.error = error
            return 0
        self._position += count
        return count

    def close(self) -> None:
        """Close the shard."""
        if not self.closed:
            os.close(self.descriptor)
        super().close()
