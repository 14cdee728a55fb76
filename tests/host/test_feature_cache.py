import importlib

import numpy as np
import pytest
import torch
from helpers.checkpoints import save_initial
from lid_mapmix.host import compat, registry
from lid_mapmix.host.feature_cache import CachedUpstream, FeatureCache, Selection, quicken_weighted_sum, weights_digest
from lid_mapmix.utils.errors import UserError

NAMES = {"upstream": "wav2vec2_local"}
SIZES = np.array([8000, 8000, 8000, 5000, 400])
CUT = {"cut": "crops", "audio": "abc"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_initial(tmp_path_factory.mktemp("weights") / "small.pt")


@pytest.fixture(scope="module")
def upstream(weights):
    """Return S3PRL's own wav2vec 2.0, small and random; not to be changed."""
    return load(weights)


def load(weights):
    compat.apply()
    registry.install_lazy_hub()
    return importlib.import_module("s3prl.hub").wav2vec2_local(str(weights)).eval()


def make_featurizer(upstream, selection=None, **keywords):
    selection = selection or Selection("hidden_states", None)
    interfaces = importlib.import_module("s3prl.upstream.interfaces")
    return interfaces.Featurizer(
        upstream, selection.key, upstream_device="cpu", layer_selection=selection.layer, **keywords
    )


def waveforms():
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(size, generator=generator) for size in SIZES]


def open_cache(folder, upstream, selection=None, names=None):
    cached = CachedUpstream(upstream, selection or Selection("hidden_states", None))
    cache = FeatureCache(folder, cached, NAMES | (names or {}), 320, "cpu")
    return cached, cache.open("train", SIZES, CUT)


def run(cached, store, slots, wavs):
    with torch.no_grad():
        cached.announce(store, slots)
        return cached([wavs[slot] for slot in slots])


@pytest.mark.parametrize(
    "selection",
    [Selection("hidden_states", None), Selection("hidden_states", 1), Selection("last_hidden_state", None)],
)
def test_features_from_the_cache_are_the_upstreams(selection, upstream, tmp_path):
    wavs = waveforms()
    cached, store = open_cache(tmp_path, upstream, selection)
    featurizer = make_featurizer(upstream, selection)
    for slots in ([0, 1, 2], [2, 0, 2, 1], [3, 0], [4, 3]):
        batch = [wavs[slot] for slot in slots]
        found = featurizer(batch, run(cached, store, slots, wavs))
        for slot, each in zip(slots, found, strict=True):
            with torch.no_grad():
                alone = featurizer([wavs[slot]], upstream([wavs[slot]]))[0]
            # Beside a longer one the featurizer leaves a frame of padding, which the task masks.
            torch.testing.assert_close(each[: len(alone)], alone, rtol=1e-3, atol=2e-3)
    assert (cached.computed, cached.read) == (5, 6)


def test_what_is_filled_needs_no_upstream_and_no_audio(upstream, tmp_path):
    wavs = waveforms()
    cached, store = open_cache(tmp_path, upstream)
    first = run(cached, store, [0, 3, 4], wavs)["hidden_states"]
    cached.upstream = None
    again = run(cached, store, [0, 3, 4], [torch.zeros_like(wav) for wav in wavs])["hidden_states"]
    assert len(first) == len(again) == 3
    assert all(map(torch.equal, first, again))


def test_what_a_slot_holds_does_not_depend_on_the_company(upstream, tmp_path):
    wavs = waveforms()
    for name, batches in (("one", [[0, 1, 2]]), ("other", [[2], [1, 0]])):
        cached, store = open_cache(tmp_path / name, upstream)
        for slots in batches:
            run(cached, store, slots, wavs)
    files = [tmp_path / name / "train/features.f16" for name in ("one", "other")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_whatever_is_not_announced_goes_to_the_upstream(upstream, tmp_path):
    wavs = waveforms()[:2]
    cached, store = open_cache(tmp_path, upstream)
    run(cached, store, [0], wavs)
    with torch.no_grad():
        assert all(map(torch.equal, cached(wavs)["hidden_states"], upstream(wavs)["hidden_states"]))
    cached.announce(store, [0])
    with pytest.raises(ValueError, match="expected 1 waveforms, as announced, found 2"):
        cached(wavs)


@pytest.mark.parametrize("normalize", [False, True])
def test_the_quick_weighted_sum_is_s3prls_and_its_weights_learn(normalize, upstream, tmp_path):
    wavs = waveforms()
    cached, store = open_cache(tmp_path, upstream)
    features = run(cached, store, [0, 3], wavs)
    plain, quick = (make_featurizer(upstream, normalize=normalize) for _ in range(2))
    quicken_weighted_sum(quick)
    results = []
    for featurizer in (plain, quick):
        with torch.no_grad():
            featurizer.weights.copy_(torch.tensor([0.5, -1.0, 2.0]))
        frames = featurizer([wavs[0], wavs[3]], features)
        sum(each.sin().mean() for each in frames).backward()
        results.append([*frames, featurizer.weights.grad])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert (quick.weights.grad != 0).all()
    # What comes from the upstream itself is summed by S3PRL's own code.
    with torch.no_grad():
        fresh = upstream(wavs[:1])
        assert torch.equal(quick(wavs[:1], fresh)[0], plain(wavs[:1], fresh)[0])


def filled(store):
    return sum(map(store.holds, range(len(store))))


def test_features_that_float16_cannot_hold_are_refused(upstream, tmp_path):
    class Large(torch.nn.Module):
        def forward(self, wavs):
            return {"hidden_states": [torch.full((len(wavs), len(wavs[0]) // 320, 4), 7e4)]}

    cached, store = open_cache(tmp_path, Large())
    with pytest.raises(UserError, match="above 65504"):
        run(cached, store, [0], waveforms())
    assert filled(store) == 0


def test_another_upstream_is_noticed(upstream, weights, tmp_path):
    open_cache(tmp_path, upstream)
    open_cache(tmp_path, upstream)
    other = load(weights)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    assert weights_digest(other) != weights_digest(upstream)
    for what, model, keywords in (
        ("weights", other, {}),
        ("upstream", upstream, {"names": {"upstream": "hubert_local"}}),
        ("precision", upstream, {"names": {"precision": "bf16"}}),
        ("layer", upstream, {"selection": Selection("hidden_states", 1)}),
        ("features", upstream, {"selection": Selection("last_hidden_state", None)}),
    ):
        with pytest.raises(UserError, match=f"{what} of the features: expected .*, found .*Use another"):
            open_cache(tmp_path, model, **keywords)


def test_an_upstream_that_makes_other_features_of_the_same_weights_is_noticed(upstream, weights, tmp_path):
    open_cache(tmp_path, upstream)
    other = load(weights)
    other.model.encoder.layers[0].activation_fn = torch.relu
    with pytest.raises(UserError, match="expected the features that the upstream now computes"):
        open_cache(tmp_path, other)


def test_a_missing_probe_is_one_line(upstream, tmp_path):
    open_cache(tmp_path, upstream)
    (tmp_path / "probe.npy").unlink()
    with pytest.raises(UserError, match=r"probe\.npy: is missing or damaged"):
        open_cache(tmp_path, upstream)
