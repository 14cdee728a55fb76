"""Measures of samples against plain computations over the whole utterance, and on audio of known properties."""

import itertools

import numpy as np
import pytest
import soundfile
from helpers.synthetic import hum
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.data.check.quality import frame_length, measure
from lid_mapmix.data.check.thresholds import SILENT_DECIBELS
from lid_mapmix.data.prepare.demo import espeak
from scipy.signal import firwin, lfilter, resample_poly

RATE = 16_000
TEXTS = {
    "en": "Six thick thistle sticks, seven ounces of salt and a fresh fish on Thursday the fifth.",
    "pl": "W Szczebrzeszynie chrząszcz brzmi w trzcinie, a czwartek jest dwudziestego szóstego.",
    "vi": "Thứ bảy ngày hai mươi sáu tháng năm, năm trăm gam muối và một con cá tươi.",
}


def blocks_of(audio, *cuts):
    audio = np.asarray(audio, dtype=np.float32)
    audio = audio[:, None] if audio.ndim == 1 else audio
    edges = [0, *sorted(cuts), len(audio)]
    return [np.ascontiguousarray(audio[a:b]) for a, b in itertools.pairwise(edges) if b > a]


def in_16_bits(audio):
    return np.rint(audio.clip(-1, 1) * 32_767) / 32_768


@pytest.fixture(scope="module", params=list(TEXTS))
def speech(request):
    """Return (samples,) of wideband speech at -26 dB."""
    voice = espeak.Voice(request.param, "f2")
    spoken = resample_poly(espeak.synthesise(TEXTS[request.param], voice, 1) / 32_768, 320, 441)
    return spoken * 10 ** (-26 / 20) / spoken.std()


@settings(max_examples=50)
@given(data=st.data(), channels=st.integers(1, 2))
def test_measures_do_not_depend_on_blocks(data, channels):
    generator = np.random.default_rng(data.draw(st.integers(0, 100)))
    audio = (generator.standard_normal((data.draw(st.integers(1, 3000)), channels)) * 0.7 + 0.1).clip(-1, 1)
    cuts = data.draw(st.lists(st.integers(0, len(audio)), max_size=5))
    one, several = (vars(measure(blocks_of(audio, *places), 2_000)) for places in ((), cuts))
    assert one.pop("digest") == several.pop("digest")
    for name, value in one.items():
        assert several[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name


@settings(max_examples=50)
@given(seed=st.integers(0, 1000), samples=st.integers(1, 4000))
def test_measures_are_those_of_the_whole(seed, samples):
    audio = (np.random.default_rng(seed).standard_normal(samples) * 0.8 + 0.2).clip(-1, 1).astype(np.float32)
    found = measure(blocks_of(audio, samples // 3), RATE)
    assert found.samples == samples
    length = frame_length(RATE)
    levels = [audio[at : at + length].std() for at in range(0, samples - length + 1, length)] or [audio.std()]
    assert 10 ** (found.level / 20) == pytest.approx(np.quantile(levels, 0.95), abs=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e37])
def test_what_is_not_finite_is_said_and_does_not_spread(value):
    audio = hum(1.0, 150, 1)
    broken = audio.copy()
    broken[7_000] = value
    found, expected = measure(blocks_of(broken), RATE), measure(blocks_of(audio), RATE)
    assert (found.finite, expected.finite) == (False, True)
    assert found.level == pytest.approx(expected.level, abs=0.1)
    assert np.isfinite(found.edge)


def test_a_click_makes_no_speech_of_silence():
    audio = 1e-4 * np.random.default_rng(1).standard_normal(3 * RATE)
    audio[10_000:10_003] = 0.9
    assert measure(blocks_of(audio), RATE).level < SILENT_DECIBELS
    assert measure(blocks_of(2e-2 * hum(3.0, 150, 1)), RATE).level > SILENT_DECIBELS


def test_opposite_channels_are_named_and_then_measured_as_the_louder_one():
    audio = hum(1.0, 150, 1)
    blocks = blocks_of(np.stack([0.8 * audio, -audio], axis=1), 100, 5_000)
    assert measure(blocks, RATE).channel == 1
    found, alone = measure(blocks, RATE, 1), measure(blocks_of(-audio, 100, 5_000), RATE)
    assert (found.channel, found.level, found.edge) == (1, alone.level, alone.edge)
    assert alone.channel == -1


def test_the_same_audio_in_another_lossless_format_has_the_same_digest(tmp_path):
    # Rounded here: libsndfile rounds for each format in another way.
    audio = np.rint(hum(0.5, 150, 1) * 32_768).astype(np.int16)
    digests = set()
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, audio, RATE, subtype="PCM_16")
        read = soundfile.read(tmp_path / name, dtype="float32", always_2d=True)[0]
        digests.add(measure([read], RATE).digest)
    assert len(digests) == 1
    audio[-1] += 1
    assert measure(blocks_of(audio / 32_768), RATE).digest not in digests


@pytest.mark.parametrize("level", [0.0, -15.0])
def test_wideband_speech_has_no_edge(speech, level):
    audio = in_16_bits(speech * 10 ** (level / 20))
    assert measure(blocks_of(audio), RATE).edge == 8_000
    other = resample_poly(audio, 441, 160)
    assert measure(blocks_of(other), 44_100).edge == 8_000


@pytest.mark.parametrize("level", [0.0, -15.0])
@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_telephone_speech_that_was_upsampled_has_an_edge(speech, level, rate):
    half = resample_poly(speech, 1, 2) * 10 ** (level / 20)
    telephone = lfilter(firwin(101, [300, 3_400], fs=8_000, pass_zero=False), 1, half)
    for audio, edge in ((half, (3_500, 4_500)), (telephone, (3_000, 4_000))):
        upsampled = in_16_bits(resample_poly(in_16_bits(audio), rate // 8_000, 1))
        found = measure(blocks_of(upsampled), rate).edge
        assert edge[0] <= found <= edge[1], found


def test_an_edge_under_noise_is_not_seen(speech):
    """A limit that the help of the command names."""
    upsampled = resample_poly(resample_poly(speech, 1, 2), 2, 1)
    noise = np.random.default_rng(1).standard_normal(len(upsampled)) * upsampled.std() * 10 ** (-20 / 20)
    assert measure(blocks_of(in_16_bits(upsampled + noise)), RATE).edge == 8_000


@pytest.mark.parametrize("samples", [0, 1, 400, 14 * 512])
def test_of_short_audio_no_edge_is_said(samples):
    assert np.isnan(measure(blocks_of(hum(1.0, 150, 1)[:samples]), RATE).edge)
