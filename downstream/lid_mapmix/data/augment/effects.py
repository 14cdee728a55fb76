"""What augmentation does to the audio of a crop, one pure function each; what is drawn for them is in augmenter.py.

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
# Speeds are whole hundredths, so that the resampler's filter stays small.
_SPEED_PARTS = 100


class Codec(StrEnum):
    """What telephone audio was coded by: ITU-T G.711 µ-law and A-law, and GSM 06.10 full rate."""

    ULAW = "ulaw"
    ALAW = "alaw"
    GSM = "gsm"


_SUBTYPES = {Codec.ULAW: "ULAW", Codec.ALAW: "ALAW", Codec.GSM: "GSM610"}


@one_thread()
def change_speed(audio: np.ndarray, factor: float) -> np.ndarray:
    """Play audio faster or slower, its pitch with it.

    Parameters
    ----------
    audio : (samples,) float32 at 16 kHz.
    factor : above 1 is faster; rounded to hundredths.

    Returns
    -------
    (⌈samples / factor⌉,) float32.
    """
    parts = round(factor * _SPEED_PARTS)
    if parts == _SPEED_PARTS:
        return audio
    return functional.resample(torch.from_numpy(audio), parts, _SPEED_PARTS).numpy()


@one_thread()
def add_noise(audio: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Add noise at a ratio of energies.

    Parameters
    ----------
    audio, noise : (samples,) float32. Neither is changed.
    snr : energy of the audio over that of the noise, in dB.

    Returns
    -------
    (samples,) float32. Noise that is silent adds nothing, and to audio that is silent none is added.
    """
    if not noise.any():
        return audio
    # In double precision: the energy of a fade-out of 1e-25 is 0 in single, and the noise would be infinite.
    mixed = functional.add_noise(
        torch.from_numpy(audio).double(), torch.from_numpy(noise).double(), torch.tensor(snr, dtype=torch.float64)
    )
    return mixed.float().numpy()


def reverberate(audio: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve audio with the impulse response of a room; loudness, and where the direct sound is, stay.

    Parameters
    ----------
    audio : (samples,) float32.
    response : (samples,) float32, at the same rate; its largest sample is the direct sound.

    Returns
    -------
    (samples,) float32, as long and with the same energy as the audio; the last of the reverberation is cut off.
    """
    # Imported here: it takes its time, and only augmentation with rooms needs it.
    from scipy.signal import oaconvolve  # noqa: PLC0415

    direct = int(np.abs(response).argmax())
    # Not torchaudio's: that transforms whatever length comes, which takes several times as long.
    whole = oaconvolve(audio, response)
    wet = whole[direct : direct + len(audio)]
    energies = [float(np.square(each, dtype=np.float64).sum()) for each in (audio, wet)]
    return wet * np.float32(np.sqrt(energies[0] / energies[1])) if energies[1] > 0 else audio


@one_thread()
def through_telephone(audio: np.ndarray, codec: Codec) -> np.ndarray:
    """Bring audio to 8 kHz, code and decode it, and bring it back to 16 kHz.

    Parameters
    ----------
    audio : (samples,) float32 at 16 kHz; what exceeds ±1 after resampling is clipped, as a telephone would.
    codec : by which.

    Returns
    -------
    (samples,) float32 at 16 kHz, without anything above 4 kHz.
    """
    narrow = functional.resample(torch.from_numpy(audio), SAMPLE_RATE, _TELEPHONE_RATE).clamp(-1, 1).numpy()
    with io.BytesIO() as file:
        soundfile.write(file, narrow, _TELEPHONE_RATE, format="WAV", subtype=_SUBTYPES[codec])
        file.seek(0)
        coded, _ = soundfile.read(file, frames=len(narrow), dtype="float32")
    return functional.resample(torch.from_numpy(coded), _TELEPHONE_RATE, SAMPLE_RATE).numpy()[: len(audio)]
