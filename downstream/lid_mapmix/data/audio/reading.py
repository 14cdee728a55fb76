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
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile

from ...utils.errors import UserError
from . import containers
from .channels import mix_to_mono
from .conversion import foreign_container, to_wav
from .faults import RESTORE, AudioFileError, FileFault, ForeignAudioError, unreadable_end
from .mp3 import true_length
from .shards import MemberFile, find_member, goes_to_wav, open_bytes, open_shard
from .silence import silent_decoder

SAMPLE_RATE = 16_000
# The receptive field of the wav2vec 2.0 front end; shorter audio has no frame.
MINIMUM_SAMPLES = 400
# libsndfile's SF_COUNT_MAX.
_MIN_RATE = 100
_MAX_RESAMPLING = 2**25
_UNKNOWN_FRAMES = 2**63 - 1
# Less than any header followed by audio.
_MIN_BYTES = 1_000
# ffmpeg loses audio of such a file.
_USE_PARTS = "Use the files that it was joined from."
# Enough for the signature of a container and the header of SPHERE.
_START_BYTES = 1024
# Samples before a part that are decoded as well. A frame of MP3 depends on up to 9 earlier ones (the bit reservoir), a
# block of Vorbis, of at most 8192 samples, on the one before it.
_LEAD_IN = {"MP3": 10 * 1152, "OGG": 2 * 8192}
_PCM_16_UNIT = np.float32(2**-15)
# Models square samples, and sum the squares, in float32. Integers that were saved as floats are below it.
MAX_SAMPLE = 1e10
INVALID = "expected finite samples, found NaN or infinity, or above 1e10"
# Audio on either side of a crop that the resampler's filter may reach, with a margin.
_RESAMPLER_CONTEXT_SECONDS = 0.01
# A member up to this size is read at once, which is faster than libsndfile's many small reads through Python.
_WHOLE_MEMBER_BYTES = 2**18


@dataclass(frozen=True)
class AudioHeader:
    """The header of an audio file."""

    frames: int  # samples per channel, at the file's own rate
    sample_rate: int
    channels: int = 1
    contradiction: str = ""  # what in the header contradicts its sample rate, as text

    @property
    def samples(self) -> int:
        """Length in samples at 16 kHz."""
        return -(-self.frames * SAMPLE_RATE // self.sample_rate)


def read_header(path: Path) -> AudioHeader:
    """Read the header of an audio file, and a few places of it that show whether all of it can be read.

    Raises UserError: no such file or member, an empty or truncated file, several joined files, or no audio that
    libsndfile can read and seek in.
    """
    try:
        with open_audio(path, only_header=True) as file, open_bytes(path) as content:
            return examine(path, file, content)
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be read ({error.strerror}). Check the disk.") from None


def examine(path: Path, file: soundfile.SoundFile, content: BinaryIO) -> AudioHeader:
    """Return the header of an open file whose bytes are `content`; raises as :func:`read_header`."""
    size, frames, contradiction = content.seek(0, os.SEEK_END), file.frames, ""
    if frames <= 0 and size >= _MIN_BYTES:
        # A recorder that was stopped before it wrote the length leaves such a file.
        flags = "-ignore_length 1 " if file.format in ("WAV", "WAVEX") else ""
        raise AudioFileError(
            f"{path}: expected its length in the header, found an unfinished header: no samples in a file of {size} "
            f"bytes. {to_wav(path, flags)}",
            FileFault.UNKNOWN_LENGTH,
        )
    if file.format == "FLAC" and containers.is_joined_flac(content, size):
        raise unreadable_end(path, FileFault.JOINED, "several FLAC files in one", _USE_PARTS)
    if file.format == "OGG" and containers.is_chained_ogg(content, size):
        raise unreadable_end(path, FileFault.JOINED, "several Ogg files in one", to_wav(path))
    if file.format == "MP3":
        frames = true_length(path, content, size, frames)
    header = _header(path, file)
    declared = None
    if file.format in ("WAV", "WAVEX"):
        declared = containers.declared_by_riff(content, size)
    elif file.format == "NIST":
        declared = containers.declared_by_sphere(content, size)
    if declared is not None and declared.present < declared.declared:
        raise unreadable_end(
            path, FileFault.TRUNCATED, f"{declared.present} of {declared.declared} declared bytes", RESTORE
        )
    if declared is not None and 0 < declared.bytes_per_second != header.sample_rate * declared.frame_bytes:
        contradiction = (
            f"{header.sample_rate} Hz, but {declared.bytes_per_second} bytes per second of {declared.frame_bytes} per "
            "sample"
        )
    return AudioHeader(frames, header.sample_rate, file.channels, contradiction)


def read_audio(path: Path, start: int = 0, count: int | None = None, recorded: int | None = None) -> np.ndarray:
    """Read a part of a file, mixed to mono (:func:`.channels.mix_to_mono`, by that part) and resampled.

    The result equals the same part of the whole file resampled, but only the part is decoded.

    Returns (samples,) float32 at 16 kHz.

    Raises UserError: the file is unreadable, truncated or not of the recorded length, or a sample is NaN, infinite or
    above 1e10.

    `path`: the audio file. `start`: first sample, at 16 kHz. `count`: number of samples at 16 kHz; None for all to the
    end of the file. `recorded`: length of the file in samples at 16 kHz by a record (:mod:`.lengths`), if it is used.
    """
    if count is None:
        count = read_header(path).samples - start
    with open_audio(path) as file:
        header = _header(path, file)
        # Of some MP3 files, only counting frames gives the length.
        if recorded not in (None, header.samples) and recorded != (found := read_header(path).samples):
            raise UserError(
                f"{path}: expected {recorded} samples at 16 kHz, as recorded by 'lid-mapmix check', found {found}. The "
                "audio has changed: run 'lid-mapmix check' on its corpus again."
            )
        if start + count > header.samples:
            raise _truncated(path, start, count, header.samples - start)
        if header.sample_rate == SAMPLE_RATE:
            audio = _decode(path, file, start, count, count)
        else:
            audio = _decode_resampled(path, file, header, start, count)
    if not are_valid(audio):
        raise UserError(f"{path}: {INVALID}. Restore the file or remove it.")
    return audio


def are_valid(audio: np.ndarray) -> bool:
    """Return whether no sample is NaN, infinite or too large to compute with."""
    return bool(np.abs(audio).max(initial=0.0) <= MAX_SAMPLE)


def _header(path: Path, file: soundfile.SoundFile) -> AudioHeader:
    if file.frames <= 0 or file.samplerate <= 0:
        raise AudioFileError(
            f"{path}: expected audio, found none in the file. Restore the file or remove it.", FileFault.EMPTY
        )
    if file.frames == _UNKNOWN_FRAMES:
        found = "none (a flac written to a pipe)" if file.format == "FLAC" else f"none that is valid ({file.format})"
        raise AudioFileError(
            f"{path}: expected its length in the header, found {found}. {to_wav(path)}", FileFault.UNKNOWN_LENGTH
        )
    if not file.seekable():
        # libsndfile's decoders of GSM 06.10 ("WAV49"), G.721 and some others; crops are read by seeking.
        raise AudioFileError(f"{path}: {file.subtype} cannot be read from the middle on. {to_wav(path)}")
    # Resampling multiplies by a matrix of this size, gigabytes for 44,101 Hz; and 1 Hz makes an hour of 7 kB.
    divisor = int(np.gcd(file.samplerate, SAMPLE_RATE))
    if file.samplerate < _MIN_RATE or file.samplerate // divisor * (SAMPLE_RATE // divisor) > _MAX_RESAMPLING:
        raise AudioFileError(
            f"{path}: expected a common sample rate, such as 8 or 44.1 kHz, found {file.samplerate} Hz. Correct the "
            "header, or resample it: ffmpeg -i IN -ar 16000 OUT"
        )
    return AudioHeader(file.frames, file.samplerate)


def read_frames(file: soundfile.SoundFile, start: int, count: int) -> np.ndarray:
    """Return `count` frames from frame `start` on, fewer at the end: (frames, channels) float32.

    They are those of the whole file, also after lossy compression. Raises soundfile.SoundFileError: they cannot be
    decoded.
    """
    lead_in = min(start, _LEAD_IN.get(file.format, 0))
    with silent_decoder():
        file.seek(start - lead_in)
        # In one read: soundfile seeks after each, which resets the decoder.
        if file.subtype == "PCM_16":
            # libsndfile converts integers to floats in reads of 8 kB, but returns integers in one read.
            audio = file.read(lead_in + count, dtype="int16", always_2d=True) * _PCM_16_UNIT
        else:
            audio = file.read(lead_in + count, dtype="float32", always_2d=True)
    return audio[lead_in:]


def _decode(path: Path, file: soundfile.SoundFile, start: int, count: int, needed: int) -> np.ndarray:
    """Return `count` frames from frame `start` on, at least `needed`, mono float32, at the file's own rate."""
    try:
        try:
            audio = read_frames(file, start, count)
        except soundfile.SoundFileError:
            # libsndfile may have tried to read more of an MP3 than there is (:mod:`.mp3`), and found a tag.
            if file.format != "MP3":
                raise
            audio = read_frames(file, start, min(count, read_header(path).frames - start))
    except soundfile.SoundFileError as error:
        raise UserError(f"{path}: reading failed ({reason(error)}). Restore the file.") from None
    if len(audio) < needed:
        raise _truncated(path, start, count, len(audio))
    return mix_to_mono(audio)


def _decode_resampled(path: Path, file: soundfile.SoundFile, header: AudioHeader, start: int, count: int) -> np.ndarray:
    divisor = int(np.gcd(header.sample_rate, SAMPLE_RATE))
    source_block, target_block = header.sample_rate // divisor, SAMPLE_RATE // divisor
    # Reading from the start of a block keeps the resampler's phases those of the whole file.
    context = int(_RESAMPLER_CONTEXT_SECONDS * SAMPLE_RATE)
    first_block = max(start - context, 0) // target_block
    last_block = -(-(start + count + context) // target_block)
    first = first_block * source_block
    # The rest is for the resampler's filter; libsndfile may expect more of an MP3 than there is (:mod:`.mp3`).
    needed = (start + count - 1) * source_block // target_block + 1 - first
    source = _decode(path, file, first, min(last_block * source_block, header.frames) - first, needed)
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

    Raises UserError: no such file, shard or member, an empty file, or no audio that libsndfile can read.

    `path`: of a file or of a member. `only_header`: no samples will be read. The tar header of a member is then
    checked: once per utterance and run, not each time its audio is read.
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
        # Opening a named pipe waits for another program to write to it.
        if only_header and path.is_fifo():
            raise OSError
        with silent_decoder():
            return soundfile.SoundFile(os.fsencode(path))  # soundfile itself refuses names that are not UTF-8
    except (soundfile.SoundFileError, OSError) as error:
        # Checked only after a failure: checking each valid file at each read costs as much as opening it.
        try:
            if path.is_file():
                with path.open("rb") as content:
                    raise _unrecognised(path, content, error)
            if path.exists():
                raise AudioFileError(
                    f"{path}: expected a file, found a folder, pipe or device. Write the audio to a file."
                )
        except OSError as broken:  # no permissions, a missing file system, a name too long
            raise AudioFileError(
                f"{path}: cannot be read ({broken.strerror}). Check its permissions and the disk."
            ) from None
        raise AudioFileError(
            f"{path}: no such audio file. Paths in a manifest are relative to the folder of the manifest.",
            FileFault.MISSING,
        ) from None


def _unrecognised(path: Path, content: BinaryIO, error: Exception) -> AudioFileError:
    """Return the fault of a file that libsndfile has refused with an error."""
    content.seek(0)
    start = content.read(_START_BYTES)
    expected, found = f"{path}: expected audio that libsndfile can read, found", foreign_container(start)
    if not start:
        return AudioFileError(f"{path}: is empty (0 bytes). Restore the file or remove it.", FileFault.EMPTY)
    if found is not None:
        return ForeignAudioError(f"{expected} {found}. {to_wav(path)}")
    if b"shorten" in start:
        return AudioFileError(f"{expected} SPHERE compressed by shorten: decompress it with sph2pipe.")
    if containers.is_joined_wav(content):
        return unreadable_end(path, FileFault.JOINED, "several WAV files in one", _USE_PARTS)
    # Said of any file named .mp3 without MP3 frames.
    why = "no MP3 frames" if (told := reason(error)).startswith("File does not exist") else told
    return AudioFileError(f"{expected} other data ({why}). Convert it to wav.")


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
                raise AudioFileError(f"{path}: cannot be read ({broken.strerror}). Check the disk.") from None
            if isinstance(error, UserError):
                raise
            member.check()
            raise _unrecognised(path, cast(BinaryIO, member), error) from None


def _sound_file(member: MemberFile, *, only_header: bool) -> soundfile.SoundFile:
    if goes_to_wav(member.descriptor, member.member):
        return soundfile.SoundFile(member.descriptor, closefd=False)
    with silent_decoder():
        if not only_header and member.size <= _WHOLE_MEMBER_BYTES:
            return soundfile.SoundFile(io.BytesIO(member.content()))
        return soundfile.SoundFile(member)


def reason(error: Exception) -> str:
    """Return the reason in an error of libsndfile or the system, without the file's name."""
    return str(error).rsplit(":", 1)[-1].strip(" .") or type(error).__name__
