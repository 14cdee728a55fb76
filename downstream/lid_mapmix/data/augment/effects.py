"""The effects of augmentation, one pure function each; augmenter.py draws their arguments.

Speed: Ko et al., "Audio augmentation for speech recognition", Interspeech 2015. Noise and reverberation: Snyder et al.,
"X-vectors", ICASSP 2018. Codecs: the narrow band of telephone speech, as in NIST's language recognition evaluations.
"""

import io
from enum import StrEnum

import numpy as np
import soundfile
import torch
from torchaudio import functional

from ..audio.reading import SAMPLE_RATE, one_thread

_TELEPHONE_RATE = 8_000
# Speeds are rounded to hundredths, so that the resampler's filter stays small.
_SPEED_PARTS = 100


class Codec(StrEnum):
    """Codecs of telephone audio: ITU-T G.711 µ-law and A-law, and GSM 06.10 full rate."""

    ULAW = "ulaw"
    ALAW = "alaw"
    GSM = "gsm"


_SUBTYPES = {Codec.ULAW: "ULAW", Codec.ALAW: "ALAW", Codec.GSM: "GSM610"}


@one_thread()
def change_speed(audio: np.ndarray, factor: float) -> np.ndarray:
    """Change the speed of audio, and its pitch; returns (⌈samples / factor⌉,) float32.

    `audio`: (samples,) float32 at 16 kHz. `factor`: above 1 is faster; rounded to hundredths.
    """
    parts = round(factor * _SPEED_PARTS)
    if parts == _SPEED_PARTS:
        return audio
    return functional.resample(torch.from_numpy(audio), parts, _SPEED_PARTS).numpy()


@one_thread()
def add_noise(audio: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Add noise at a signal-to-noise ratio; returns (samples,) float32, the unchanged audio if either is silent.

    `audio`, `noise`: (samples,) float32. Neither is changed. `snr`: ratio of the energies of audio and noise, in dB.
    """
    if not noise.any():
        return audio
    # In double precision: in single precision, the energy of a fade-out of 1e-25 is 0 and the noise infinite.
    mixed = functional.add_noise(
        torch.from_numpy(audio).double(), torch.from_numpy(noise).double(), torch.tensor(snr, dtype=torch.float64)
    )
    return mixed.float().numpy()


def reverberate(audio: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve audio with a room impulse response, keeping its energy and the time of the direct sound.

    Returns (samples,) float32, with the length and energy of the audio; the end of the reverberation is cut off.

    `audio`: (samples,) float32. `response`: (samples,) float32, at the same rate; its largest sample is the direct
    sound.
    """
    # Imported here because it is slow, and only reverberation needs it.
    from scipy.signal import oaconvolve  # noqa: PLC0415

    direct = int(np.abs(response).argmax())
    # Not torchaudio's, which transforms any length as it is and takes several times as long.
    whole = oaconvolve(audio, response)
    wet = whole[direct : direct + len(audio)]
    energies = [float(np.square(each, dtype=np.float64).sum()) for each in (audio, wet)]
    return wet * np.float32(np.sqrt(energies[0] / energies[1])) if energies[1] > 0 else audio


@one_thread()
def through_telephone(audio: np.ndarray, codec: Codec) -> np.ndarray:
    """Resample audio to 8 kHz, encode and decode it, and resample it to 16 kHz.

    Returns (samples,) float32 at 16 kHz, without frequencies above 4 kHz.

    `audio`: (samples,) float32 at 16 kHz; samples beyond ±1 after resampling are clipped.
    """
    narrow = functional.resample(torch.from_numpy(audio), SAMPLE_RATE, _TELEPHONE_RATE).clamp(-1, 1).numpy()
    with io.BytesIO() as file:
        soundfile.write(file, narrow, _TELEPHONE_RATE, format="WAV", subtype=_SUBTYPES[codec])
        file.seek(0)
        coded, _ = soundfile.read(file, frames=len(narrow), dtype="float32")
    return functional.resample(torch.from_numpy(coded), _TELEPHONE_RATE, SAMPLE_RATE).numpy()[: len(audio)]
