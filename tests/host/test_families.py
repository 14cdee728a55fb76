"""Features of every family of upstreams, as S3PRL's runner hands them to our model."""

import pytest
import torch
from helpers.checkpoints import (
    LAYERS,
    Shape,
    save_data2vec,
    save_hubert,
    save_hugging_face,
    save_wav2vec2,
    save_wavlm,
)
from host.conftest import toy_run
from lid_mapmix.host import compat, registry
from lid_mapmix.host.formats import MODEL_TYPES
from lid_mapmix.host.frames import check_mixed_lengths
from lid_mapmix.host.runner import make_runner
from lid_mapmix.host.upstreams import UpstreamSettings
from lid_mapmix.model import DialectClassifier
from lid_mapmix.utils.errors import UserError

BASE, LARGE = Shape(layerdrop=0.5), Shape(stable=True, layerdrop=0.5)
# Name → S3PRL's upstream, what writes its checkpoint, and the model's shape.
NATIVE = {
    "wav2vec2": ("wav2vec2_local", save_wav2vec2, BASE),
    "xlsr": ("wav2vec2_local", save_wav2vec2, LARGE),
    "hubert": ("hubert_local", save_hubert, BASE),
    "hubert_large": ("hubert_local", save_hubert, LARGE),
    "wavlm": ("wavlm_local", save_wavlm, BASE),
    "wavlm_large": ("wavlm_local", save_wavlm, LARGE),
    "data2vec": ("data2vec_local", save_data2vec, BASE),
}
HUGGING_FACE = {
    "hf wav2vec2": ("hf_wav2vec2_custom", "wav2vec2", BASE),
    "hf xlsr": ("hf_wav2vec2_custom", "wav2vec2", LARGE),
    "hf hubert": ("hf_hubert_custom", "hubert", BASE),
    "hf hubert_large": ("hf_hubert_custom", "hubert", LARGE),
    **{f"hf {kind}": ("hf_auto", kind, LARGE) for kind in MODEL_TYPES if kind not in ("wav2vec2", "hubert")},
    "hf wavlm base": ("hf_auto", "wavlm", BASE),
    "hf sew base": ("hf_auto", "sew", BASE),
}
# As native models, of the same weights.
TWINS = ["hf wav2vec2", "hf xlsr", "hf hubert", "hf hubert_large"]
SELF_SUPERVISED = [*NATIVE, *HUGGING_FACE]
FILTER_BANKS = ["fbank", "mfcc"]
GROUP_NORM = ["wav2vec2", "hubert", "wavlm", "hf wav2vec2", "hf hubert", "hf wavlm base", "hf sew base"]
# SEW's layers have a frame per two.
IN_PAIRS = ["hf sew", "hf sew-d", "hf sew base"]
WITHOUT_FRONT_END = ["hf wav2vec2-bert", "hf whisper"]
FAMILIES = [*SELF_SUPERVISED, *FILTER_BANKS]
# Pretraining's own: no downstream task sees them.
NEVER_TRAINED = ("mask_emb", "masked_spec_embed", "quantizer", "project_q", "final_proj", "label_embs_concat")
# A key's bias adds the same to all scores of a query, which softmax does not see.
WITHOUT_EFFECT = ("k_proj.bias", "score.bias", "linear_k.bias", "key_proj.bias")
# Ends of utterances within a frame: where lengths are rounded to one frame more, one fewer, or just so.
LENGTHS = [8_960 + rest for rest in (0, 79, 80, 159, 160, 161, 319)]


@pytest.fixture(scope="module", autouse=True)
def host():
    compat.apply()
    registry.install_lazy_hub()
    registry.register_task("toy", "host.toy_task")


@pytest.fixture(scope="module")
def checkpoints(host, tmp_path_factory):
    """Return a function that gives the checkpoint of a family, written once."""
    folder, written = tmp_path_factory.mktemp("checkpoints"), {}

    def checkpoint(family):
        if family not in written and family in NATIVE:
            _, save, shape = NATIVE[family]
            written[family] = save(folder / f"{family}.pt", shape)
        elif family not in written and family in HUGGING_FACE:
            _, kind, shape = HUGGING_FACE[family]
            written[family] = save_hugging_face(folder / family, kind, shape)
        return written.get(family)

    return checkpoint


class Built:
    """An upstream as the runner builds it, with our model on it."""

    def __init__(self, args, config, settings):
        self.runner = make_runner(args, config, settings)
        self.upstream, self.featurizer = self.runner.upstream.model, self.runner.featurizer.model
        torch.manual_seed(0)
        self.model = DialectClassifier(self.featurizer.output_dim, self.featurizer.downsample_rate, 4)
        self.train(False)

    def train(self, mode):
        for module in (self.upstream, self.featurizer, self.model):
            module.train(mode)
        return self

    def features(self, wavs):
        return self.featurizer(wavs, self.upstream(wavs))

    def latents(self, wavs):
        counts = torch.tensor([len(wav) for wav in wavs])
        return self.model.latents(self.features(wavs), torch.zeros_like(counts), counts)


@pytest.fixture
def build(checkpoints, tmp_path):
    def make(family, features=None, layer=None, fine_tuned=False, **settings):
        args, config = toy_run(tmp_path)
        args.upstream = {**NATIVE, **HUGGING_FACE}.get(family, (family,))[0]
        args.upstream_ckpt = None if (path := checkpoints(family)) is None else str(path)
        args.upstream_trainable = fine_tuned
        args.upstream_feature_selection = features or (
            "hidden_states" if family in FILTER_BANKS else "last_hidden_state"
        )
        args.upstream_layer_selection = layer
        return Built(args, config, UpstreamSettings(**settings))

    return make


def waveforms(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


# Company ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["last_hidden_state", "hidden_states"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_utterance_has_the_latent_it_has_alone(family, features, build):
    if family in FILTER_BANKS:
        features = "hidden_states"
    built = build(family, features)
    close = {"rtol": 1e-5, "atol": 1e-5}
    with torch.no_grad():
        for number, length in enumerate(LENGTHS):
            wavs = waveforms(length, length, length, seed=number)
            alone = torch.cat([built.latents([wav]) for wav in wavs])
            torch.testing.assert_close(built.latents(wavs), alone, **close)
        if family not in GROUP_NORM:
            wavs = waveforms(*LENGTHS, 16_000, 400)
            alone = torch.cat([built.latents([wav]) for wav in wavs])
            torch.testing.assert_close(built.latents(wavs), alone, **close)


@pytest.mark.parametrize("family", FAMILIES)
def test_lengths_are_mixed_only_where_company_changes_nothing(family, build):
    if family not in GROUP_NORM:
        build(family, mix_lengths=True)
        return
    with pytest.raises(UserError, match="mix_lengths to false") as caught:
        build(family, mix_lengths=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", ["hubert_large", "wavlm_large", "data2vec"])
def test_padding_that_s3prls_own_upstreams_attend_to_or_convolve_with(family, checkpoints):
    import s3prl.hub

    upstream = getattr(s3prl.hub, NATIVE[family][0])(ckpt=str(checkpoints(family)))
    with pytest.raises(UserError, match="beside a longer utterance"):
        check_mixed_lengths(upstream, "last_hidden_state", family, "cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_real_frames_are_as_many_as_the_upstream_makes_of_the_audio(family, build):
    built = build(family, "hidden_states")
    rate = built.featurizer.downsample_rate
    with torch.no_grad():
        for wav in waveforms(*LENGTHS, 400, 719, 720):
            states = built.upstream([wav])["hidden_states"]
            assert {state.shape[1] for state in states} == {(len(wav) - 400) // rate + 1}


# Layers -------------------------------------------------------------------------------------------------------------


def watch_layers(upstream):
    """Return a function that gives, of the last forward pass, what went into the first layer and came out of each."""
    native, seen = not hasattr(upstream, "layers"), {}
    encoder = getattr(upstream.model, "encoder", None)  # None for Whisper's, of which the final norm is called

    def keep(number, state):
        seen[number] = state.transpose(0, 1) if native else state

    def after(number):
        def hook(layer, arguments, output):
            if number == 0:
                keep(0, arguments[0])
            keep(number + 1, output[0] if isinstance(output, tuple) else output)

        return hook

    def last(encoder, arguments, output):
        seen[LAYERS] = output[0] if isinstance(output, tuple) else getattr(output, "last_hidden_state", output)

    for number, layer in enumerate(encoder.layers if native else upstream.layers):
        layer.register_forward_hook(after(number))
    (upstream.model.layer_norm if encoder is None else encoder).register_forward_hook(last)
    return lambda: [seen[number] for number in range(LAYERS + 1)]


@pytest.mark.parametrize("family", [family for family in SELF_SUPERVISED if family not in IN_PAIRS])
def test_layer_k_is_layer_k_in_training_and_in_evaluation(family, build):
    built = build(family, "hidden_states", fine_tuned=True)
    seen = watch_layers(built.upstream)
    wavs = waveforms(9_040, 9_040)
    for mode in (False, True, True, True):  # layers that are dropped at random would be so in one of these
        built.train(mode)
        states = built.upstream(wavs)["hidden_states"]
        layers = seen()
        assert len(states) == LAYERS + 1
        for state, layer in zip(states, layers, strict=True):
            torch.testing.assert_close(state[:, : layer.shape[1]], layer[:, : state.shape[1]])
    for layer in range(LAYERS + 1):
        chosen = build(family, "hidden_states", layer=layer, fine_tuned=True)
        # The layers seen last were in training, where a Conformer's batch norm has other statistics.
        for mode in (True,) if family == "hf wav2vec2-conformer" else (False, True):
            for one, expected in zip(chosen.train(mode).features(wavs), layers[layer], strict=True):
                torch.testing.assert_close(one[: len(expected)], expected[: len(one)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", SELF_SUPERVISED)
def test_the_last_hidden_state_is_the_last_of_the_hidden_states_after_the_final_norm(family, build):
    built = build(family)
    with torch.no_grad():
        features = built.upstream(waveforms(9_000))
    assert torch.equal(features["last_hidden_state"], features["hidden_states"][-1])
    if family not in GROUP_NORM and "data2vec" not in family and family not in (*IN_PAIRS, "hf wav2vec2-bert"):
        norm = getattr(built.upstream.model, "encoder", built.upstream.model).layer_norm
        plain = (features["last_hidden_state"] - norm.bias) / norm.weight
        torch.testing.assert_close(plain.mean(dim=-1), torch.zeros(plain.shape[:2]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", TWINS)
def test_native_and_hugging_face_builds_of_the_same_weights_agree(family, build):
    native, hugging_face = build(family.removeprefix("hf ")), build(family)
    lengths = [9_040, 9_040] if family in GROUP_NORM else [9_040, 16_000, 12_345]
    wavs = waveforms(*lengths)
    wavs[1] *= 0.01  # quiet, where the smallest number added to a variance shows
    for mode in (False, True):
        native.train(mode)
        hugging_face.train(mode)
        with torch.no_grad():
            torch.testing.assert_close(hugging_face.latents(wavs), native.latents(wavs), rtol=1e-4, atol=1e-4)


# Gradients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("front_end", [False, True])
@pytest.mark.parametrize("family", SELF_SUPERVISED)
def test_what_is_to_learn_has_a_gradient(family, front_end, build):
    if family in WITHOUT_FRONT_END and front_end:
        with pytest.raises(UserError, match="expected a model with a convolutional front end"):
            build(family, fine_tuned=True, train_front_end=True)
        return
    built = build(family, fine_tuned=True, train_front_end=front_end).train(True)
    logits = built.model.logits(built.latents(waveforms(9_040, 12_000)))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 3])).backward()
    parameters = [*built.upstream.named_parameters(), *built.model.named_parameters()]
    without = {name for name, one in parameters if one.grad is None or not one.grad.any()}
    no_effect = (*NEVER_TRAINED, *WITHOUT_EFFECT)
    if family == "hf wav2vec2-conformer":  # transformers makes it and does not use it
        no_effect += ("pos_conv_embed",)
    learns_nothing = {name for name, _ in parameters if any(part in name for part in no_effect)}
    front = {name for name, _ in parameters if ".feature_extractor." in name}
    assert bool(front) is (family not in WITHOUT_FRONT_END)
    assert without - learns_nothing == (set() if front_end else front)


@pytest.mark.parametrize("family", ["xlsr", "wavlm_large", "hf xlsr", "hf whisper", "hf wav2vec2-bert", "hf sew-d"])
def test_only_the_last_layers_learn_when_asked_for(family, build):
    built = build(family, fine_tuned=True, train_layers=2).train(True)
    built.latents(waveforms(9_040, 12_000)).sum().backward()
    parameters = dict(built.upstream.named_parameters())
    learning = {name for name, one in parameters.items() if one.grad is not None and one.grad.any()}
    assert {name for name, one in parameters.items() if one.requires_grad} >= learning
    assert {int(part) for name in learning for part in name.split(".") if part.isdigit()} == {LAYERS - 2, LAYERS - 1}
    assert all("layer" in name for name in learning)


def test_layers_that_are_not_there_cannot_be_trained(build):
    with pytest.raises(UserError, match="train_layers: expected at most 3, the layers of hf_auto, found 4"):
        build("hf whisper", fine_tuned=True, train_layers=4)
    with pytest.raises(UserError, match=r"train_layers: expected an upstream of wav2vec2, .*, found fbank\. Omit it"):
        build("fbank", train_layers=1)


def test_a_frozen_front_end_of_hugging_face_takes_no_part_in_the_graph(build):
    built = build("hf xlsr", fine_tuned=True).train(True)
    front_end = built.upstream.model.feature_extractor
    assert not any(parameter.requires_grad for parameter in front_end.parameters())
    assert not front_end(waveforms(9_000)[0][None]).requires_grad


def test_an_upstream_without_a_front_end_cannot_train_one(build):
    with pytest.raises(UserError, match="expected an upstream with a convolutional front end"):
        build("fbank", train_front_end=True)
