"""Upstreams of transformers: what of a folder is loaded, what is refused, and what happens to frames in training."""

import json
import socket

import numpy as np
import pytest
import torch
from helpers.checkpoints import LAYERS, Shape, extractor, save_hugging_face
from lid_mapmix.host import compat
from lid_mapmix.host.formats import MODEL_TYPES
from lid_mapmix.host.hugging_face import HuggingFaceUpstream
from lid_mapmix.host.mel import stacked_filter_banks, whisper_spectrogram
from lid_mapmix.host.native import speed_up
from lid_mapmix.host.pretrained import load_model
from lid_mapmix.utils.errors import UserError

SHAPES = {"base": Shape(), "large": Shape(stable=True)}
MASKS_A_LOT = {"mask_time_prob": 0.9, "mask_time_length": 10}


@pytest.fixture(scope="module", autouse=True)
def host():
    compat.apply()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Let whatever asks for the network fail at once, and not as an OSError, which some take for "not there"."""

    def refuse(*arguments, **keywords):
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def load(folder):
    return HuggingFaceUpstream(*load_model(str(folder)))


def noise(*lengths):
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


def last(upstream, wavs):
    with torch.no_grad():
        return upstream(wavs)["last_hidden_state"]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_features_are_those_of_transformers(kind, shape, tmp_path):
    import transformers

    upstream = load(save_hugging_face(tmp_path, kind, shape)).eval()
    wavs = noise(9_040, 12_000)
    preprocess = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    given = preprocess(
        [wav.numpy() for wav in wavs],
        return_tensors="pt",
        padding=True,
        return_attention_mask=True,
        sampling_rate=16_000,
    )
    model = {"wav2vec2": transformers.Wav2Vec2Model, "hubert": transformers.HubertModel}[kind]
    with torch.no_grad():
        expected = model.from_pretrained(tmp_path).eval()(**given, output_hidden_states=True)
        found = upstream(wavs)
    # Theirs adds 1e-7 to the variance of a waveform, pretraining and ours 1e-5.
    frames = ((9_040 - 400) // 320 + 1, (12_000 - 400) // 320 + 1)
    for row, count in enumerate(frames):
        for one, other in zip(found["hidden_states"][:-1], expected.hidden_states[:-1], strict=True):
            torch.testing.assert_close(one[row, :count], other[row, :count], rtol=0.01, atol=0.01)
        both = (found["last_hidden_state"][row, :count], expected.last_hidden_state[row, :count])
        torch.testing.assert_close(*both, rtol=0.01, atol=0.01)


def own_input(kind, wav):
    """Return what transformers' own extractor makes of a waveform, (1, …), and the mask of its frames or None."""
    given = extractor(kind, Shape(stable=True))([wav.numpy()], return_tensors="pt", sampling_rate=16_000)
    return given.get("input_features"), given.get("attention_mask")


def own_output(kind, model, wav):
    if kind == "whisper":
        mel, _ = own_input(kind, wav)
        frames = len(wav) // 320  # it takes one length
        model.encoder.config.max_source_positions = model.encoder.embed_positions.num_embeddings = frames
        return model.encoder(mel[..., : 2 * frames], output_hidden_states=True)
    if kind == "wav2vec2-bert":
        features, mask = own_input(kind, wav)
        return model(features, attention_mask=mask, output_hidden_states=True)
    # Its extractor adds another number to the variance.
    return model(torch.nn.functional.layer_norm(wav, wav.shape)[None], output_hidden_states=True)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_hidden_states_are_those_of_transformers_own_forward_pass(kind, tmp_path):
    import transformers

    upstream = load(save_hugging_face(tmp_path, kind, Shape(stable=True, layerdrop=0.5))).eval()
    model = getattr(transformers, f"{MODEL_TYPES[kind]}Model").from_pretrained(tmp_path).eval()
    for samples in (9_040, 16_080, 12_280):  # frames are even: SEW takes them in pairs, Whisper four of its own
        (wav,) = noise(samples)
        with torch.no_grad():
            found, expected = upstream([wav])["hidden_states"], own_output(kind, model, wav)
        assert len(found) == len(expected.hidden_states) == LAYERS + 1
        states = list(expected.hidden_states)
        if "sew" in kind:
            states = [state.repeat_interleave(2, dim=1) for state in states]
        states[-1] = expected.last_hidden_state
        count = (samples - 400) // 320 + (kind != "wav2vec2-bert")  # it has no last frame of half a pair
        for one, other in zip(found, states, strict=True):
            difference = (one[:, :count] - other[:, :count]).norm() / other.norm()
            assert difference < (2e-5 if kind == "wav2vec2-bert" else 1e-5)  # its spectrum has float32 in theirs


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2-bert"])
def test_mel_features_in_a_batch_are_those_of_transformers_extractor(kind):
    wavs = noise(9_040, 16_000, 1_200, 12_345, 8_960)
    if kind == "whisper":
        features, counts = whisper_spectrogram(wavs, 80)
        features = features.mT
    else:
        features, counts = stacked_filter_banks(wavs)
    for wav, feature, count in zip(wavs, features, counts, strict=True):
        expected, mask = own_input(kind, wav)
        expected = expected[0].mT if kind == "whisper" else expected[0]
        assert count == (len(wav) // 160 if mask is None else mask.sum())
        torch.testing.assert_close(feature[:count], expected[:count], rtol=1e-5, atol=2e-5)
        assert not feature[count:].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["whisper", "wav2vec2-bert", "wav2vec2-conformer", "wavlm"])
def test_half_precision_changes_little_and_lets_the_features_be(kind, dtype, tmp_path):
    # On processors with AMX, oneDNN computes convolutions of 2 or 4 channels per group wrongly in bf16; models have 48.
    groups = {"num_conv_pos_embedding_groups": 2} if kind == "wavlm" else {}
    upstream = load(save_hugging_face(tmp_path, kind, Shape(stable=True), **groups)).train()
    wavs = noise(9_040, 12_000)
    wavs[1] *= 1e-3  # quiet: half precision has no such powers
    with torch.autocast("cpu", dtype):
        lower = upstream(wavs)["last_hidden_state"]
        lower.float().square().mean().backward()
    full = last(upstream, wavs)
    assert (lower.float() - full).norm() / full.norm() < 0.1
    assert all(one.grad.isfinite().all() for one in upstream.parameters() if one.grad is not None)


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2-bert", "sew-d"])
def test_recomputed_layers_have_the_same_gradients(kind, tmp_path):
    upstreams = [load(save_hugging_face(tmp_path / kind, kind, Shape(stable=True))).train() for _ in range(2)]
    speed_up(upstreams[1], "hf_auto", {"gradient_checkpointing": True})
    for upstream in upstreams:
        sum(state.square().mean() for state in upstream(noise(9_040, 12_000))["hidden_states"]).backward()
    for one, other in zip(*(upstream.parameters() for upstream in upstreams), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_folder_without_a_preprocessor_asks_nobody_for_one(tmp_path):
    with_file = load(save_hugging_face(tmp_path / "with", "wav2vec2", Shape(stable=True)))
    without = load(save_hugging_face(tmp_path / "without", "wav2vec2", Shape(stable=True), preprocessor=False))
    assert with_file.normalize
    assert without.normalize
    wavs = noise(9_000)
    assert torch.equal(last(with_file.eval(), wavs), last(without.eval(), wavs))


@pytest.mark.parametrize("normalizes", [False, True])
def test_waveforms_are_normalised_as_the_preprocessor_says(normalizes, tmp_path):
    save_hugging_face(tmp_path, "wav2vec2", Shape(stable=True))
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_normalize": normalizes}))
    upstream = load(tmp_path).eval()
    (wav,) = noise(9_000)
    # Only a normalised waveform does not care how loud it is.
    louder = last(upstream, [4 * wav])
    assert torch.allclose(louder, last(upstream, [wav]), atol=0.02) == normalizes


def test_weights_are_float32_whatever_the_file_holds(tmp_path):
    upstream = load(save_hugging_face(tmp_path, "wav2vec2", dtype=torch.bfloat16))
    assert {parameter.dtype for parameter in upstream.parameters()} == {torch.float32}


def test_a_model_with_a_head_is_loaded_without_it(tmp_path):
    import transformers

    save_hugging_face(tmp_path, "wav2vec2")
    with_head = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path)
    with_head.save_pretrained(tmp_path / "ctc")
    wavs = noise(9_000)
    upstream, plain = load(tmp_path / "ctc").eval(), load(tmp_path).eval()
    upstream.normalize = plain.normalize  # the new folder has no preprocessor
    assert torch.equal(last(upstream, wavs), last(plain, wavs))


def test_checkpoints_from_before_safetensors_are_loaded(tmp_path):
    from safetensors.torch import load_file

    new, old = (save_hugging_face(tmp_path / name, "wav2vec2", Shape(stable=True)) for name in ("new", "old"))
    renamed = {"original0": "weight_g", "original1": "weight_v"}
    weights = {}
    for name, value in load_file(old / "model.safetensors").items():
        head, _, tail = name.partition("parametrizations.weight.")
        weights[f"wav2vec2.{head}{renamed[tail] if tail else ''}"] = value
    (old / "model.safetensors").unlink()
    torch.save(weights | {"project_q.weight": torch.zeros(3, 3)}, old / "pytorch_model.bin")
    wavs = noise(9_000)
    assert torch.equal(last(load(old).eval(), wavs), last(load(new).eval(), wavs))


def test_the_adapters_of_mms_are_loaded_and_learn(tmp_path):
    upstream = load(save_hugging_face(tmp_path, "wav2vec2", Shape(stable=True), adapter_attn_dim=4)).train()
    upstream(noise(9_000))["last_hidden_state"].square().sum().backward()
    adapters = {name: one.grad for name, one in upstream.named_parameters() if "adapter_layer" in name}
    assert len(adapters) == 3 * 6
    assert all(gradient.any() for gradient in adapters.values())


# What is refused ----------------------------------------------------------------------------------------------------


def refused(folder, says):
    with pytest.raises(UserError, match=says) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "clap", None, 3, ["wav2vec2"]])
def test_a_model_that_is_not_loaded_is_refused_and_those_that_are_named(kind, tmp_path):
    path = save_hugging_face(tmp_path, "wav2vec2") / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": kind}))
    refused(tmp_path, "expected a config.json with a model_type of wav2vec2, hubert, .*whisper, found")


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper"])
def test_a_model_with_its_own_code_is_refused(kind, tmp_path):
    path = save_hugging_face(tmp_path, kind) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoModel": "code.Model"}}))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    refused(tmp_path, "found one with its own code .auto_map in config.json., which is not run")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("kind", "config", "preprocessor", "says"),
    [
        ("wav2vec2-bert", {"feature_projection_input_dim": 80}, {}, "expected frames of 160 mel values.*found 80"),
        ("wav2vec2-bert", {"add_adapter": True}, {}, "expected no adapter, found one"),
        ("wav2vec2-bert", {}, {"stride": 1}, "expected stride 2 in preprocessor_config.json.*found 1"),
        ("whisper", {}, {"hop_length": 80}, "expected hop_length 160 in preprocessor_config.json.*found 80"),
        ("whisper", {}, {"sampling_rate": 8_000}, "expected a model for audio at 16000 Hz"),
    ],
)
def test_other_mel_features_are_refused(kind, config, preprocessor, says, tmp_path):
    save_hugging_face(tmp_path, kind, Shape(layers=1), **config)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | preprocessor))
    refused(tmp_path, says)


@pytest.mark.parametrize("name", ["conv1.weight", "layers.1.fc1.weight", "layer_norm.bias"])
def test_a_missing_weight_of_whispers_encoder_is_not_made_up(name, tmp_path):
    from safetensors.torch import load_file, save_file

    save_hugging_face(tmp_path, "whisper")
    weights = load_file(tmp_path / "model.safetensors")
    del weights[f"encoder.{name}"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    refused(tmp_path, f"expected all weights of a whisper model, found 1 missing .{name}")


def test_whispers_decoder_is_left_out_whatever_the_model_is_for(tmp_path, caplog):
    import transformers

    save_hugging_face(tmp_path, "whisper")
    transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path).save_pretrained(tmp_path / "asr")
    caplog.clear()
    upstreams = [load(folder).eval() for folder in (tmp_path, tmp_path / "asr")]
    assert torch.equal(*(last(upstream, noise(9_000)) for upstream in upstreams))
    assert not [name for name, _ in upstreams[1].named_parameters() if "decoder" in name]
    assert caplog.text.count("weights are not used") == 2


def test_audio_longer_than_whispers_is_one_line(tmp_path):
    upstream = load(save_hugging_face(tmp_path, "whisper", max_source_positions=50)).eval()
    assert last(upstream, noise(16_000)).shape[1] == 49
    with pytest.raises(UserError, match=r"expected at most 1 s of audio at a time, found 1\.1 s"):
        upstream(noise(17_600))


def test_weights_that_find_no_place_in_the_model_of_config_json_are_refused(tmp_path):
    save_hugging_face(tmp_path, "wav2vec2")
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"num_hidden_layers": settings["num_hidden_layers"] - 1}))
    refused(tmp_path, "expected the weights of the model in config.json, found .*encoder.layers")


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_damaged_weights_are_one_line(content, tmp_path):
    save_hugging_face(tmp_path, "wav2vec2")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    refused(tmp_path, "expected a complete folder of save_pretrained")


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "sub/model.safetensors", "none.bin", "", 3])
def test_a_list_of_files_leads_to_no_other_folder(name, tmp_path):
    folder = save_hugging_face(tmp_path / "model", "wav2vec2", Shape(layers=1))
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"encoder.layer_norm.weight": name}}))
    refused(folder, "index.json: expected files of weights in this folder, found")
    index.write_text(" " * 10_000_001)
    refused(folder, "expected at most 10,000,000 bytes of model.safetensors.index.json")


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-bert", "whisper"])
def test_weights_in_several_files_are_loaded(kind, tmp_path):
    import transformers

    whole = load(save_hugging_face(tmp_path / "one", kind)).eval()
    parts = save_hugging_face(tmp_path / "many", kind)
    model_class = getattr(transformers, f"{MODEL_TYPES[kind]}Model")
    model_class.from_pretrained(tmp_path / "one").save_pretrained(parts, max_shard_size="50KB")
    (parts / "model.safetensors").unlink()
    assert len(list(parts.glob("model-*.safetensors"))) > 1
    assert torch.equal(last(load(parts).eval(), noise(9_000)), last(whole, noise(9_000)))


def test_what_is_not_used_is_one_line_of_this_package(tmp_path, caplog, capfd):
    """transformers prints a table about weights that are checked here."""
    import transformers

    transformers.utils.logging.enable_propagation()
    save_hugging_face(tmp_path, "wav2vec2")
    transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path).save_pretrained(tmp_path / "ctc")
    verbosity = transformers.utils.logging.get_verbosity()
    caplog.clear()
    capfd.readouterr()
    load(tmp_path / "ctc")
    assert [record.name for record in caplog.records] == ["lid_mapmix.host.pretrained"]
    assert "2 weights are not used (lm_head.bias, …)" in caplog.text
    assert "REPORT" not in "".join(capfd.readouterr())
    assert transformers.utils.logging.get_verbosity() == verbosity


def test_the_language_adapters_of_mms_are_named(tmp_path, caplog):
    folder = save_hugging_face(tmp_path, "wav2vec2", Shape(stable=True), adapter_attn_dim=4)
    load(folder)
    assert "the adapters in its weights are loaded, and make features for one language" in caplog.text
    caplog.clear()
    path = folder / "config.json"
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if "attn_dim" not in key})
    )
    load(folder)
    assert "18 weights are not used (encoder.layers.0.adapter_layer" in caplog.text


def test_weights_of_another_shape_are_named(tmp_path):
    save_hugging_face(tmp_path, "wav2vec2")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 48}))
    refused(tmp_path, r"found \d+ of another shape \(encoder.layers.0.feed_forward.*64.* instead of .*48")


def test_missing_weights_are_not_made_up(tmp_path):
    from safetensors.torch import load_file, save_file

    save_hugging_face(tmp_path, "wav2vec2")
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layers.1.final_layer_norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    refused(tmp_path, "found 1 missing .encoder.layers.1.final_layer_norm.weight")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"conv_stride": (5, 2, 2, 2, 2, 2, 1)},
            "expected frames of 400 samples every 320, as S3PRL assumes, found 400 every 160",
        ),
        ({"conv_kernel": (10, 3, 3, 3, 3, 2, 3)}, "found 560 every 320"),
        ({"add_adapter": True}, "expected no adapter, found one"),
    ],
)
def test_frames_that_s3prl_would_miscount_are_refused(config, says, tmp_path):
    refused(save_hugging_face(tmp_path, "wav2vec2", **config), says)


def test_audio_at_another_rate_is_refused(tmp_path):
    save_hugging_face(tmp_path, "wav2vec2")
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sampling_rate": 8_000}))
    refused(tmp_path, "expected a model for audio at 16000 Hz, found 8000 Hz")


def test_an_incomplete_folder_is_named(tmp_path):
    refused(tmp_path, "expected a complete folder of save_pretrained")
    save_hugging_face(tmp_path, "wav2vec2")
    (tmp_path / "model.safetensors").unlink()
    refused(tmp_path, "expected a complete folder of save_pretrained")


def test_a_repository_without_a_network_is_one_line_and_at_once(monkeypatch):
    from lid_mapmix.host import downloads

    monkeypatch.setattr(downloads, "reachable", lambda url: False)
    refused("owner/no-such-model", "neither a folder nor in the cache.*Download config.json")


# Masking in training ------------------------------------------------------------------------------------------------


@pytest.fixture
def masking(tmp_path):
    """Return an upstream in training whose config.json masks much, and a few waveforms."""
    return load(save_hugging_face(tmp_path, "wav2vec2", **MASKS_A_LOT)).train(), noise(9_000, 9_000)


def test_nothing_is_masked_unless_asked_for(masking):
    upstream, wavs = masking
    training = last(upstream, wavs)
    assert torch.equal(training, last(upstream.eval(), wavs))


def test_masks_are_drawn_when_asked_for_and_in_training_only(masking):
    upstream, wavs = masking
    plain = last(upstream, wavs)
    upstream.spec_augment(True)
    assert not torch.allclose(last(upstream, wavs), plain)
    assert torch.equal(last(upstream.eval(), wavs), plain)


def test_masks_follow_torchs_random_state_and_leave_numpys_alone(masking):
    upstream, wavs = masking
    upstream.spec_augment(True)
    results = []
    for seed, numpy_seed in ((1, 1), (1, 2), (2, 2)):
        torch.manual_seed(seed)
        np.random.seed(numpy_seed)  # noqa: NPY002
        results.append(last(upstream, wavs))
        left = np.random.rand()  # noqa: NPY002
        np.random.seed(numpy_seed)  # noqa: NPY002
        assert left == np.random.rand()  # noqa: NPY002
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[1], results[2])


@pytest.mark.parametrize("samples", [400, 3_279, 3_280, 3_600])
def test_audio_with_no_room_for_a_mask_goes_through_unmasked(samples, masking):
    upstream, _ = masking
    upstream.spec_augment(True)
    assert torch.isfinite(last(upstream, noise(samples, samples))).all()


def test_masking_by_a_checkpoint_that_masks_nothing_is_refused(tmp_path):
    upstream = load(save_hugging_face(tmp_path, "wav2vec2", mask_time_prob=0.0))
    upstream.spec_augment(False)
    with pytest.raises(UserError, match="expected mask_time_prob or mask_feature_prob above 0"):
        upstream.spec_augment(True)


def test_a_complete_folder_is_not_blamed_for_an_old_torch(tmp_path, monkeypatch):
    import transformers

    class NotImportable:
        """What transformers gives in place of its models when torch is older than it needs."""

        @classmethod
        def from_pretrained(cls, *arguments, **keywords):
            raise ImportError("Wav2Vec2Model requires the PyTorch library but it was not found in your environment")

    folder = save_hugging_face(tmp_path, "wav2vec2")
    monkeypatch.setattr(transformers, "Wav2Vec2Model", NotImportable)
    with pytest.raises(ImportError, match="requires the PyTorch library"):
        load(folder)
