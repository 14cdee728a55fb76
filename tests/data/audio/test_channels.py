"""The mix of several channels: their mean, or the louder one where the mean cancels it."""

import numpy as np
import pytest
import soundfile
from helpers.synthetic import hum
from lid_mapmix.data.audio.channels import mix_to_mono
from lid_mapmix.data.audio.reading import SAMPLE_RATE, read_audio


@pytest.fixture(scope="module")
def speech():
    return hum(2.0, 150, 1)


@pytest.mark.parametrize(
    ("gain", "chosen"),
    [(1.0, None), (0.0, None), (-0.3, None), (-0.5, 0), (-0.9, 0), (-1.0, 0), (-1.1, 1)],
    ids=str,
)
def test_the_louder_channel_is_taken_where_the_mean_is_10_db_below_it(speech, gain, chosen):
    audio = np.stack([speech, np.float32(gain) * speech], axis=1)
    expected = audio.mean(axis=1) if chosen is None else audio[:, chosen]
    np.testing.assert_array_equal(mix_to_mono(audio), expected)


def test_silence_and_samples_that_are_not_finite_are_averaged(speech):
    np.testing.assert_array_equal(mix_to_mono(np.zeros((400, 2), np.float32)), np.zeros(400))
    for value in (np.nan, np.inf, -np.inf):
        audio = np.stack([speech, -speech], axis=1)
        audio[7, 0] = value
        assert not np.isfinite(mix_to_mono(audio)).all()


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44_100])
def test_nearly_opposite_channels_are_one_channel_in_each_part_of_a_file(tmp_path, rate):
    """Once answered from the rounding noise that the mean left."""
    left = hum(2.0, 150, 1, rate)
    noise = np.random.default_rng(0).standard_normal((2, len(left))) * 1e-3
    for name, audio in (("two", np.stack([left, -left]) + noise), ("one", left[None] + noise[:1])):
        soundfile.write(tmp_path / f"{name}.wav", audio.T, rate)
    expected = read_audio(tmp_path / "one.wav")
    np.testing.assert_allclose(read_audio(tmp_path / "two.wav"), expected, rtol=0, atol=1e-6)
    for start in range(0, 28_000, 4_000):
        part = read_audio(tmp_path / "two.wav", start, 4_000)
        np.testing.assert_allclose(part, expected[start : start + 4_000], rtol=0, atol=1e-6)
