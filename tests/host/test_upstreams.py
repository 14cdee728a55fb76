from argparse import Namespace

import pytest
import torch
from lid_mapmix.host.upstreams import (
    UpstreamSettings,
    check_features,
    check_layer,
    check_upstream_arguments,
    check_weights,
    explained,
)
from lid_mapmix.utils.errors import UserError


def arguments(upstream="fbank", **changes):
    usual = {
        "hub": "torch",
        "upstream": upstream,
        "upstream_ckpt": None,
        "upstream_trainable": False,
        "upstream_feature_selection": "hidden_states",
        "upstream_layer_selection": None,
        "device": "cpu",
    }
    return Namespace(**usual | changes)


class ThreeLayers(torch.nn.Module):
    """An upstream of three hidden states that gives one fewer in training, as LayerDrop does."""

    def forward(self, wavs):
        states = [torch.zeros(len(wavs), 50, 8)] * (2 if self.training else 3)
        return {"hidden_states": states, "last_hidden_state": states[-1], "_hidden_states_info": None}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"upstream": "fbnak"}, "unknown upstream 'fbnak': did you mean fbank"),
        ({"upstream": "hubert_local"}, "expected weights, found none. Pass a file or folder by -k"),
        ({"upstream": "hubert_local", "upstream_ckpt": "no/such.pt"}, "-k no/such.pt: no such file or folder"),
        ({"upstream": "hf_hubert_custom", "upstream_ckpt": "./nothing"}, "-k ./nothing: no such file or folder"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_built(changes, says):
    with pytest.raises(UserError) as caught:
        check_upstream_arguments(arguments(**changes))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "settings", "says"),
    [
        ({}, {"train_front_end": True}, "train_front_end: expected a fine-tuned upstream"),
        ({}, {"spec_augment": True}, "spec_augment: expected a fine-tuned upstream"),
        (
            {"upstream_trainable": True},
            {"spec_augment": True},
            "expected a model of Hugging Face .hf_auto., found fbank",
        ),
    ],
)
def test_settings_that_an_upstream_cannot_follow_are_refused_before_it_is_built(changes, settings, says):
    with pytest.raises(UserError, match=says):
        check_upstream_arguments(arguments(**changes), UpstreamSettings(**settings))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upstream": "xlsr_53", "upstream_trainable": True},
        {"upstream": "hf_wav2vec2_custom", "upstream_ckpt": "owner/name"},
        {"upstream": "hf_auto", "upstream_ckpt": "owner/name"},
        {"upstream": "mms_1b"},
        {"upstream": "mms_1b", "upstream_ckpt": "owner/name"},
        {"upstream": "hf_hubert_custom", "upstream_ckpt": "owner/name", "upstream_trainable": True},
        {"upstream": "wav2vec2_url", "upstream_ckpt": "https://example.org/weights.pt"},
        {"upstream": "anything", "hub": "huggingface"},
    ],
)
def test_what_may_work_is_let_pass(changes):
    check_upstream_arguments(arguments(**changes))


def test_layers_are_counted_in_evaluation_mode_and_the_mode_is_kept():
    upstream = ThreeLayers().train()
    for layer in (0, 2):
        check_layer(upstream, arguments(upstream_layer_selection=layer))
    for layer in (-1, 3):
        with pytest.raises(UserError, match=f"-l {layer}: .* has layers 0 to 2 of hidden_states"):
            check_layer(upstream, arguments(upstream_layer_selection=layer))
    assert upstream.training


def test_what_an_upstream_tells_s3prl_is_no_feature():
    # It ended in "AttributeError: 'str' object has no attribute 'cpu'".
    with pytest.raises(UserError, match=r"\(hidden_states, last_hidden.*\), found '_hidden_states_info'"):
        check_layer(ThreeLayers(), arguments(upstream_feature_selection="_hidden_states_info"))


def test_an_upstream_of_one_layer_has_no_other():
    class OneLayer(torch.nn.Module):
        def forward(self, wavs):
            return {"hidden_states": [wavs[0]], "last_hidden_state": wavs[0]}

    with pytest.raises(UserError, match=r"-l 1: .* has layers 0 to 0 of hidden_states\. Choose one, or omit -l\.$"):
        check_layer(OneLayer(), arguments(upstream_layer_selection=1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("weights", "named"), [("a.pt", "-k a.pt: expected"), (None, "upstream fbank: expected")])
def test_weights_that_are_no_numbers_are_not_taken_for_a_diverged_training(value, weights, named):
    upstream = torch.nn.Linear(3, 3)
    check_weights(upstream, arguments(upstream_ckpt=weights))
    with torch.no_grad():
        upstream.bias[1] = value
    with pytest.raises(UserError, match=rf"^{named} finite weights, found NaN or infinity in 1 of them \(bias, …\)"):
        check_weights(upstream, arguments(upstream_ckpt=weights))


def full_machine():
    torch.empty(2**50)


def full_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def full_python():
    raise MemoryError


@pytest.mark.parametrize(
    ("fill", "device", "says"),
    [
        (full_gpu, "cuda", "upstream hubert_local: cuda has too little free memory for it"),
        (full_machine, "cpu", "upstream hubert_local: the machine has too little free memory for it"),
        (full_python, "cpu", "upstream hubert_local: the machine has too little free memory for it"),
    ],
)
def test_a_full_memory_is_not_laid_to_the_weights(fill, device, says):
    asked = arguments("hubert_local", upstream_ckpt="a.pt", device=device)
    with pytest.raises(UserError) as caught, explained(asked):
        fill()
    assert says in str(caught.value)
    assert ("--device cpu" in str(caught.value)) is (device == "cuda")
    says = r"^-k a\.pt: cannot be loaded as hubert_local \(RuntimeError: size mismatch\)"
    with pytest.raises(UserError, match=says), explained(asked):
        raise RuntimeError("size mismatch")


def test_features_that_s3prl_replaced_are_refused():
    with pytest.raises(UserError, match=r"\(hidden_states, last_hidden_state.*\), found 'PR'"):
        check_features(
            ThreeLayers(), Namespace(feature_selection="hidden_states"), arguments(upstream_feature_selection="PR")
        )
