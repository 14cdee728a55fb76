"""Speech synthesis: eSpeak NG through ctypes, with the library and voices of the pip package espeakng-loader.

eSpeak keeps its state in global variables, some of which nothing resets. To make an utterance depend on its own
arguments only, the library is loaded for each utterance and unloaded afterwards (about 10 ms). For the same reason,
only one thread of a process may use it at a time.
"""

import _ctypes
import ctypes
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ....utils.errors import UserError

SAMPLE_RATE = 22_050
# Constants of eSpeak's header speak_lib.h.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_RATE, _VOLUME, _PITCH = 1, 2, 3
_CHARACTER_POSITION = 1
_UTF8 = 1
_IPA = 2
# At eSpeak's default of 100, tonal languages clip.
_QUIET = 60

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """A voice and its parameters."""

    language: str  # name of eSpeak's language file, such as ``en-GB-scotland``
    variant: str  # eSpeak's name of the speaker, such as ``f2``
    words_per_minute: int = 175  # speed; eSpeak's default is 175
    pitch: int = 50  # 0 to 99; eSpeak's default is 50


def synthesise(text: str, voice: Voice, seed: int) -> np.ndarray:
    """Return a spoken text, (samples,) int16, 22.05 kHz; `seed`, below 2³¹, is of small irregularities of a voice."""
    pieces: list[np.ndarray] = []

    @_Callback
    def keep(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int | None) -> int:
        if count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    with _loaded(f"{voice.language}+{voice.variant}", seed) as library:
        library.espeak_SetSynthCallback(keep)
        for parameter, value in ((_RATE, voice.words_per_minute), (_VOLUME, _QUIET), (_PITCH, voice.pitch)):
            library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        status = library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded) + 1), 0, _CHARACTER_POSITION, 0, _UTF8, None, None
        )
        library.espeak_Synchronize()
    if status != 0 or not pieces:
        raise RuntimeError(f"eSpeak NG returned no audio (status {status}) for {text!r} in {voice}")
    return np.concatenate(pieces)


def phonemes(texts: Iterable[str], language: str) -> list[str]:
    """Return the pronunciation of each text, in the phonetic alphabet.

    A word that eSpeak does not know and reads in another language is marked by that language's name in parentheses.
    """
    found = []
    with _loaded(language, 0) as library:
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        for text in texts:
            buffer = ctypes.create_string_buffer(text.encode())
            position, clauses = ctypes.c_void_p(ctypes.addressof(buffer)), []
            # eSpeak sets the pointer to the next clause, and to null after the last.
            while position.value:
                clauses.append((library.espeak_TextToPhonemes(ctypes.byref(position), _UTF8, _IPA) or b"").decode())
            found.append(" ".join(clauses))
    return found


@contextmanager
def _loaded(name: str, seed: int) -> Iterator[ctypes.CDLL]:
    try:
        import espeakng_loader  # noqa: PLC0415
    except ImportError:
        raise UserError(
            "the demo corpus needs eSpeak NG from the package espeakng-loader, which is not installed. "
            "Run 'pip install babel espeakng-loader'."
        ) from None
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        data = espeakng_loader.get_data_path().encode()
        if library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DO_NOT_EXIT) != SAMPLE_RATE:
            raise UserError(
                f"eSpeak NG cannot start with its data in {data.decode()}. "
                "Run 'pip install --force-reinstall espeakng-loader'."
            )
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        if library.espeak_SetVoiceByName(name.encode()) != 0:
            raise UserError(
                f"eSpeak NG in {data.decode()} has no voice {name}. Run 'pip install --upgrade espeakng-loader'."
            )
        yield library
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)
