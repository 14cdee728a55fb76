"""The replacements of what torchaudio 2.9 removed; the expected lengths of pauses are those of sox 14.4.2."""

import io

import numpy as np
import pytest
import soundfile
import torch
from helpers.synthetic import hum
from lid_mapmix.host.audio_functions import apply_effects_file, apply_effects_tensor, info, load, save

# The lists of effects in S3PRL's tasks.
KEYWORDS = [["channels", "1"], ["rate", "16000"], ["gain", "-3.0"]]
QUERIES = [["channels", "1"], ["rate", "16000"], ["norm"]]
SPEAKERS = [*KEYWORDS, ["silence", "1", "0.1", "0.1%", "-1", "0.1", "0.1%"]]
VAD = ["vad", "-T", "0.25", "-p", "0.1"]
TRIMMED = [*QUERIES, VAD, ["reverse"], VAD, ["reverse"], ["pad", "0", "3"]]


def stereo(path, rate, seconds=1.0):
    left = hum(seconds, 200, 1, rate)
    soundfile.write(path, np.stack([left, left / 2], 1), rate)
    return path


@pytest.mark.parametrize(
    ("suffix", "encoding", "bits"), [("wav", "PCM_S", 16), ("flac", "PCM_S", 16), ("mp3", None, 0)]
)
def test_header_and_samples_of_a_file(tmp_path, suffix, encoding, bits):
    path = stereo(tmp_path / f"audio.{suffix}", 8_000)
    header = info(str(path))
    assert (header.sample_rate, header.num_channels, header.bits_per_sample) == (8_000, 2, bits)
    assert encoding in (None, header.encoding)
    samples, rate = load(path)
    assert (samples.shape, samples.dtype, rate) == ((2, header.num_frames), torch.float32, 8_000)
    part, _ = load(path, frame_offset=100, num_frames=50, channels_first=False)
    assert torch.allclose(part, samples[:, 100:150].T, atol=1e-3)


@pytest.mark.parametrize(
    "samples", [torch.linspace(-1.5, 1.5, 99)[None], torch.arange(-50, 50, dtype=torch.int16)[None]]
)
def test_wav_keeps_the_type_of_the_samples(tmp_path, samples):
    save(str(tmp_path / "a.wav"), samples, 16_000)
    scale = 1 if samples.is_floating_point() else 2**15
    assert torch.equal(load(tmp_path / "a.wav")[0] * scale, samples.float())
    save(tmp_path / "b.wav", samples.T, 16_000, channels_first=False)
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


def test_a_stream_needs_its_format(tmp_path):
    stream = io.BytesIO()
    save(stream, torch.zeros(1, 10), 16_000, format="wav")
    stream.seek(0)
    assert load(stream)[0].shape == (1, 10)


def test_effects_of_a_file_are_those_of_its_samples(tmp_path):
    path = stereo(tmp_path / "audio.wav", 44_100)
    for effects in (KEYWORDS, QUERIES, SPEAKERS, TRIMMED):
        samples, rate = apply_effects_file(str(path), effects)
        again, _ = apply_effects_tensor(*load(path), effects)
        assert rate == 16_000 and torch.equal(samples, again)
        assert abs(apply_effects_file(path, effects, channels_first=False)[0].T - samples).max() == 0


def test_levels(tmp_path):
    samples = torch.tensor([[0.1, -0.2, 0.4], [0.3, 0.0, -0.8]])
    mono = samples.mean(0, keepdim=True)
    assert torch.allclose(apply_effects_tensor(samples, 16_000, KEYWORDS)[0], mono * 10**-0.15)
    assert torch.allclose(apply_effects_tensor(samples, 16_000, QUERIES)[0], mono / mono.abs().max())
    assert apply_effects_tensor(samples, 16_000, [["gain", "20"]])[0].abs().max() == 1  # sox clips
    assert not apply_effects_tensor(torch.zeros(1, 5), 16_000, QUERIES)[0].any()


def test_padding_is_in_seconds():
    samples, rate = apply_effects_tensor(torch.ones(1, 100), 1_000, [["pad", "0.5", "0.25"]])
    assert (samples.shape[1], rate) == (850, 1_000)
    assert samples[0, 500:600].min() > 0.99 and samples.sum() == pytest.approx(100)


def test_resampling_keeps_a_tone_and_removes_what_would_alias():
    time = torch.arange(16_000, dtype=torch.float64) / 16_000
    low, high = ((torch.sin(2 * torch.pi * pitch * time) / 2)[None].float() for pitch in (1_000, 5_000))
    kept, removed = (apply_effects_tensor(tone, 16_000, [["rate", "8000"]])[0] for tone in (low, high))
    assert torch.allclose(kept[:, 200:-200], low[:, ::2][:, 200:-200], atol=1e-4)
    assert removed[:, 200:-200].abs().max() < 1e-4


def test_pauses_are_removed_where_sox_removes_them():
    # Seconds and levels; 0.05 s of silence are too short to go, 0.08 s of sound too short to stay.
    parts = [(0.3, 0), (0.5, 1), (0.05, 0), (0.2, 1), (0.4, 0), (0.08, 1), (0.3, 0), (0.3, 1)]
    tone = torch.sin(torch.arange(40_000) * 0.3) / 2
    audio = torch.cat([tone[: round(seconds * 16_000)] * level for seconds, level in parts])[None]
    kept, _ = apply_effects_tensor(audio, 16_000, SPEAKERS[3:])
    assert kept.shape[1] == 17_117
    assert apply_effects_tensor(torch.zeros(1, 16_000), 16_000, SPEAKERS[3:])[0].shape == (1, 0)


@pytest.mark.parametrize(
    "effect", [["reverb", "50"], ["rate", "16k"], ["channels", "3"], ["silence", "1", "0.1", "1%"]]
)
def test_other_effects_are_named(effect):
    with pytest.raises(ValueError, match=f"sox effect '{' '.join(effect)}': .*torchaudio<2.9"):
        apply_effects_tensor(torch.zeros(2, 100), 16_000, [["channels", "2"], effect])
