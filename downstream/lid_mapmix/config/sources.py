"""The files of a configuration, and how one is merged over another.

Precedence, lowest first: config.yaml, variants/V.yaml, upstream_configs/U.yaml, the user's own -c, flags and -o.
Nothing here imports torch, so that a command can show its help quickly.
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
# In an installed package the folder is in the package; in a checkout it is at the top.
_UPSTREAM_CONFIGS = (_PACKAGE / "upstream_configs", _PACKAGE.parents[1] / "upstream_configs")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` merged over it, key by key. Raises UserError: a single value for a section."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if not isinstance(old, Mapping):
            merged[key] = value
        elif isinstance(value, Mapping):
            merged[key] = merge(old, value)
        # A section with only commented lines is read as None and changes nothing.
        elif value is not None:
            raise UserError(f"configuration: {key} is {value!r}; expected 'key: value' lines. See config.yaml.")
    return merged


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, which refuses duplicate keys; PyYAML itself silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        mapping = super().construct_mapping(node, deep)
        seen: set[Any] = set()
        for key in written:
            value = self.construct_object(key, deep=True)
            if value in seen:
                raise yaml.constructor.ConstructorError(problem=f"{value!r} occurs twice", problem_mark=key.start_mark)
            seen.add(value)
        return mapping


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file with a mapping. Raises UserError: no such file, no YAML, a duplicate key, or no mapping."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file. Check the path.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Pass a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid YAML: {' '.join(str(error).split())}. Correct it.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected 'key: value' lines, found {type(content).__name__}. See config.yaml.")
    return content


def variant_names() -> list[str]:
    """List all variants."""
    return sorted(path.stem for path in VARIANTS.glob("*.yaml"))


def read_variant(name: str) -> dict[str, Any]:
    """Read the settings that a variant changes. Raises UserError: no such variant."""
    if name not in variant_names():
        raise UserError(f"-v {name}: expected one of {', '.join(variant_names())}, found another. Choose one of these.")
    return read_yaml(VARIANTS / f"{name}.yaml")


def upstream_config_names() -> list[str]:
    """List the upstreams with a file."""
    return sorted({path.stem for folder in _UPSTREAM_CONFIGS for path in folder.glob("*.yaml")})


def upstream_config_path(name: str) -> Path | None:
    """Return the path of an upstream's file, or None if it has none."""
    paths = (folder / f"{name}.yaml" for folder in _UPSTREAM_CONFIGS)
    return next((path for path in paths if path.is_file()), None)
