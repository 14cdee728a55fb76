import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.host import compat, registry
from lid_mapmix.model import AttentionPooling, DialectClassifier, Encoder, FrameSpans, audio_samples
from reference.pooling import attention_pool

DIM, RATE, CLASSES = 6, 160, 5


def make(encoder=Encoder.NONE, seed=0):
    torch.manual_seed(seed)
    return DialectClassifier(DIM, RATE, CLASSES, encoder=encoder, encoder_channels=16, hidden_dim=8).eval()


def features(*frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, DIM, generator=generator) for count in frames]


def whole(frames):
    """Return first sample and count of audio that has just these numbers of frames."""
    counts = torch.tensor([audio_samples(len(one), RATE) for one in frames])
    return torch.zeros_like(counts), counts


@pytest.fixture(scope="module", autouse=True)
def host():
    compat.apply()
    registry.install_lazy_hub()


@pytest.fixture(scope="module", params=list(Encoder))
def model(request, host):
    return make(request.param)


@pytest.fixture(scope="module")
def upstream(host):
    import s3prl.hub

    return s3prl.hub.fbank()


# Pooling -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=4), seed=st.integers(0, 99)
)
def test_pooling_is_the_weighted_mean_of_the_real_frames(lengths, seed):
    torch.manual_seed(seed)
    pooling = AttentionPooling(DIM)
    frames = torch.randn(len(lengths), 14, DIM)
    first, count = torch.tensor(lengths).T
    mask = FrameSpans(first, first + count).mask(14)
    pooled = pooling(frames, mask)
    weight, bias = pooling.score.weight[0].tolist(), pooling.score.bias.item()
    for row, (start, length) in enumerate(lengths):
        real = [start <= position < start + length for position in range(14)]
        assert mask[row].tolist() == real
        expected = attention_pool(frames[row].tolist(), real, weight, bias)
        np.testing.assert_allclose(pooled[row].tolist(), expected, atol=1e-5)


def test_pooling_by_hand():
    pooling = AttentionPooling(1)
    torch.nn.init.ones_(pooling.score.weight)
    frames = torch.tensor([[[0.0], [math.log(3)], [50.0]]])
    pooled = pooling(frames, torch.tensor([[True, True, False]]))
    # Weights 1/4 and 3/4; the third frame is padding.
    assert pooled.item() == pytest.approx(0.75 * math.log(3))


# Lengths -----------------------------------------------------------------------------------------------------------


def test_frames_are_counted_as_the_filter_banks_count_them(upstream):
    counts = [400, 401, 559, 560, 561, 719, 720, 16_000, 16_079, 16_080, 31_999]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        hidden = upstream([torch.randn(count, generator=generator) * 0.1 for count in counts])["hidden_states"][0]
    rate = upstream.get_downsample_rates("hidden_states")
    assert rate == RATE
    spans = FrameSpans.of_audio(torch.zeros(len(counts), dtype=torch.int64), torch.tensor(counts), rate)
    assert spans.last.tolist() == [(count - 400) // rate + 1 for count in counts]
    alone = [upstream([torch.randn(count) * 0.1])["hidden_states"][0].shape[1] for count in counts]
    assert spans.last.tolist() == alone
    assert hidden.shape[1] == max(alone)


@given(first=st.integers(0, 5000), count=st.integers(400, 9000), rate=st.sampled_from([160, 320]))
def test_real_frames_are_those_that_begin_and_end_in_real_audio(first, count, rate):
    spans = FrameSpans.of_audio(torch.tensor([first]), torch.tensor([count]), rate)
    begin, end = spans.first.item(), spans.last.item()
    assert 0 <= begin < end
    assert (end - 1) * rate + 400 <= first + count < end * rate + 400
    # The first may begin within the padding before it, by less than a step.
    assert begin * rate <= first < (begin + 1) * rate


@given(frames=st.integers(1, 500), rate=st.sampled_from([160, 320]))
def test_audio_of_some_frames_has_these_frames(frames, rate):
    spans = FrameSpans.of_audio(torch.tensor([0]), torch.tensor([audio_samples(frames, rate)]), rate)
    assert spans.last.item() == frames


# Latents -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(first=st.integers(0, 10), frames=st.integers(1, 25), value=st.sampled_from([1e3, -7.0, torch.inf, torch.nan]))
def test_padding_frames_change_nothing(model, first, frames, value):
    batch = torch.stack(features(40, 40))
    place = (
        torch.tensor([first * RATE, 0]),
        torch.tensor([audio_samples(frames, RATE), audio_samples(40, RATE)]),
    )
    with torch.no_grad():
        expected = model.latents(list(batch), *place)
        batch[0, :first] = batch[0, first + frames :] = value
        found = model.latents(list(batch), *place)
    torch.testing.assert_close(found, expected)
    assert torch.isfinite(found).all()


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_alone_or_beside_a_longer_one_is_the_same(model, lengths):
    batch = features(*lengths)
    with torch.no_grad():
        together = model.latents(batch, *whole(batch))
        alone = torch.cat([model.latents([one], *whole([one])) for one in batch])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("encoder", [Encoder.XVECTOR, Encoder.ECAPA])
def test_a_large_batch_gives_what_its_waveforms_give_alone(encoder):
    model = make(encoder)
    batch = features(*range(300, 1300, 100))
    with torch.no_grad():
        together = model.latents(batch, *whole(batch))
        alone = torch.cat([model.latents([one], *whole([one])) for one in batch])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_ecapa_trains_on_padding_as_s3prl_has_it():
    model = make(Encoder.ECAPA).train()
    batch = torch.stack(features(40, 40))
    batch[0, 20:] = 0
    place = torch.tensor([0, 0]), torch.tensor([audio_samples(20, RATE), audio_samples(40, RATE)])
    mask = FrameSpans.of_audio(*place, RATE).mask(40)
    with torch.no_grad():
        expected = model.pooling(model.encoder(batch), mask)
        assert torch.equal(model.latents(list(batch), *place), expected)


def test_frames_the_upstream_left_in_the_padding_change_nothing(model):
    short, long = features(9, 50)
    with torch.no_grad():
        expected = model.latents([short], *whole([short]))
        # An upstream that pads its input gives features of the padding too.
        padded = torch.cat([short, torch.full((4, DIM), 9.0)])
        found = model.latents([padded, long], *whole([short, long]))[:1]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_frame_that_the_featurizer_cut_off_takes_no_weight(model):
    short, long = features(20, 50)
    cut = short[:-1]
    with torch.no_grad():
        expected = model.latents([cut], *whole([cut]))
        found = model.latents([cut, long], *whole([short, long]))[:1]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("encoder", list(Encoder))
def test_the_shortest_audio_has_a_latent(encoder, upstream):
    torch.manual_seed(0)
    model = DialectClassifier(240, RATE, CLASSES, encoder=encoder, encoder_channels=16).eval()
    with torch.no_grad():
        hidden = upstream([torch.randn(400) * 0.1])["hidden_states"][0]
        latents = model.latents(list(hidden), torch.tensor([0]), torch.tensor([400]))
    assert latents.shape == (1, 240 if encoder is Encoder.NONE else 16)
    assert torch.isfinite(latents).all()
    assert torch.isfinite(model.logits(latents)).all()


def test_the_shortest_audio_has_the_same_latent_beside_a_longer_one(upstream):
    model = DialectClassifier(240, RATE, CLASSES, encoder=Encoder.XVECTOR, encoder_channels=16).eval()
    short, long = torch.randn(400) * 0.1, torch.randn(9000) * 0.1
    with torch.no_grad():
        alone = model.latents(list(upstream([short])["hidden_states"][0]), torch.tensor([0]), torch.tensor([400]))
        hidden = upstream([short, long])["hidden_states"][0]
        # S3PRL's featurizer rounds lengths: 400 samples make two frames of 160 there.
        both = model.latents([hidden[0, :2], hidden[1]], torch.tensor([0, 0]), torch.tensor([400, 9000]))
    torch.testing.assert_close(both[:1], alone, rtol=1e-5, atol=1e-5)


def test_nan_of_longer_audio_is_not_hidden():
    model = make()
    frames = features(5)
    frames[0][2, 1] = torch.nan
    with torch.no_grad():
        assert torch.isnan(model.latents(frames, *whole(frames))).any()


@pytest.mark.parametrize("encoder", list(Encoder))
def test_the_gradient_reaches_every_parameter(encoder):
    model = make(encoder).train()
    batch = features(30, 40, 50)
    logits = model.logits(model.latents(batch, *whole(batch)))
    assert logits.shape == (3, CLASSES)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without
    # Softmax does not see what all frames have in common.
    still = {name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 1e-12}
    assert still <= {"pooling.score.bias"}


def test_the_classifier_is_the_papers():
    model = DialectClassifier(DIM, RATE, CLASSES)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert shapes == {
        "pooling.score.weight": (1, DIM),
        "pooling.score.bias": (1,),
        "classifier.0.weight": (512, DIM),
        "classifier.0.bias": (512,),
        "classifier.2.weight": (CLASSES, 512),
        "classifier.2.bias": (CLASSES,),
    }
    latents = torch.randn(3, DIM)
    hidden = torch.relu(latents @ model.classifier[0].weight.T + model.classifier[0].bias)
    expected = hidden @ model.classifier[2].weight.T + model.classifier[2].bias
    torch.testing.assert_close(model.logits(latents), expected)


@pytest.mark.parametrize("encoder", [Encoder.XVECTOR, Encoder.ECAPA])
def test_a_batch_of_one_frame_trains(encoder):
    # Batch norm expects more than one value a channel.
    model = DialectClassifier(DIM, RATE, 3, encoder=encoder, encoder_channels=16, hidden_dim=8).train()
    latents = model.latents(features(1), torch.zeros(1, dtype=torch.int64), torch.tensor([audio_samples(1, RATE)]))
    model.logits(latents).sum().backward()
    assert torch.isfinite(latents).all()
