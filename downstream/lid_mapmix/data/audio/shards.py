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
from typing import Any, BinaryIO, NamedTuple, cast

from ...utils.errors import UserError

# Compressed ones are known for what they are, to be refused.
_MEMBER = re.compile(r"(.+\.(?:tar|tgz|tar\.\w+))#(\d{1,18})\+(\d{1,18})", re.DOTALL)
# gzip, bzip2, xz, Zstandard.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")
_RIFF_HEADER_BYTES = 8


def member_path(shard: str, offset: int, size: int) -> str:
    """Return the name of a member, for a manifest's audiopath."""
    return f"{shard}#{offset}+{size}"


class Member(NamedTuple):
    """Where a member is: its shard, its first byte and its number of bytes."""

    shard: str
    offset: int
    size: int


def find_member(path: Path) -> Member | None:
    """Return what a path says of a member; None where it names a file of its own."""
    found = _MEMBER.fullmatch(str(path))
    return None if found is None else Member(found[1], int(found[2]), int(found[3]))


def holding_file(path: Path) -> Path:
    """Return the file that holds audio: the shard of a member, or `path` itself."""
    member = find_member(path)
    return path if member is None or (path.is_file() and not Path(member.shard).is_file()) else Path(member.shard)


def open_shard(path: Path, member: Member) -> int | None:
    """Return a file descriptor of a member's shard; None where `path` is a file after all.

    Raises
    ------
    UserError : no such shard.
    """
    try:
        return os.open(member.shard, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_file():
            return None
        raise UserError(
            f"{path}: no such shard. Paths in a manifest are relative to the folder of the manifest."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Check the shard's rights and the disk.") from None


def goes_to_wav(descriptor: int, member: Member) -> bool:
    """Set a shard's file descriptor to a member and say whether libsndfile can read that by itself, without Python.

    It can where a RIFF file says rightly how long it is; of other formats it does not find the end, or the beginning.
    """
    try:
        start = os.pread(descriptor, _RIFF_HEADER_BYTES, member.offset)
    except OSError:
        # The next to read there says so.
        return False
    if start[:4] != b"RIFF" or _RIFF_HEADER_BYTES + int.from_bytes(start[4:], "little") != member.size:
        return False
    os.lseek(descriptor, member.offset, os.SEEK_SET)
    return True


def open_bytes(path: Path) -> BinaryIO:
    """Open a file, or a member as if it were one, for reading.

    Raises
    ------
    UserError : no such shard, or it ends before the member does.
    OSError : no such file, or it may not be read.
    """
    member = find_member(path)
    descriptor = None if member is None else open_shard(path, member)
    if member is None or descriptor is None:
        return path.open("rb")
    return cast(BinaryIO, MemberFile(path, descriptor, member))


def read_content(path: Path) -> bytes:
    """Read all bytes of a file or of a member.

    Raises
    ------
    UserError : no such shard, or it ends before the member does.
    OSError : the disk cannot read them, or there is no such file.
    """
    member = find_member(path)
    descriptor = None if member is None else open_shard(path, member)
    if member is None or descriptor is None:
        return path.read_bytes()
    with MemberFile(path, descriptor, member) as file:
        return file.content()


class MemberFile(io.RawIOBase):
    """The bytes of a member as a binary file of their own, to read.

    An error of the disk ends the file, since libsndfile, which reads it, cannot pass errors on; :attr:`error` keeps it.

    Parameters
    ----------
    path : the member's name, for errors.
    descriptor : of the shard; closed with this.
    member : where it is in the shard.

    Raises
    ------
    UserError : the shard ends before the member does.
    """

    def __init__(self, path: Path, descriptor: int, member: Member) -> None:
        super().__init__()
        self._member = member
        _, self._offset, self.size = member
        self.error: OSError | None = None
        self._path = path
        self._descriptor = descriptor
        self._position = 0
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            self.close()
            raise UserError(f"{path}: its shard is no file. Name an uncompressed tar file.")
        if self._offset + self.size > state.st_size:
            try:
                self._refuse_compressed()
            finally:
                self.close()
            raise UserError(
                f"{path}: ends at byte {self._offset + self.size} of a shard that has {state.st_size}. The shard is "
                "truncated, or the manifest belongs to another one: restore it, or pack anew."
            )

    def check(self) -> None:
        """Compare the member with the tar header in front of it.

        Raises
        ------
        UserError : no member begins there, or it has another size; the shard is compressed.
        """
        self._refuse_compressed()
        start = self._offset - tarfile.BLOCKSIZE
        block = os.pread(self._descriptor, tarfile.BLOCKSIZE, start) if start >= 0 else b""
        try:
            header = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
        except tarfile.HeaderError:
            found = "no member begins there"
        else:
            if header.isreg() and header.size == self.size:
                return
            found = f"the member there, {header.name}, has {header.size} bytes"
        raise UserError(
            f"{self._path}: {found}. The manifest belongs to another shard, or one of them is broken: restore it, or "
            "pack anew."
        )

    def _refuse_compressed(self) -> None:
        if os.pread(self._descriptor, tarfile.BLOCKSIZE, 0).startswith(_COMPRESSED):
            raise UserError(f"{self._path}: its shard is compressed, and cannot be read by seeking. Decompress it.")

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

    def wav_descriptor(self) -> int | None:
        """Return the shard's file descriptor where :func:`goes_to_wav`; it stays ours."""
        return self._descriptor if goes_to_wav(self._descriptor, self._member) else None

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
