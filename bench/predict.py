r"""Voice-activity detection of predict: its cost, its accuracy, and the memory for a long recording.

    .venv/bin/python bench/predict.py --run result/downstream/demo --data data/demo
    .venv/bin/python bench/predict.py --run result/downstream/demo --data data/demo --utterances 100 --hours 3

Speech is the test split of the data: unchanged, at two other levels, in white noise, and with telephone bandwidth.
Other sounds are synthesised. Times are measured alternately in one process; the peak memory is that of the process.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lid_mapmix import Identifier
from lid_mapmix.data.audio.reading import SAMPLE_RATE
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.inference.recording import Recording
from lid_mapmix.inference.speech import FRAME, has_speech, speech_frames
from lid_mapmix.utils.randomness import keyed_generator
from scipy.signal import butter, sosfilt

_SOUND_SECONDS, _SOUNDS_A_KIND = 6.0, 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a trained run")
    parser.add_argument("--data", type=Path, required=True, help="folder with test.csv")
    parser.add_argument("--utterances", type=int, default=504, help="utterances of the test split; default: 504")
    parser.add_argument("--hours", type=float, default=1.0, help="duration of the long recording; default: 1")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    manifest = read_manifest(options.data / "test.csv")
    count = min(options.utterances, len(manifest))
    recordings = [Recording.of_utterance(manifest, number) for number in range(count)]
    utterances = [recording.read(0, recording.samples) for recording in recordings]
    print_rates(utterances)
    print_times(options.run, recordings, utterances)
    print_memory(options.run, options.hours)


def print_rates(utterances: list[np.ndarray]) -> None:
    """Print how often speech is found in speech, and in other sounds."""
    generator = keyed_generator(0, "noise")
    telephone = butter(4, [300, 3_400], "bandpass", fs=SAMPLE_RATE, output="sos")

    def noisy(wav: np.ndarray, decibels: float) -> np.ndarray:
        noise = generator.standard_normal(len(wav)) * np.sqrt(np.mean(np.square(wav)))
        return wav + noise * 10 ** (-decibels / 20)

    def at_level(wav: np.ndarray, decibels: float) -> np.ndarray:
        return wav / np.sqrt(np.mean(np.square(wav))) * 10 ** (decibels / 20)

    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "speech as it is": lambda wav: wav,
        "speech at -50 dB": lambda wav: at_level(wav, -50),
        "speech at -70 dB": lambda wav: at_level(wav, -70),
        "noise, SNR 10 dB": lambda wav: noisy(wav, 10),
        "noise, SNR 0 dB": lambda wav: noisy(wav, 0),
        "telephone band": lambda wav: sosfilt(telephone, wav),
    }
    for name, change in changes.items():
        print_rate(name, [change(wav) for wav in utterances])
    for name, make in sounds(keyed_generator(0, "sounds")).items():
        print_rate(name, [make() for _ in range(_SOUNDS_A_KIND)])


def print_rate(name: str, wavs: list[np.ndarray]) -> None:
    """Print in how many of some sounds speech is found."""
    found = sum(is_speech(wav.astype(np.float32)) for wav in wavs)
    print(f"{name:<18}speech in {found:4d} of {len(wavs):4d}")


def is_speech(wav: np.ndarray) -> bool:
    """Say whether there is speech in a window."""
    return has_speech(wav, speech_frames([wav])[0])


def sounds(generator: np.random.Generator) -> dict[str, Callable[[], np.ndarray]]:
    """Return what makes sounds that are no speech."""
    time_ = np.arange(round(_SOUND_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE

    def noise() -> np.ndarray:
        return generator.standard_normal(len(time_)) * 10 ** generator.uniform(-4, -0.5)

    def tone(pitch: float, harmonics: int) -> np.ndarray:
        phase = 2 * np.pi * pitch * time_ + generator.uniform(0, 6)
        return sum(np.sin(phase * number) / number for number in range(1, harmonics + 1)) * 0.1

    def chord() -> np.ndarray:
        root = generator.uniform(100, 400)
        return tone(root, 5) + tone(root * 1.26, 5) + tone(root * 1.5, 5)

    def melody() -> np.ndarray:
        steps = [tone(220 * 2 ** (generator.integers(24) / 12), 5)[:6_000] for _ in range(16)]
        return np.concatenate([step * np.exp(-np.arange(6_000) / 3_000) for step in steps])

    def clicks() -> np.ndarray:
        signal = np.zeros(len(time_))
        signal[generator.integers(len(time_), size=20)] = 0.9
        return signal

    return {
        "silence": lambda: 0 * time_,
        "white noise": noise,
        "brown noise": lambda: np.cumsum(noise()) * 0.01,
        "noise, 4 Hz": lambda: noise() * (1 + np.sin(2 * np.pi * 4 * time_)),
        "tone": lambda: tone(generator.uniform(50, 2_000), 1),
        "hum": lambda: tone(50.0, 4),
        "chord": chord,
        "melody": melody,
        "clicks": clicks,
    }


def print_times(run: Path, recordings: list[Recording], utterances: list[np.ndarray]) -> None:
    """Print how long it takes to identify with and without a look for speech, and that look as the package has it."""
    seconds = {}
    for detects in (False, True):
        identifier = Identifier.from_pretrained(run, "cpu", detect_speech=detects)
        list(identifier.identify(recordings[:20]))
        start = time.perf_counter()
        list(identifier.identify(recordings))
        seconds[detects] = time.perf_counter() - start
    audio = sum(recording.seconds for recording in recordings)
    print(f"identified {audio / 60:.1f} min in {seconds[False]:.1f} s, with a look for speech in {seconds[True]:.1f} s")
    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad  # noqa: PLC0415 - sets the number of threads

    torch.set_num_threads(threads)
    windows = [wav[: 6 * SAMPLE_RATE] for wav in utterances if len(wav) >= 6 * SAMPLE_RATE][:20] or utterances[:1]
    original = load_silero_vad()
    times = {"one by one, as the package has it": 0.0, "together": 0.0}
    for _ in range(3):
        start = time.perf_counter()
        for wav in windows:
            original.reset_states()
            for frame in torch.from_numpy(wav).split(FRAME):
                original(torch.nn.functional.pad(frame, (0, FRAME - len(frame))), SAMPLE_RATE)
        middle = time.perf_counter()
        speech_frames(windows)
        times["one by one, as the package has it"] += middle - start
        times["together"] += time.perf_counter() - middle
    slow, quick = times.values()
    print(f"speech in {len(windows)} windows: the package's own functions / together: ratio {slow / quick:.1f}")


def print_memory(run: Path, hours: float) -> None:
    """Print the peak of memory before and after a long recording."""
    identifier = Identifier.from_pretrained(run, "cpu")
    generator = keyed_generator(0, "long")
    noise = generator.standard_normal(6 * SAMPLE_RATE).astype(np.float32) * np.float32(0.01)

    def recording(seconds: float) -> Recording:
        return Recording("long", round(seconds * SAMPLE_RATE), lambda start, count: noise[:count])

    peaks = []
    for seconds in (600.0, 3_600 * hours):
        start = time.perf_counter()
        list(identifier.identify([recording(seconds)]))
        took = time.perf_counter() - start
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(f"{hours:g} h in {took:.0f} s; peak of memory {peaks[0]:.0f} MB after 10 min, {peaks[1]:.0f} MB after that")


if __name__ == "__main__":
    main()
