"""What an audio file becomes when it is packed: itself, or flac with the same samples."""

import io
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import soundfile

from ...utils.errors import UserError
from ..audio.opening import reason
from ..audio.reading import read_header
from ..audio.shards import read_content

# Whose samples flac can hold as they are, and in what.
_LOSSLESS = {
    "PCM_S8": "PCM_S8",
    "PCM_U8": "PCM_S8",
    "PCM_16": "PCM_16",
    "PCM_24": "PCM_24",
    "ULAW": "PCM_16",
    "ALAW": "PCM_16",
}
# Where they are not libsndfile's name of the format.
_EXTENSIONS = {"NIST": "sph", "WAVEX": "wav"}


class AudioFormat(StrEnum):
    """What audio is packed as."""

    KEEP = "keep"
    FLAC = "flac"


@dataclass(frozen=True)
class PackedAudio:
    """An audio file as a member of a shard.

    Attributes
    ----------
    extension : without its dot.
    content : its bytes.
    read_bytes : how many the file has.
    converted : whether it has become flac.
    """

    extension: str
    content: bytes
    read_bytes: int
    converted: bool


def packed_audio(path: Path, audio_format: AudioFormat) -> PackedAudio:
    """Read an audio file, or a member of a shard, and convert it where that is asked for and loses nothing.

    Raises
    ------
    UserError : it is known for audio by its extension only, which would be lost.
    """
    audio = read_content(path)
    extension = _extension(path, audio)
    packed = _as_flac(audio) if audio_format is AudioFormat.FLAC else None
    if packed is None:
        return PackedAudio(extension, audio, len(audio), converted=False)
    return PackedAudio("flac", packed, len(audio), converted=True)


def _extension(path: Path, audio: bytes) -> str:
    """Return the extension for a member, and see to it that libsndfile knows the audio without one."""
    expected = read_header(path)
    try:
        with soundfile.SoundFile(io.BytesIO(audio)) as file:
            found, form = (file.frames, file.samplerate), file.format
    except soundfile.SoundFileError as error:
        raise UserError(
            f"{path}: is known for audio by its extension only ({reason(error)}), which a shard does not tell. "
            "Convert it to wav."
        ) from None
    if found != (expected.frames, expected.sample_rate):
        raise UserError(f"{path}: has another length without its extension. Convert it to wav.")
    return path.suffix[1:].lower() if path.suffix[1:].isalnum() else _EXTENSIONS.get(form, form.lower())


def _as_flac(audio: bytes) -> bytes | None:
    """Return audio as flac; None where it is flac already, or where a sample would not be what it was."""
    with soundfile.SoundFile(io.BytesIO(audio)) as file:
        if file.format == "FLAC" or file.subtype not in _LOSSLESS:
            return None
        samples, sample_rate, subtype = file.read(dtype="int32", always_2d=True), file.samplerate, file.subtype
    packed = io.BytesIO()
    try:
        soundfile.write(packed, samples, sample_rate, format="FLAC", subtype=_LOSSLESS[subtype])
        packed.seek(0)
        again, _ = soundfile.read(packed, dtype="int32", always_2d=True)
    except soundfile.SoundFileError:
        # More channels, or another rate, than flac knows.
        return None
    return packed.getvalue() if np.array_equal(samples, again) else None
