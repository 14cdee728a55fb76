"""Speech told from other sounds, held against Silero VAD's own network and against sounds of both kinds."""

import numpy as np
import pytest
import torch
from helpers.synthetic import hum
from lid_mapmix.inference import speech
from lid_mapmix.inference.speech import FRAME, has_speech, speech_frames, speech_probabilities
from scipy.signal import butter, sosfilt

RATE = 16_000
TIME = np.arange(4 * RATE) / RATE
RANDOM = np.random.default_rng(0).standard_normal(len(TIME))


def harmonics(pitch):
    return sum(np.sin(2 * np.pi * pitch * number * TIME) / number for number in range(1, 6))


def clicks():
    signal = np.zeros(len(TIME))
    signal[::8_000] = 0.9
    return signal


def melody():
    """Return notes at random, each of which fades."""
    pitches = 220 * 2 ** (np.random.default_rng(1).integers(24, size=16) / 12)
    note, fade = len(TIME) // 16, np.exp(-np.arange(len(TIME) // 16) / 2_000)
    return np.concatenate([0.1 * harmonics(pitch)[:note] * fade for pitch in pitches])


OTHER_SOUNDS = {
    "digital silence": 0 * TIME,
    "one bit of noise": 3e-5 * RANDOM,
    "low noise": 1e-3 * RANDOM,
    "white noise": 0.1 * RANDOM,
    "loud noise": 0.5 * RANDOM,
    "brown noise": 1e-3 * np.cumsum(RANDOM),
    "mains hum": 0.3 * np.sin(2 * np.pi * 50 * TIME) + 0.1 * np.sin(2 * np.pi * 150 * TIME),
    "tone": 0.3 * np.sin(2 * np.pi * 440 * TIME),
    "chord": 0.05 * (harmonics(220) + harmonics(277.2) + harmonics(329.6)),
    "vibrato": hum(4.0, 180, 0),
    "melody": melody(),
    "clicks": clicks(),
}


@pytest.fixture(scope="module")
def utterance():
    """Return a sentence spoken by eSpeak NG, (samples,) float64 at 16 kHz."""
    from lid_mapmix.data.prepare.demo.espeak import SAMPLE_RATE, Voice, synthesise
    from torchaudio.functional import resample

    said = synthesise("The train to the harbour leaves at a quarter past nine.", Voice("en-GB-scotland", "f2"), 1)
    return resample(torch.from_numpy(said / 2**15), SAMPLE_RATE, RATE).numpy()


def is_speech(signal):
    window = signal.astype(np.float32)
    return has_speech(window, speech_frames([window])[0])


@pytest.mark.parametrize("name", OTHER_SOUNDS)
def test_other_sounds_are_not_speech(name):
    assert not is_speech(OTHER_SOUNDS[name])


@pytest.mark.parametrize("level", [-70, -50, -20])
def test_speech_at_any_level(utterance, level):
    assert is_speech(utterance / np.sqrt(np.mean(utterance**2)) * 10 ** (level / 20))


def test_speech_in_noise_and_over_a_telephone(utterance):
    noise = np.resize(RANDOM, len(utterance)) * np.sqrt(np.mean(utterance**2)) * 10 ** (-10 / 20)
    assert is_speech(utterance + noise)
    assert is_speech(sosfilt(butter(4, [300, 3_400], "bandpass", fs=RATE, output="sos"), utterance))


def test_frames_lie_where_somebody_speaks(utterance):
    window = np.concatenate([0.01 * RANDOM[:32_000], utterance, 0.01 * RANDOM[:32_000]]).astype(np.float32)
    (frames,) = speech_frames([window])
    assert len(frames) == -(-len(window) // FRAME)
    before, behind = 32_000 // FRAME, (32_000 + len(utterance)) // FRAME
    assert not frames[: before - 1].any()
    assert frames[before:behind].mean() > 0.7
    assert not frames[behind + 20 :].any()


def test_windows_of_several_lengths_as_each_alone(utterance):
    windows = [utterance[:length].astype(np.float32) for length in (9_000, 20_000, 9_000, 400)]
    together = speech_frames(windows)
    for window, frames in zip(windows, together, strict=True):
        assert frames.tolist() == speech_frames([window])[0].tolist()


def test_what_is_too_short_for_the_network_goes_by_its_level(utterance):
    assert is_speech(utterance[8_000:8_400])
    assert not is_speech(np.zeros(400))


def test_speech_lasts_for_a_fifth_of_a_second():
    window = np.ones(16_000, dtype=np.float32)
    frames = np.zeros(32, dtype=bool)
    frames[3:14:2] = True
    assert not has_speech(window, frames)
    frames[20:25] = True
    assert not has_speech(window, frames)
    frames[25] = True
    assert has_speech(window, frames)


def test_the_network_is_silero_vads(utterance, monkeypatch):
    """With the weights of the package's TorchScript file it gives what that gives, a frame after the other."""
    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad  # sets the number of threads

    original = load_silero_vad()
    torch.set_num_threads(threads)
    theirs = original.state_dict()
    weights = {"stft_conv.weight": theirs["_model.stft.forward_basis_buffer"]}
    for number in range(4):
        for kind in ("weight", "bias"):
            weights[f"conv{number + 1}.{kind}"] = theirs[f"_model.encoder.{number}.reparam_conv.{kind}"]
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        weights[f"lstm.{kind}_l0"] = theirs[f"_model.decoder.rnn.{kind}"]
    for kind in ("weight", "bias"):
        weights[f"final_conv.{kind}"] = theirs[f"_model.decoder.decoder.2.{kind}"]
    network = speech._SileroNetwork()
    network.load_state_dict(weights)
    monkeypatch.setattr(speech, "_network", lambda: network)
    windows = torch.from_numpy(np.stack([utterance[start : start + 64 * FRAME] for start in (0, 9_000)])).float()
    with torch.no_grad():
        frames = [original(windows[:, start : start + FRAME], RATE) for start in range(0, windows.shape[1], FRAME)]
    torch.testing.assert_close(speech_probabilities(windows), torch.cat(frames, dim=1), atol=1e-5, rtol=0)


def test_torch_keeps_its_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        speech._network.cache_clear()
        speech_frames([(0.1 * RANDOM).astype(np.float32)])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_without_the_package_it_is_one_line(monkeypatch):
    from lid_mapmix.utils.errors import UserError

    speech._network.cache_clear()
    monkeypatch.setattr(speech.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install silero-vad"):
        speech_frames([(0.1 * RANDOM).astype(np.float32)])
