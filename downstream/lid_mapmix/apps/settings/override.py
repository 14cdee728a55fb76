"""S3PRL's -o, such as ``args.seed=1,,config.optimizer.lr=1e-4``, parsed without eval."""

import argparse
import ast
from collections.abc import Mapping
from typing import Any

import yaml

from ...config.renamed import rename_path
from ...config.sources import TASK_KEY
from ...utils.errors import UserError
from .arguments import SEED_LIMIT

# These are used before -o is parsed.
_FLAGS_ONLY = (
    *("mode", "downstream", "downstream_variant", "upstream", "expname", "expdir", "past_exp", "init_ckpt"),
    *("config", "auto_resume", "device", "backend", "local_rank"),
)


def apply_override(text: str | None, args: argparse.Namespace, config: dict[str, Any]) -> bool:
    """Change arguments and configuration by -o; return whether it has any part. Raises UserError: it is invalid."""
    overrides = parse_override(text)
    for (first, *given), value in overrides:
        path = rename_path(given) if first == "config" else given
        if [first, *path] == ["config", TASK_KEY, "variant"] or (first == "args" and path[0] in _FLAGS_ONLY):
            raise UserError(f"-o {first}.{'.'.join(path)}: cannot be overridden. Use the flag.")
        if first == "args":
            if not hasattr(args, path[0]):
                raise UserError(
                    f"-o args.{path[0]}: expected an argument of S3PRL, found none of that name. See --help."
                )
            usual = getattr(args, path[0])
            if usual is not None and type(value) is not type(usual):
                raise UserError(f"-o args.{path[0]}: expected a value such as {usual!r}, found {value!r}.")
            if path[0] == "seed" and not 0 <= value < SEED_LIMIT:
                raise UserError(f"-o args.seed: expected a whole number from 0 to {SEED_LIMIT - 1}, found {value}.")
            setattr(args, path[0], value)
            continue
        section: Any = config
        for key in path[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, Mapping):
                raise UserError(f"-o config.{'.'.join(path)}: expected a section at {key}, found a single value.")
        section[path[-1]] = value
    return bool(overrides)


def sets(text: str | None, *path: str) -> bool:
    """Return whether -o sets a path, such as ``"config", "optimizer", "lr"``."""
    return any(found == list(path) for found, _ in parse_override(text))


def parse_override(text: str | None) -> list[tuple[list[str], Any]]:
    """Return (path of keys, value) of each part of -o; values are Python literals, else YAML, else strings.

    "none" is no override, as in S3PRL.
    """
    parsed = []
    parts = "" if text is None or text.lower() == "none" else text
    for option in filter(None, map(str.strip, parts.split(",,"))):
        key, separator, value = option.partition("=")
        path = key.strip().split(".")
        if not separator or path[0] not in ("args", "config") or len(path) < 2 or (path[0] == "args" and len(path) > 2):  # noqa: PLR2004
            raise UserError(f"-o {option}: expected args.NAME=VALUE or config.KEY.KEY=VALUE, separated by ',,'.")
        parsed.append((path, _literal(value.strip())))
    return parsed


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
