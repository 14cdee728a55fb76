"""Files of weights and settings are data: what S3PRL would run as code, or build without limit, is refused.

S3PRL evaluates some texts of a checkpoint or YAML file as Python code, and unpickles some files without restriction.
:func:`reading_data_only` is around every call that builds an upstream. In it, torch unpickles weights and plain values
only, S3PRL sees settings that :func:`check_settings` has checked, and a model cannot be much larger than its file.
"""

import argparse
import ast
import contextlib
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.nn.modules import module

from . import fairseq
from .compat import replaced

# All keys whose texts S3PRL 0.4.18 evaluates (`grep -r 'eval(' s3prl/upstream`).
_LAYER_LISTS = ("conv_feature_layers", "conv_aggregator_layers", "extractor_conv_feature_layers")
_LISTS = (*_LAYER_LISTS, "override_encoder_layers")
_NAMES = ("feat_type",)
_UNUSED = ("xformers_att_config",)
_NAME = re.compile(r"[A-Za-z]\w*")
# XLS-R 2B, the largest upstream, has 48 layers with a width of 7,680.
_MAX_LAYERS, _MAX_WIDTH, _MAX_TEXT, _MAX_RATE = 200, 16_384, 2_000, 192_000
_COUNTS = re.compile(r"(layers|depth|order|delta)$")
_WIDTHS = re.compile(
    r"(dim|heads|groups|(hidden|intermediate|adapter_kernel)_size|bins|n_mels|n_fft|ceps|n_mfcc|n_freq|"
    r"win_ms|hop_ms|conv_pos|embeddings|buckets|d_model|(source|target|relative)_positions|latent_vars|conv_kernel|conv_stride|frame_length|win_length)$"
)
# A model has more parameters than its file where parts are only for pretraining; without a file, XLS-R 2B has 2.2e9.
_BYTES_PER_WEIGHT, _SPARE_PARAMETERS, _MAX_PARAMETERS = 2, 100_000_000, 5_000_000_000
# Old checkpoints of S3PRL hold the optimizer or scheduler of their training as an object (torch's message names it).
_OF_TRAINING = re.compile(r"GLOBAL ((?:optimizers|s3prl|torch\.optim|transformers|numpy)\.[\w.]+) was not an allowed")
_MAX_IGNORED = 100


@contextlib.contextmanager
def reading_data_only() -> Iterator[None]:
    """Within the block, `torch.load` and `yaml.load` read plain data, and check its settings.

    Raises ValueError: a file holds other objects, or settings that are code or too large, or of a model that is too
    large.
    """
    load, load_yaml = torch.load, yaml.load
    sizes: list[int] = []

    def load_data(file: Any, *arguments: Any, **options: Any) -> Any:
        known: list[Any] = [argparse.Namespace, fairseq.substitute("fairseq.data.dictionary.Dictionary")]
        if isinstance(file, str | os.PathLike) and Path(file).is_file():
            sizes.append(_stored_size(Path(file)))
        for _ in range(_MAX_IGNORED):
            try:
                with torch.serialization.safe_globals(known):
                    return check_settings(fairseq.convert(load(file, *arguments, **{**options, "weights_only": True})))
            # The others are of files that are no pickle, and end where one would not.
            except (pickle.UnpicklingError, EOFError, LookupError) as error:
                if (name := _OF_TRAINING.search(str(error)) or fairseq.NAMES.search(str(error))) is None:
                    break
                known.append(fairseq.substitute(name[1]))
        # Not torch's message, which advises to read the file unsafely.
        raise ValueError("expected weights and plain settings, found other Python objects or damage")

    def load_plain(stream: Any, Loader: Any = None) -> Any:  # noqa: N803 - PyYAML's name
        return check_settings(load_yaml(stream, yaml.SafeLoader))

    with replaced(torch, "load", load_data), replaced(yaml, "load", load_plain), parameters_limited(sizes):
        yield


def _stored_size(path: Path) -> int:
    """Return the bytes of a file; refuse an archive that is larger when it is unpacked, which torch never writes."""
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if (unpacked := sum(entry.file_size for entry in archive.infolist())) > size:
                raise ValueError(
                    f"expected {size:,} bytes as torch writes them, found an archive of {unpacked:,} bytes"
                )
    return size


@contextlib.contextmanager
def parameters_limited(sizes: Sequence[int]) -> Iterator[None]:
    """Within the block, raise a ValueError for a model with more parameters than its files may hold.

    It is raised before the parameters take memory. `sizes`: bytes of the files that were read, which may grow within
    the block; empty if no file is known.
    """
    total = 0

    def count(owner: Any, name: str, tensor: Any) -> None:
        # Called with an allocated tensor, whose pages are used only when it is initialised afterwards.
        nonlocal total
        replaced = owner._parameters.get(name)
        total += (0 if tensor is None else tensor.numel()) - (0 if replaced is None else replaced.numel())
        limit = sum(sizes) // _BYTES_PER_WEIGHT + _SPARE_PARAMETERS if sizes else _MAX_PARAMETERS
        if total > limit:
            raise ValueError(
                f"expected settings of a model of at most {limit / 1e6:,.0f} M parameters"
                + (", which its file may hold" if sizes else "")
                + ", found those of a larger one"
            )

    with (
        module.register_module_parameter_registration_hook(count),
        module.register_module_buffer_registration_hook(count),
    ):
        yield


def check_settings(content: Any) -> Any:
    """Check all nested settings, replace texts that S3PRL evaluates. Raises ValueError: code, or too large."""
    parts, seen = [content], set[int]()
    while parts:
        part = parts.pop()
        if id(part) in seen:
            continue  # content may hold itself
        seen.add(id(part))
        if isinstance(attributes := getattr(part, "__dict__", None), dict):
            parts.append(attributes)  # of a Namespace
        if isinstance(part, list | tuple):
            parts += part
        if isinstance(part, MutableMapping):
            for key, value in part.items():
                part[key] = _checked_value(str(key), value)
            parts += part.values()
    return content


def _checked_value(key: str, value: Any) -> Any:
    """Return the value of a setting, a text that S3PRL evaluates as its literal."""
    # S3PRL does not evaluate an empty text.
    if key in _LISTS and value and isinstance(value, str | bytes | bytearray):
        value = repr(_literal(key, value))
    if key in _NAMES and not (isinstance(value, str) and _NAME.fullmatch(value)):
        raise ValueError(f"{key}: expected a name, found {_shown(value)}")
    if key in _UNUSED and value is not None:
        raise ValueError(f"{key}: expected none, found {_shown(value)}")
    limit = _MAX_LAYERS if _COUNTS.search(key) else _MAX_WIDTH if _WIDTHS.search(key) else None
    limit = _MAX_RATE if key in ("sample_rate", "sample_frequency") else limit
    if "dropout" in key and isinstance(value, int | float) and not 0 <= value <= 1:
        raise ValueError(f"{key}: expected a probability, found {_shown(value)}")
    for number in value if isinstance(value, list | tuple) else (value,):
        if limit is not None and isinstance(number, int | float) and not number <= limit:
            raise ValueError(f"{key}: expected at most {limit}, found {_shown(number)}")
    return value


def _literal(key: str, text: str | bytes | bytearray) -> list[Any]:
    """Return the list that a text such as ``[(512,10,5)] + [(512,3,2)] * 4`` means.

    Raises ValueError: it is another expression, too long, or has too many or too large numbers.
    """
    wanted = f"{key}: expected a list such as '[(512,10,5)] + [(512,3,2)] * 4'"
    try:
        if not isinstance(text, str) or len(text) > _MAX_TEXT:
            raise ValueError
        value = _list_of(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"{wanted} of at most {_MAX_LAYERS} items, found {_shown(text)}") from None
    if key in _LAYER_LISTS and not all(isinstance(item, tuple) for item in value):
        raise ValueError(f"{wanted}, found {_shown(text)}")
    return value


def _list_of(node: ast.expr) -> list[Any]:
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            value = [_item(item) for item in items]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            value = [*_list_of(left), *_list_of(right)]
        case ast.BinOp(left=ast.Constant() as times, op=ast.Mult(), right=right):
            value = _list_of(right) * _number(times, _MAX_LAYERS)
        case ast.BinOp(left=left, op=ast.Mult(), right=times):
            value = _list_of(left) * _number(times, _MAX_LAYERS)
        case _:
            raise ValueError
    if len(value) > _MAX_LAYERS:
        raise ValueError
    return value


def _item(node: ast.expr) -> Any:
    if isinstance(node, ast.List | ast.Tuple):
        return tuple(_number(number, _MAX_WIDTH) for number in node.elts)
    return _number(node, _MAX_WIDTH)


def _number(node: ast.expr, limit: int) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int and node.value <= limit:
        return node.value
    raise ValueError


def _shown(value: Any) -> str:
    return ascii(value)[:80]
