"""Checkpoints in fairseq's own format (wav2vec 2.0, HuBERT, data2vec), read without fairseq and as data.

They hold weights in ``model``, and settings in ``cfg``, a mapping or object of OmegaConf, or in ``args``, a namespace.
Objects of other classes are read as :class:`Kept`, which has no code, and :func:`convert` takes the settings from it.
"""

import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

# The classes, and types within OmegaConf's own settings, that a checkpoint of fairseq may name, by torch's message.
NAMES = re.compile(
    r"GLOBAL ((?:fairseq|omegaconf|typing)\.[\w.]+|_?operator\.getitem|collections\.defaultdict"
    r"|dict|list|tuple|int|float|str|bool|bytes|Ellipsis) was not an allowed"
)
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


class Kept:
    """Stands for an object of a checkpoint: what it was made from, and its state."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


def substitute(name: str) -> tuple[Any, str]:
    """Return what stands for a class that :data:`NAMES` found, and its full name."""
    full = name if "." in name else f"builtins.{name}"
    # torch fills dictionaries only.
    return (lambda *_: {}) if name == "collections.defaultdict" else type("Kept", (Kept,), {}), full


def convert(content: Any) -> Any:
    """Return a checkpoint of fairseq in the format that S3PRL loads; others unchanged.

    Raises ValueError: fairseq has fine-tuned the model, which is part of another one.
    """
    if not isinstance(content, dict) or not isinstance(weights := content.get("model"), dict) or "model_cfg" in content:
        return content
    seen: dict[int, Any] = {}
    settings = _plain(content.get("cfg"), seen)
    model, task = (settings.get(key) for key in ("model", "task")) if isinstance(settings, dict) else (None, None)
    if not isinstance(model, dict) or not isinstance(task, dict):
        model = task = settings = _plain(content.get("args"), seen)  # of fairseq before its configurations had sections
    if not isinstance(model, dict):
        return content
    if any(str(name).startswith("w2v_encoder.") for name in weights):
        raise ValueError(
            "expected a pretrained model of fairseq, found a fine-tuned one; hf_auto loads its Hugging Face version"
        )
    model, task = ({key: _resolved(value, settings) for key, value in part.items()} for part in (model, task))
    found: dict[str, Any] = {"task_cfg": task, "model_cfg": model, "model_weight": weights}
    if "label_embs_concat" in weights:
        # HuBERT has a row per symbol of its dictionaries, which are not needed; S3PRL counts them.
        rows, width = weights["label_embs_concat"].shape
        count = len(weights["final_proj.weight"]) // width if model.get("untie_final_proj") else 1
        found["dictionaries_symbols"] = [[""] * rows, *[[]] * (count - 1)]
    return found


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    """Return the settings in a value, whose objects are :class:`Kept`, as plain values; each part is converted once."""
    if id(value) not in seen:
        seen[id(value)] = None  # what holds itself
        if isinstance(value, Kept):
            content = value.state.get("_content", value.state.get("_val")) if isinstance(value.state, dict) else None
            # An enumeration has been made from its value.
            found = _plain(value.arguments[0] if value.arguments and content is None else content, seen)
        elif isinstance(value, Mapping | Namespace):
            items = vars(value) if isinstance(value, Namespace) else value
            found = {str(key): _plain(each, seen) for key, each in items.items()}
        else:
            found = [_plain(each, seen) for each in value] if isinstance(value, list | tuple) else value
        seen[id(value)] = found
    return seen[id(value)]


def _resolved(value: Any, settings: Any) -> Any:
    """Return what a reference such as ``${task.label_rate}`` names; other values unchanged."""
    if not isinstance(value, str) or (reference := _REFERENCE.fullmatch(value)) is None:
        return value
    for key in reference[1].split("."):
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings
