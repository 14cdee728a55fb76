"""Audio in: any file that libsndfile reads, as 16 kHz mono float32, and only the part that is asked for.

A file may also be a member of a tar shard (:mod:`.shards`).
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from ...utils.errors import UserError
from .mp3 import is_guessed
from .opening import open_audio, reason
from .shards import open_bytes

SAMPLE_RATE = 16_000
# By which files of audio are found in a folder.
EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph")
# The receptive field of the wav2vec 2.0 front end; with less there is no frame at all (s3prl_host.md, 22).
MINIMUM_SAMPLES = 400
# libsndfile's SF_COUNT_MAX.
UNKNOWN_FRAMES = 2**63 - 1
# Of libsndfile's decoders, those of GSM 06.10 ("WAV49"), G.721 and a few more; crops are read by seeking.
NOT_SEEKABLE = "{} cannot be read from the middle on"
_PCM_16_UNIT = np.float32(2**-15)
# Output samples on either side of a crop that reach into the resampler's filter, generously.
_RESAMPLER_CONTEXT_SECONDS = 0.01


@dataclass(frozen=True)
class AudioHeader:
    """What a file's header says.

    Attributes
    ----------
    frames : samples a channel, at the file's own rate.
    sample_rate : samples a second.
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
    UserError : no such file, empty, or no audio that libsndfile knows and can seek in; a shard that has no such member.
    """
    with open_audio(path, only_header=True) as file:
        header, container = _header(path, file), file.format
    if container == "MP3":
        with open_bytes(path) as content:
            if is_guessed(content, header.frames):
                raise UserError(
                    f"{path}: its header does not say how long it is (an MP3 without a Xing or Info frame). Convert it "
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
    count : number of samples at 16 kHz; to the end of the file by default.

    Returns
    -------
    (samples,) float32 at 16 kHz.

    Raises
    ------
    UserError : unreadable, truncated, or a sample is NaN or infinite.
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
        raise UserError(f"{path}: holds samples that are NaN or infinite. Restore the file or take it out.")
    return audio


def _header(path: Path, file: soundfile.SoundFile) -> AudioHeader:
    if file.frames <= 0 or file.samplerate <= 0:
        raise UserError(f"{path}: holds no audio. Restore the file or leave it out.")
    if file.frames == UNKNOWN_FRAMES:
        raise UserError(
            f"{path}: its header does not say how long it is (a flac written to a pipe). Convert it to wav."
        )
    if not file.seekable():
        raise UserError(f"{path}: {NOT_SEEKABLE.format(file.subtype)}. Convert it to 16-bit wav.")
    return AudioHeader(file.frames, file.samplerate)


def _decode(path: Path, file: soundfile.SoundFile, start: int, count: int) -> np.ndarray:
    """Return `count` frames of a file from frame `start` on, mono float32, at the file's own rate."""
    try:
        file.seek(start)
        if file.subtype == "PCM_16":
            # libsndfile turns integers to floats by reads of 8 kB each, and gives them as they are in one read.
            audio = file.read(count, dtype="int16", always_2d=True) * _PCM_16_UNIT
        else:
            audio = file.read(count, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise UserError(f"{path}: broke off while reading ({reason(error)}). Restore the file.") from None
    if len(audio) < count:
        raise _truncated(path, start, count, len(audio))
    return audio.mean(axis=1) if audio.shape[1] > 1 else audio[:, 0]


def _decode_resampled(path: Path, file: soundfile.SoundFile, header: AudioHeader, start: int, count: int) -> np.ndarray:
    divisor = int(np.gcd(header.sample_rate, SAMPLE_RATE))
    source_block, target_block = header.sample_rate // divisor, SAMPLE_RATE // divisor
    # Reading from a whole block on keeps the resampler's phases those of the whole file.
    context = int(_RESAMPLER_CONTEXT_SECONDS * SAMPLE_RATE)
    first_block = max(start - context, 0) // target_block
    last_block = -(-(start + count + context) // target_block)
    first = first_block * source_block
    source = _decode(path, file, first, min(last_block * source_block, header.frames) - first)
    with one_thread():
        resampled = _resampler(header.sample_rate)(torch.from_numpy(np.ascontiguousarray(source))).numpy()
    offset = start - first_block * target_block
    return resampled[offset : offset + count]


@functools.lru_cache(maxsize=16)
def _resampler(sample_rate: int) -> torchaudio.transforms.Resample:
    # The transform keeps its filter; torchaudio.functional.resample would compute it for every file.
    return torchaudio.transforms.Resample(sample_rate, SAMPLE_RATE)


def _truncated(path: Path, start: int, expected: int, found: int) -> UserError:
    return UserError(
        f"{path}: is truncated: {expected} samples were expected from sample {start} on, {max(found, 0)} found. "
        "Restore the file or leave it out."
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, as it does in the workers of a DataLoader.

    With more, a convolution adds up in another order, and the last bits of what is resampled in the main process
    (``data.workers`` 0) would be others than in a worker, and others on another machine.
    """
    count = torch.get_num_threads()
    if count == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
