"""The files a configuration is made of, and how one is put over another.

Precedence, lowest first: config.yaml, variants/V.yaml, upstream_configs/U.yaml, the user's own -c, flags and -o.
Nothing here imports torch, so that a command line can show its help at once.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..utils.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
DEFAULT_CONFIG = _PACKAGE / "config.yaml"
VARIANTS = _PACKAGE / "config" / "variants"
TASK_KEY = "downstream_expert"
# Installed, the folder lies in the package; in a checkout, at its top.
_UPSTREAM_CONFIGS = (_PACKAGE / "upstream_configs", _PACKAGE.parents[1] / "upstream_configs")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over` put over it, key by key; neither is changed.

    Raises
    ------
    UserError : a single value where `base` has a section.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if not isinstance(old, Mapping):
            merged[key] = value
        elif isinstance(value, Mapping):
            merged[key] = merge(old, value)
        # A section all of whose lines are commented out reads as None and changes nothing.
        elif value is not None:
            raise UserError(
                f"configuration: {key} is {value!r}; expected 'key: value' lines below it. See config.yaml."
            )
    return merged


class _Loader(yaml.SafeLoader):
    """PyYAML's, but for keys that come twice, of which it takes the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        mapping = super().construct_mapping(node, deep)
        seen: set[Any] = set()
        for key in written:
            value = self.construct_object(key, deep=True)
            if value in seen:
                raise yaml.constructor.ConstructorError(problem=f"{value!r} comes twice", problem_mark=key.start_mark)
            seen.add(value)
        return mapping


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    UserError : no such file, no YAML, a key that comes twice, no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Name a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no valid YAML: {' '.join(str(error).split())}. Correct it.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected 'key: value' lines, found {type(content).__name__}. See config.yaml.")
    return content


def variant_names() -> list[str]:
    """List the variants there are."""
    return sorted(path.stem for path in VARIANTS.glob("*.yaml"))


def read_variant(name: str) -> dict[str, Any]:
    """Read what a variant changes in the defaults.

    Raises
    ------
    UserError : no such variant.
    """
    if name not in variant_names():
        raise UserError(f"no variant {name!r}; there are {', '.join(variant_names())}. Choose one with -v.")
    return read_yaml(VARIANTS / f"{name}.yaml")


def upstream_config_names() -> list[str]:
    """List the upstreams that have a file of what they need."""
    return sorted({path.stem for folder in _UPSTREAM_CONFIGS for path in folder.glob("*.yaml")})


def upstream_config_path(name: str) -> Path | None:
    """Return the file of what an upstream needs, or None where there is none."""
    paths = (folder / f"{name}.yaml" for folder in _UPSTREAM_CONFIGS)
    return next((path for path in paths if path.is_file()), None)


def read_upstream_config(name: str) -> dict[str, Any] | None:
    """Read the file of what an upstream needs (upstreams.py), or return None where there is none."""
    path = upstream_config_path(name)
    return None if path is None else read_yaml(path)
