"""Reading audio: any file that libsndfile reads, as 16 kHz mono float32, and only the requested part.

A file may also be a member of a tar shard (:mod:`.shards`).
"""

# ruff: noqa: PLC0415 - torch takes seconds to import, and is needed only for audio with another sample rate.

import functools
import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ...utils.errors import UserError
from .mp3 import is_guessed
from .shards import MemberFile, find_member, goes_to_wav, open_bytes, open_shard

SAMPLE_RATE = 16_000
# The receptive field of the wav2vec 2.0 front end; shorter audio has no frame.
MINIMUM_SAMPLES = 400
# libsndfile's SF_COUNT_MAX.
UNKNOWN_FRAMES = 2**63 - 1
# For libsndfile's decoders of GSM 06.10 ("WAV49"), G.721 and some others; crops are read by seeking.
NOT_SEEKABLE = "{} cannot be read from the middle on"
_PCM_16_UNIT = np.float32(2**-15)
# Audio on either side of a crop that the resampler's filter may reach, with a margin.
_RESAMPLER_CONTEXT_SECONDS = 0.01
# A member up to this size is read at once, which is faster than libsndfile's many small reads through Python.
_WHOLE_MEMBER_BYTES = 2**18


@dataclass(frozen=True)
class AudioHeader:
    """The header of an audio file.

    Attributes
    ----------
    frames : samples per channel, at the file's own rate.
    sample_rate : samples per second.
    """

    frames: int
    sample_rate: int

    @property
    def samples(self) -> int:
        """Length in samples at 16 kHz."""
        return -(-self.frames * SAMPLE_RATE // self.sample_rate)


def read_header(path: Path) -> AudioHeader:
    """Read the header of an audio file.

    Raises
    ------
    UserError : no such file or member, an empty file, or no audio that libsndfile can read and seek in.
    """
    with open_audio(path, only_header=True) as file:
        header, container = _header(path, file), file.format
    if container == "MP3":
        with open_bytes(path) as content:
            if is_guessed(content, header.frames):
                raise UserError(
                    f"{path}: expected its length in the header, found an MP3 without a Xing or Info frame. Convert it "
                    "to wav."
                )
    return header


def read_audio(path: Path, start: int = 0, count: int | None = None) -> np.ndarray:
    """Read a part of a file, mixed to mono and resampled.

    The result equals the same part of the whole file resampled, but only the part is decoded.

    Parameters
    ----------
    path : the audio file.
    start : first sample, at 16 kHz.
    count : number of samples at 16 kHz; None for all to the end of the file.

    Returns
    -------
    (samples,) float32 at 16 kHz.

    Raises
    ------
    UserError : the file is unreadable or truncated, or a sample is NaN or infinite.
    """
    with open_audio(path) as file:
        header = _header(path, file)
        count = header.samples - start if count is None else count
        if start + count > header.samples:
            raise _truncated(path, start, count, header.samples - start)
        if header.sample_rate == SAMPLE_RATE:
            audio = _decode(path, file, start, count)
        else:
            audio = _decode_resampled(path, file, header, start, count)
    if not np.isfinite(audio).all():
        raise UserError(f"{path}: expected finite samples, found NaN or infinity. Restore the file or remove it.")
    return audio


def _header(path: Path, file: soundfile.SoundFile) -> AudioHeader:
    if file.frames <= 0 or file.samplerate <= 0:
        raise UserError(f"{path}: expected audio, found none in the file. Restore the file or remove it.")
    if file.frames == UNKNOWN_FRAMES:
        raise UserError(
            f"{path}: expected its length in the header, found none (a flac written to a pipe). Convert it to wav."
        )
    if not file.seekable():
        raise UserError(f"{path}: {NOT_SEEKABLE.format(file.subtype)}. Convert it to 16-bit wav.")
    return AudioHeader(file.frames, file.samplerate)


def _decode(path: Path, file: soundfile.SoundFile, start: int, count: int) -> np.ndarray:
    """Return `count` frames of a file, starting at frame `start`, mono float32, at the file's own rate."""
    try:
        file.seek(start)
        if file.subtype == "PCM_16":
            # libsndfile converts integers to floats in reads of 8 kB, but returns integers in one read.
            audio = file.read(count, dtype="int16", always_2d=True) * _PCM_16_UNIT
        else:
            audio = file.read(count, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise UserError(f"{path}: reading failed ({reason(error)}). Restore the file.") from None
    if len(audio) < count:
        raise _truncated(path, start, count, len(audio))
    return audio.mean(axis=1) if audio.shape[1] > 1 else audio[:, 0]


def _decode_resampled(path: Path, file: soundfile.SoundFile, header: AudioHeader, start: int, count: int) -> np.ndarray:
    divisor = int(np.gcd(header.sample_rate, SAMPLE_RATE))
    source_block, target_block = header.sample_rate // divisor, SAMPLE_RATE // divisor
    # Reading from the start of a block keeps the resampler's phases those of the whole file.
    context = int(_RESAMPLER_CONTEXT_SECONDS * SAMPLE_RATE)
    first_block = max(start - context, 0) // target_block
    last_block = -(-(start + count + context) // target_block)
    first = first_block * source_block
    source = _decode(path, file, first, min(last_block * source_block, header.frames) - first)
    import torch

    with one_thread():
        resampled = _resampler(header.sample_rate)(torch.from_numpy(np.ascontiguousarray(source))).numpy()
    offset = start - first_block * target_block
    return resampled[offset : offset + count]


@functools.lru_cache(maxsize=16)
def _resampler(sample_rate: int) -> Any:
    from torchaudio.transforms import Resample

    # The transform caches its filter; torchaudio.functional.resample would compute it for every file.
    return Resample(sample_rate, SAMPLE_RATE)


def _truncated(path: Path, start: int, expected: int, found: int) -> UserError:
    return UserError(
        f"{path}: is truncated: expected {expected} samples from sample {start}, found {max(found, 0)}. "
        "Restore the file or remove it."
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread in the block, as in the workers of a DataLoader.

    With more, a convolution sums in another order, and the last bits of resampled audio would differ between the main
    process (``data.workers`` 0) and a worker, and between machines.
    """
    import torch

    count = torch.get_num_threads()
    if count == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def open_audio(path: Path, *, only_header: bool = False) -> AbstractContextManager[soundfile.SoundFile]:
    """Open audio for reading.

    Parameters
    ----------
    path : of a file or of a member.
        only_header : no samples will be read. The tar header of a member is then checked: once per utterance and run,
        not each time its audio is read.

    Raises
    ------
    UserError : no such file, shard or member, an empty file, or no audio that libsndfile can read.
    """
    member = find_member(path)
    descriptor = None if member is None else open_shard(path, member)
    if member is not None and descriptor is not None:
        if not only_header and goes_to_wav(descriptor, member):
            try:
                return soundfile.SoundFile(descriptor, closefd=True)
            except soundfile.SoundFileError:
                # libsndfile has closed it; the fault is found below.
                descriptor = os.open(member.shard, os.O_RDONLY)
        return _open_in_shard(path, MemberFile(path, descriptor, member), only_header=only_header)
    try:
        return soundfile.SoundFile(os.fsencode(path))  # soundfile itself refuses names that are not UTF-8
    except (soundfile.SoundFileError, OSError) as error:
        # Checked only after a failure: checking each valid file at each read costs as much as opening it.
        try:
            size = path.stat().st_size if path.is_file() else None
        except OSError as broken:  # a folder without permissions, a missing file system, a name too long
            raise UserError(
                f"{path}: cannot be read ({broken.strerror}). Check its permissions and the disk."
            ) from None
        if size is None:
            raise UserError(
                f"{path}: no such audio file. Paths in a manifest are relative to the folder of the manifest."
            ) from None
        if size == 0:
            raise UserError(f"{path}: is empty (0 bytes). Restore the file or remove it.") from None
        _check_rights(path)
        raise UserError(
            f"{path}: expected audio that libsndfile can read, found other data ({reason(error)}). Convert it to wav."
        ) from None


def _check_rights(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}). Correct its permissions, or check the disk."
        ) from None


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
                raise UserError(f"{path}: is empty (0 bytes). Restore the file and pack again.") from None
            raise UserError(
                f"{path}: expected audio that libsndfile can read, found other data ({reason(error)}). Convert it to "
                "wav and pack again."
            ) from None


def _sound_file(member: MemberFile, *, only_header: bool) -> soundfile.SoundFile:
    descriptor = member.wav_descriptor()
    if descriptor is not None:
        return soundfile.SoundFile(descriptor, closefd=False)
    if not only_header and member.size <= _WHOLE_MEMBER_BYTES:
        return soundfile.SoundFile(io.BytesIO(member.content()))
    return soundfile.SoundFile(member)


def reason(error: Exception) -> str:
    """Return the reason in an error of libsndfile or the system, without the file's name."""
    return str(error).rsplit(":", 1)[-1].strip(" .") or type(error).__name__
