"""Filter banks of a batch against S3PRL's own, a waveform at a time."""

import pytest
import torch
from helpers.synthetic import hum
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.host import compat, registry
from lid_mapmix.host.filter_banks import FilterBanks, batch_filter_banks


def _upstream(name):
    compat.apply()
    registry.install_lazy_hub()
    import s3prl.hub

    return getattr(s3prl.hub, name)()


@pytest.fixture
def fbank():
    return _upstream("fbank")


def _waveforms(*lengths):
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


def test_equals_features_of_each_waveform_alone(fbank):
    waveforms = _waveforms(16_000, 5_000, 16_000, 5_001, 400_000, 16_000)
    expected = [fbank.extracter(waveform) for waveform in waveforms]

    found = FilterBanks(fbank.extracter).extract(waveforms)

    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=5e-5)


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(720, 30_000), min_size=1, max_size=7), seed=st.integers(0, 99))
def test_any_lengths_together_equal_those_of_s3prl(lengths, seed):
    extracter = _upstream("fbank").extracter
    generator = torch.Generator().manual_seed(seed)
    waveforms = [0.1 * torch.randn(length, generator=generator) for length in lengths]
    for found, waveform in zip(FilterBanks(extracter).extract(waveforms), waveforms, strict=True):
        # The variance of less than ten frames may be so small that dividing by it enlarges rounding (2.6e-4 was seen).
        tolerance = {"rtol": 1e-4, "atol": 5e-5} if len(found) >= 10 else {"rtol": 5e-4, "atol": 3e-4}
        torch.testing.assert_close(found, extracter(waveform), **tolerance)


def test_quiet_filters_beside_a_loud_hum_as_in_s3prl(fbank):
    # Rounding once where S3PRL rounds twice changed them by 2e-4.
    waveform = torch.from_numpy(hum(2, 150, 0))

    found = FilterBanks(fbank.extracter)._log_mel_energies(waveform.unfold(0, 400, 160))

    torch.testing.assert_close(found, fbank.extracter[0](waveform), rtol=0, atol=1e-5)


def test_the_waveforms_stay_as_they_are(fbank):
    waveforms = _waveforms(8_000, 8_000)
    before = [waveform.clone() for waveform in waveforms]

    FilterBanks(fbank.extracter).extract(waveforms)

    for one, other in zip(waveforms, before, strict=True):
        assert torch.equal(one, other)


def test_upstream_gives_the_same_with_and_without(fbank):
    waveforms = _waveforms(8_000, 9_000, 8_000)
    expected = fbank(waveforms)["hidden_states"][0]
    original = fbank._extractor_forward

    batch_filter_banks(fbank)

    assert fbank._extractor_forward != original
    torch.testing.assert_close(fbank(waveforms)["hidden_states"][0], expected, rtol=1e-4, atol=5e-5)


def test_silence_before_speech_as_in_s3prl(fbank):
    quiet = _waveforms(6_000)[0]
    quiet[:3_000] = 0

    found = FilterBanks(fbank.extracter).extract([quiet, torch.zeros(6_000)])

    torch.testing.assert_close(found[0], fbank.extracter(quiet), rtol=1e-4, atol=5e-5)
    # Both are rounding errors only.
    torch.testing.assert_close(found[1], fbank.extracter(torch.zeros(6_000)), rtol=0, atol=1e-3)


def test_one_frame_alone_is_nan_as_in_s3prl(fbank):
    waveforms = _waveforms(400, 400)

    found = FilterBanks(fbank.extracter).extract(waveforms)

    for one, waveform in zip(found, waveforms, strict=True):
        torch.testing.assert_close(one, fbank.extracter(waveform), equal_nan=True, rtol=1e-4, atol=5e-5)


def test_less_than_a_frame_fails_as_in_s3prl(fbank):
    with pytest.raises(AssertionError, match="window size"):
        FilterBanks(fbank.extracter).extract(_waveforms(8_000, 399))


def test_other_settings_are_left_to_s3prl(fbank):
    fbank.config["kaldi"]["fbank"]["num_mel_bins"] = 40
    original = fbank._extractor_forward

    batch_filter_banks(fbank)

    assert fbank._extractor_forward == original


@pytest.mark.parametrize("other", [torch.nn.Linear(1, 1), "mfcc", "mel"])
def test_other_upstreams_stay_as_they_are(other):
    upstream = _upstream(other) if isinstance(other, str) else other

    batch_filter_banks(upstream)

    assert "_extractor_forward" not in vars(upstream)
