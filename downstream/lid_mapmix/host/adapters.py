"""Adapters (``upstream.adapter``): small matrices that are trained beside the weights of an upstream, which are frozen.

LoRA (Hu et al. 2022, https://arxiv.org/abs/2106.09685) adds the product of two matrices of a low rank to a linear
layer; peft puts them into the layers of a Hugging Face model. Checkpoints and exports have these matrices and the
digest of the base, which is the upstream without them, and are loaded into the same base only.
"""

import hashlib
from typing import Any

import torch

from ..utils.errors import UserError
from . import registry
from .feature_cache import weights_digest

_PLACE = "config.downstream_expert.upstream.adapter"
# Setting ``targets`` → names of linear layers: of most models, of Conformers or Whisper, and of SEW-D.
_TARGETS = {
    "attention": r".*\.([qkv]_proj|out_proj|linear_[qkv]|linear_out|(query|key|value)_proj|attention\.output\.dense)",
    "feed_forward": r".*\.(intermediate_dense|output_dense|fc[12]|\d+\.(intermediate|output)\.dense)",
}


def add_adapter(upstream: Any, source: str, adapter: dict[str, Any]) -> None:
    """Freeze an upstream and the statistics of its batch norm, and add matrices that at first change no feature.

    Raises UserError: peft is not installed, or the model does not call the layers.

    `upstream`: a :class:`.HuggingFaceUpstream`, changed in place. `source`: of its weights, for errors. `adapter`: the
    values of ``rank``, ``alpha`` and ``targets``.
    """
    with registry.missing_package_named(_PLACE):
        from peft import LoraConfig, inject_adapter_in_model
    model, targets = upstream.model, adapter["targets"]
    if model.config.model_type == "wavlm" and targets == "attention":
        raise UserError(f"{_PLACE}: WavLM's attention does not call its layers. Use targets: feed_forward.")
    unseen = ("model_type", "num_attention_heads", "hidden_act", "do_stable_layer_norm")  # in names and shapes
    settings = [upstream.normalize, *(getattr(model.config, name, None) for name in unseen)]
    digest = list(hashlib.sha256(f"{settings} {weights_digest(model)}".encode()).digest())
    config = LoraConfig(r=adapter["rank"], lora_alpha=adapter["alpha"], target_modules=_TARGETS[targets])
    inject_adapter_in_model(config, model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval().train = lambda mode=True, module=module: module  # type: ignore[method-assign, misc]
    base = {name: value for name, value in upstream.state_dict().items() if ".lora_" not in name}
    upstream.register_buffer("base_digest", torch.tensor(digest, dtype=torch.uint8, device=model.device))

    def omit_base(_: Any, state: dict[str, Any], prefix: str, __: Any) -> None:
        # As a part of another module, for example of an ONNX export, it is whole.
        for name in () if prefix else base:
            del state[name]

    def add_base(_: Any, state: dict[str, Any], *__: Any) -> None:
        if "base_digest" in state and state["base_digest"].tolist() != digest:
            raise UserError(f"{source}: expected the base of the adapter by its digest, found another. Use that by -k.")
        state.update(base)

    upstream.register_state_dict_post_hook(omit_base)
    upstream.register_load_state_dict_pre_hook(add_base)
