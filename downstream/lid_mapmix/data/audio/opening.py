"""Opens audio with libsndfile: a file, or a member of a tar shard (:mod:`.shards`)."""

import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import soundfile

from ...utils.errors import UserError
from .shards import MemberFile, find_member, goes_to_wav, open_shard

# A member up to this size is read at once: quicker than libsndfile's many small reads, each of them a call of Python.
_WHOLE_MEMBER_BYTES = 2**18


def open_audio(path: Path, *, only_header: bool = False) -> AbstractContextManager[soundfile.SoundFile]:
    """Open audio for reading.

    Parameters
    ----------
    path : of a file or of a member.
    only_header : no samples will be read. Of a member the tar header is checked then: that is once for each utterance
        of a run, before its audio is read again and again.

    Raises
    ------
    UserError : no such file or shard, empty, no audio that libsndfile knows, or no such member in the shard.
    """
    member = find_member(path)
    descriptor = None if member is None else open_shard(path, member)
    if member is not None and descriptor is not None:
        if not only_header and goes_to_wav(descriptor, member):
            try:
                return soundfile.SoundFile(descriptor, closefd=True)
            except soundfile.SoundFileError:
                # It has been closed; what is wrong is found below.
                descriptor = os.open(member.shard, os.O_RDONLY)
        return _open_in_shard(path, MemberFile(path, descriptor, member), only_header=only_header)
    try:
        return soundfile.SoundFile(os.fsencode(path))  # soundfile itself refuses names that are no UTF-8
    except (soundfile.SoundFileError, OSError) as error:
        # Looked at only now: asking for each file that is well, each time it is read, costs as much as opening it.
        try:
            size = path.stat().st_size if path.is_file() else None
        except OSError as broken:  # a folder without rights, a file system that is gone, a name too long
            raise UserError(f"{path}: cannot be read ({broken.strerror}). Check its rights and the disk.") from None
        if size is None:
            raise UserError(
                f"{path}: no such audio file. Paths in a manifest are relative to the folder of the manifest."
            ) from None
        if size == 0:
            raise UserError(f"{path}: is empty (0 bytes). Restore the file or leave it out.") from None
        _check_rights(path)
        raise UserError(f"{path}: is no audio that libsndfile can read ({reason(error)}). Convert it to wav.") from None


def _check_rights(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Correct its rights, or check the disk.") from None


@contextmanager
def _open_in_shard(path: Path, member: MemberFile, *, only_header: bool) -> Iterator[soundfile.SoundFile]:
    with member:
        try:
            if only_header:
                member.check()
            with _sound_file(member, only_header=only_header) as file:
                yield file
        except (soundfile.SoundFileError, UserError, OSError) as error:
            broken = member.error or (error if isinstance(error, OSError) else None)
            if broken is not None:
                raise UserError(f"{path}: cannot be read ({broken.strerror}). Check the disk.") from None
            if isinstance(error, UserError):
                raise
            member.check()
            if member.size == 0:
                raise UserError(f"{path}: is empty (0 bytes). Restore the file and pack anew.") from None
            raise UserError(
                f"{path}: is no audio that libsndfile can read ({reason(error)}). Convert it to wav and pack anew."
            ) from None


def _sound_file(member: MemberFile, *, only_header: bool) -> soundfile.SoundFile:
    descriptor = member.wav_descriptor()
    if descriptor is not None:
        return soundfile.SoundFile(descriptor, closefd=False)
    if not only_header and member.size <= _WHOLE_MEMBER_BYTES:
        return soundfile.SoundFile(io.BytesIO(member.content()))
    return soundfile.SoundFile(member)


def reason(error: Exception) -> str:
    """Return what libsndfile or the system says of an error, without the file's name."""
    return str(error).rsplit(":", 1)[-1].strip(" .") or type(error).__name__
