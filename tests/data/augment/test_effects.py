from functools import partial

import numpy as np
import pytest
import torch
from helpers.synthetic import hum
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.data.augment.effects import Codec, add_noise, change_speed, reverberate, through_telephone
from reference.ulaw import decode

RATE = 16_000


def tone(pitch, seconds=1.0, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def loudest_pitch(audio):
    """Return the strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 16 * len(audio)))
    return spectrum.argmax() * RATE / (16 * len(audio))


def energy(audio):
    return float(np.square(audio.astype(np.float64)).sum())


@pytest.mark.parametrize("factor", [0.5, 0.9, 0.93, 1.1, 2.0])
def test_speed_changes_length_and_pitch(factor):
    audio = tone(440)
    faster = change_speed(audio, factor)
    assert faster.dtype == np.float32
    assert len(faster) == -(-RATE * 100 // round(factor * 100))
    assert loudest_pitch(faster) == pytest.approx(440 * factor, rel=1e-3)
    # Away from the edges, it is the same tone of another pitch.
    expected = 0.5 * np.sin(2 * np.pi * 440 * factor * np.arange(len(faster)) / RATE)
    np.testing.assert_allclose(faster[200:-200], expected[200:-200], atol=2e-3)


def test_speed_1_changes_nothing():
    audio = hum(0.2, 200, 1)
    np.testing.assert_array_equal(change_speed(audio, 1.0), audio)


@given(snr=st.floats(-20, 60), loudness=st.floats(1e-3, 1), noise_loudness=st.floats(1e-4, 10), seed=st.integers(0, 99))
def test_noise_has_the_ratio_that_was_asked_for(snr, loudness, noise_loudness, seed):
    audio = loudness * hum(0.1, 200, seed)
    noise = (noise_loudness * np.random.default_rng(seed).standard_normal(len(audio))).astype(np.float32)
    before = audio.copy(), noise.copy()
    added = add_noise(audio, noise, snr).astype(np.float64) - audio
    assert 10 * np.log10(energy(audio) / energy(added)) == pytest.approx(snr, abs=0.05)
    assert np.corrcoef(added, noise)[0, 1] > 0.999
    np.testing.assert_array_equal(audio, before[0])
    np.testing.assert_array_equal(noise, before[1])


def test_silence_stays_silence():
    audio, silence = hum(0.1, 200, 1), np.zeros(1600, dtype=np.float32)
    np.testing.assert_array_equal(add_noise(audio, silence, 5.0), audio)
    np.testing.assert_array_equal(add_noise(silence, audio, 5.0), silence)
    np.testing.assert_array_equal(reverberate(silence, audio), silence)
    np.testing.assert_array_equal(reverberate(audio, silence[:1]), audio)
    for codec in Codec:
        np.testing.assert_allclose(through_telephone(silence, codec), silence, atol=1e-3)


@pytest.mark.parametrize("loudness", [1e-20, 1e-25, 1e-38])
def test_the_end_of_a_fade_out_is_noise_like_any_other(loudness):
    """Its energy was 0 in single precision, and the crop infinite, or NaN where the speech was silent."""
    audio = hum(0.1, 200, 1)
    noise = (loudness * np.random.default_rng(1).standard_normal(len(audio))).astype(np.float32)
    added = add_noise(audio, noise, 10.0).astype(np.float64) - audio
    assert 10 * np.log10(energy(audio) / energy(added)) == pytest.approx(10, abs=0.05)
    np.testing.assert_array_equal(add_noise(0 * audio, noise, 10.0), 0 * audio)
    assert np.isfinite(add_noise(noise, audio, 10.0)).all()
    assert np.isfinite(reverberate(noise, audio)).all()
    assert np.isfinite(reverberate(audio, noise)).all()


@pytest.mark.parametrize("direct", [0, 37])
def test_reverberation_is_numpys_convolution_from_the_direct_sound_on(direct):
    generator = np.random.default_rng(direct)
    audio = hum(0.2, 200, 2)
    response = (0.1 * generator.standard_normal(900) * np.exp(-np.arange(900) / 200)).astype(np.float32)
    response[direct] = -1.0
    wet = reverberate(audio, response)
    expected = np.convolve(audio.astype(np.float64), response.astype(np.float64))[direct : direct + len(audio)]
    expected *= np.sqrt(energy(audio) / energy(expected))
    assert wet.dtype == np.float32
    np.testing.assert_allclose(wet, expected, atol=1e-5)
    assert energy(wet) == pytest.approx(energy(audio), rel=1e-4)


@given(delay=st.integers(0, 500), gain=st.floats(0.01, 10))
def test_a_room_without_echo_gives_back_the_audio(delay, gain):
    response = np.zeros(600, dtype=np.float32)
    response[delay] = gain
    audio = hum(0.1, 200, 3)
    np.testing.assert_allclose(reverberate(audio, response), audio, atol=1e-6)


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("samples", [1, 400, 7999, 8000])
def test_a_codec_keeps_length_and_time(codec, samples):
    audio = hum(0.5, 200, 4)[:samples]
    coded = through_telephone(audio, codec)
    assert (coded.dtype, coded.shape) == (np.float32, audio.shape)
    if samples > 1000:
        lags = np.correlate(coded, audio, "full").argmax() - (samples - 1)
        assert lags == 0
        assert np.corrcoef(coded, audio)[0, 1] > 0.9


@pytest.mark.parametrize("codec", list(Codec))
def test_a_codec_leaves_nothing_above_4_khz(codec):
    coded = through_telephone(tone(1000, amplitude=0.2) + tone(6000, amplitude=0.2), codec)
    spectrum = np.abs(np.fft.rfft(coded * np.hanning(len(coded)))) ** 2
    assert spectrum[4100:].sum() < 1e-4 * spectrum.sum()
    assert loudest_pitch(coded) == pytest.approx(1000, abs=1)


def test_ulaw_samples_are_those_of_g711(monkeypatch):
    # Without resampling, each sample becomes one of the two beside it among the 256 that the standard has.
    from lid_mapmix.data.augment import effects as augment

    monkeypatch.setattr(augment.functional, "resample", lambda audio, *_: audio)
    levels = np.array(sorted(decode(code) for code in range(256)))
    audio = np.random.default_rng(5).uniform(-0.95, 0.95, 2000).astype(np.float32)
    coded = through_telephone(audio, Codec.ULAW)
    assert np.isin(coded, levels).all()
    above = np.searchsorted(levels, audio)
    assert ((coded == levels[above - 1]) | (coded == levels[above])).all()
    # The standard's decision values are not halfway where the steps double.
    nearest = levels[np.abs(audio[:, None] - levels).argmin(axis=1)]
    assert np.mean(coded == nearest) > 0.98


@pytest.mark.parametrize("codec", list(Codec))
def test_what_is_too_loud_is_clipped_and_does_not_wrap_around(codec):
    coded = through_telephone(tone(300, amplitude=3.0), codec)
    assert np.abs(coded).max() < 1.5
    assert np.corrcoef(coded, tone(300))[0, 1] > 0.85


@pytest.fixture
def threads():
    """Return a function that sets how many threads torch uses; they are as before afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("samples", [400, 1000, 8000, 16_000])
def test_nothing_depends_on_the_number_of_threads(samples, threads):
    """A run without workers, whose main process has all threads, ended with other weights than one with workers."""
    audio, noise = hum(1.0, 200, 7)[:samples], hum(1.0, 90, 8)[:samples]
    changes = {f"speed {factor}": partial(change_speed, factor=factor) for factor in (0.9, 1.1)}
    changes |= {codec: partial(through_telephone, codec=codec) for codec in Codec}
    changes["noise"] = partial(add_noise, noise=noise, snr=3.0)
    for name, change in changes.items():
        found = []
        for count in (1, 2):
            threads(count)
            found.append(change(audio))
            assert torch.get_num_threads() == count
        assert all(np.array_equal(found[0], each) for each in found), name


def test_gsm_is_worse_than_ulaw():
    audio = hum(1.0, 200, 6)
    errors = {codec: energy(through_telephone(audio, codec) - audio) for codec in (Codec.ULAW, Codec.GSM)}
    assert errors[Codec.GSM] > 2 * errors[Codec.ULAW]
