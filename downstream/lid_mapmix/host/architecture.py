"""The architecture of an upstream as plain values, which a JSON file can hold, to build it without its checkpoint.

S3PRL's native models and transformers' models are built from settings. Their checkpoints, which are Python pickles,
hold these settings and the weights. Here the settings are recorded while an upstream is built from its checkpoint;
later, an upstream of the same class is built from them. Weights are stored separately.

=============== ============================================================================================
family          settings
=============== ============================================================================================
filter banks    none: they are in S3PRL's file for this upstream
wav2vec2, …     ``arguments`` of the model's class, in order: settings as mappings, lists as lists; ``normalize``
tera, apc, …    ``config``, the settings in the checkpoint that S3PRL builds the model from
hugging_face    ``config`` (config.json) and ``normalize`` (whether waveforms are normalised)
own             none: the user names the file with its code again (``--upstream-from``)
=============== ============================================================================================
"""

import contextlib
import copy
import dataclasses
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch

from ..utils.errors import UserError
from . import registry
from .compat import replaced
from .trust import check_settings

_FILTER_BANKS, _HUGGING_FACE, _OWN = "filter_banks", "hugging_face", "own"


@dataclass(frozen=True)
class Architecture:
    """What an upstream is built from, except the weights."""

    upstream: str  # its name in S3PRL
    family: str  # selects the code that builds it
    settings: dict[str, Any] = field(default_factory=dict)  # see the module


@dataclass(frozen=True)
class _Native:
    """A family of S3PRL's native models."""

    module: str  # module below s3prl.upstream that looks the model's class up when it loads a checkpoint
    model: str  # name of the class
    settings: tuple[str | None, ...]  # class of each of its arguments, in the model's module; None for a list


_NATIVE = {
    "wav2vec2": _Native("wav2vec2.convert", "Wav2Vec2Model", ("Wav2Vec2Config",)),
    "hubert": _Native("hubert.convert", "HubertModel", ("HubertConfig", "HubertPretrainingConfig", None)),
    "data2vec": _Native("data2vec.convert", "Data2VecAudioModel", ("Data2VecAudioConfig",)),
    "multires_hubert": _Native(
        "multires_hubert.convert",
        "MultiresHubertModel",
        ("MultiresHubertConfig", "MultiresHubertPretrainingConfig", None),
    ),
    "wavlm": _Native("wavlm.expert", "WavLM", ("WavLMConfig",)),
    "unispeech_sat": _Native("unispeech_sat.expert", "WavLM", ("WavLMConfig",)),
}
# Families that S3PRL builds from the settings in a checkpoint → the parts of these settings that it uses.
_APC = ("apc", "vq_apc")
_LOADED = dict.fromkeys(_APC, ("data.audio", "model.paras")) | dict.fromkeys(
    ("mockingjay", "tera", "audio_albert"), ("transformer", "audio", "task.sequence_length")
)
_CONFIGS = ("config", "Config", "Upstream_Config")
_PACKAGE = "s3prl.upstream"
EXPORTABLE = ", ".join(["filter banks", *_NATIVE, *_LOADED, "Hugging Face models"])


def build_recording(upstream: str, build: Callable[[], Any]) -> tuple[Any, Architecture | None]:
    """Build an upstream from its checkpoint; return it, and its architecture (None for an unknown family)."""
    family = registry.upstream_family(upstream)
    if family in _LOADED:
        return _build_loaded(upstream, family, build)
    if family not in _NATIVE:
        built = build()
        if registry.is_filter_bank(upstream) and not upstream.endswith("_local"):
            return built, Architecture(upstream, _FILTER_BANKS)
        if upstream in registry.own_upstreams():
            return built, Architecture(upstream, _OWN)
        is_ours = hasattr(built, "architecture")
        return built, Architecture(upstream, _HUGGING_FACE, _plain(built.architecture())) if is_ours else None
    native = _NATIVE[family]
    module: Any = import_module(f"{_PACKAGE}.{native.module}")
    original = getattr(module, native.model)
    recorded: list[tuple[Any, ...]] = []

    def make(*arguments: Any) -> Any:
        recorded.append(copy.deepcopy(arguments))
        return original(*arguments)

    with replaced(module, native.model, make):
        built = build()
    # A legacy upstream of the same family is built by fairseq.
    kind = f"{type(built).__module__}.{type(built).__name__}"
    if not recorded or kind != f"{_PACKAGE}.{family}.expert.UpstreamExpert":
        return built, None
    settings = {
        "arguments": [_as_settings(argument) for argument in recorded[-1]],
        "normalize": bool(getattr(built, "wav_normalize", False)),  # HuBERT and WavLM have it among the arguments
    }
    return built, Architecture(upstream, family, _plain(settings))


def _build_loaded(upstream: str, family: str, build: Callable[[], Any]) -> tuple[Any, Architecture | None]:
    load, parts = torch.load, _LOADED[family]
    recorded: list[dict[str, Any]] = []

    def recording(*arguments: Any, **options: Any) -> Any:
        content = load(*arguments, **options)
        first = parts[0].partition(".")[0]
        config: dict[str, Any] = next((content[key] for key in _CONFIGS if first in content.get(key, ())), {})
        recorded.append({})
        for part in parts:  # copied, because S3PRL takes some of them out
            outer, _, inner = part.partition(".")
            if outer in config:
                value = {inner: config[outer][inner]} if inner else config[outer]
                recorded[-1][outer] = copy.deepcopy(value)
        return content

    with replaced(torch, "load", recording):
        built = build()
    is_known = len(recorded) == 1 and type(built).__name__ == "UpstreamExpert"
    return built, Architecture(upstream, family, _plain({"config": recorded[0]})) if is_known else None


def rebuild(architecture: Architecture) -> Any:
    """Build an upstream with fresh weights. Raises UserError: an unknown family, or settings of another one."""
    name, family, settings = architecture.upstream, architecture.family, architecture.settings
    try:
        check_settings(settings)
        if family == _FILTER_BANKS:
            if not registry.is_filter_bank(name) or name.endswith("_local"):
                raise ValueError(f"{name} is not a filter bank")
            return getattr(import_module(f"{_PACKAGE}.baseline.hubconf"), name)()
        if family == _HUGGING_FACE:
            from .hugging_face import HuggingFaceUpstream

            return HuggingFaceUpstream.of_architecture(name, **settings)
        if family == _OWN:
            registry.check_upstream(name)
            return registry.own_upstreams()[name](ckpt=None, model_config=None, refresh=False)
        build = _rebuild_loaded if family in _LOADED else _rebuild_native
        return build(family, **copy.deepcopy(settings))
    except (UserError, ImportError):  # a package is missing or too old, whatever the settings are
        raise
    # Edited settings may raise any exception.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"upstream {name}: cannot be built from its settings ({type(error).__name__}: {reason}). Export the run "
            "again."
        ) from error


def _rebuild_native(family: str, arguments: list[Any], normalize: bool) -> Any:
    native = _NATIVE[family]
    module: Any = import_module(f"{_PACKAGE}.{native.module}")
    expert: Any = import_module(f"{_PACKAGE}.{family}.expert")
    given = [
        argument if kind is None else _of_settings(getattr(module, kind), argument)
        for kind, argument in zip(native.settings, arguments, strict=True)
    ]
    model = getattr(module, native.model)(*given)
    if family == "data2vec":
        model.remove_pretraining_modules()
    if native.model == "WavLM":
        return _with_content(family, {"cfg": arguments[0], "model": model.state_dict()})
    task = SimpleNamespace(normalize=normalize) if len(given) == 1 else given[1]
    with replaced(expert, "load_converted_model", lambda ckpt: (model, task)):
        return expert.UpstreamExpert(ckpt=None)


def _rebuild_loaded(family: str, config: dict[str, Any]) -> Any:
    if family not in _APC:
        # Without weights, S3PRL prints which are missing.
        with contextlib.redirect_stdout(io.StringIO()):
            return _with_content(family, {"Config": config, "Transformer": {}})
    apc: Any = import_module(f"{_PACKAGE}.apc.apc")
    model = apc.APC(config["data"]["audio"]["feat_dim"], **config["model"]["paras"])
    return _with_content(family, {"config": config, "model": model.state_dict()})


def _with_content(family: str, content: dict[str, Any]) -> Any:
    """Build an upstream from the content of a checkpoint, without the file."""
    expert: Any = import_module(f"{_PACKAGE}.{family}.expert")
    with replaced(torch, "load", lambda *_, **__: content):
        return expert.UpstreamExpert(ckpt=None)


def _of_settings(kind: Any, settings: dict[str, Any]) -> Any:
    takes_names = dataclasses.is_dataclass(kind)  # WavLM's takes a mapping
    return kind(**settings) if takes_names else kind(settings)


def _as_settings(argument: Any) -> Any:
    return argument if isinstance(argument, list | tuple | dict) else vars(argument)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as JSON returns them: tuples as lists, enumerations as their values."""
    return json.loads(json.dumps(settings, default=lambda value: getattr(value, "value", str(value))))
