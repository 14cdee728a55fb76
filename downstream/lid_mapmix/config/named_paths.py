"""Paths outside a run's folder that its settings name: used again only if they are those of the training.

A run records a digest of each. Who makes a checkpoint does not know the digests of other files, so that its paths lead
to no others. A path that the user names, by a flag or -o, needs no digest.
"""

import argparse
from collections.abc import Collection, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from ..data.audio.folders import listing_digest
from ..data.manifest.manifest import PARQUET
from ..utils.digests import weights_digest
from ..utils.errors import UserError
from .schema import TaskConfig
from .sources import TASK_KEY

# S3PRL's arguments, and settings of the task, that are paths.
UPSTREAM_FLAGS = {"upstream_ckpt": "-k", "upstream_model_config": "-g"}
SETTINGS = {
    "data": ("data", "directory"),
    "noise": ("data", "augment", "noise"),
    "rir": ("data", "augment", "rir"),
    "datamap": ("mapmix", "datamap"),
    "class_similarity_file": ("mapmix", "class_similarity_file"),
    "cache": ("cache", "directory"),
}
# What the user passes to name a path again.
_FLAGS = (
    UPSTREAM_FLAGS
    | {name: f"-o config.{TASK_KEY}.{'.'.join(path)}=" for name, path in SETTINGS.items()}
    | {"data": "--data", "cache": "--cache-features"}
)
# The paths that each mode of S3PRL's runner opens.
OPENED: Mapping[str, Collection[str]] = {
    "train": _FLAGS,
    "evaluate": (*UPSTREAM_FLAGS, "data"),
    "inference": UPSTREAM_FLAGS,
}


def digests(args: argparse.Namespace, task: TaskConfig) -> dict[str, str]:
    """Return name → digest of the paths that settings name, for a run to record as its argument ``file_digests``."""
    found = {name: _digest(name, path) for name, path in _named(args, task).items() if path}
    return {name: digest for name, digest in found.items() if digest is not None}


def check_named_paths(
    args: argparse.Namespace, task: TaskConfig, checkpoint: Path, names: Collection[str], given: Collection[str] = ()
) -> None:
    """Check paths and addresses that a checkpoint names.

    Raises UserError: an address, missing weights, or a path outside the folder that is not that of the training.

    `args`, `task`: settings of the checkpoint. `names`: those to check, see :data:`OPENED`. `given`: those that the
    user has named, which are not checked.
    """
    for name, named in _named(args, task).items():
        if named is None or name in given or name not in names:
            continue
        flag = _FLAGS[name]
        try:
            is_own, is_there = is_of_run(name, named, vars(args), checkpoint.parent), Path(named).exists()
        except (TypeError, ValueError, OSError):
            raise UserError(f"{checkpoint}: expected a path as {name}, found {_shown(named)}. Pass {flag}.") from None
        if not is_there and name in UPSTREAM_FLAGS and Path(named).is_absolute():
            raise UserError(
                f"{checkpoint}: expected the weights of its upstream in {named}, found none. Pass their path by {flag};"
                " without an adapter, the folder of 'lid-mapmix export' does not need them."
            )
        # Of what is missing nothing is read, and the command explains what it lacks; a cache is made.
        if is_own or (not is_there and name not in (*UPSTREAM_FLAGS, "cache")):
            continue
        is_address = name in UPSTREAM_FLAGS and not is_there
        found = "an address" if is_address else "a path outside its folder that is not the one of its training"
        raise UserError(
            f"{checkpoint}: expected {name} in its folder or as in its training, found {_shown(named)}, {found}. If "
            f"you trust it, name it again by {flag}{'' if flag.endswith('=') else ' '}{_shown(named)}."
        )


def is_of_run(name: str, path: str, args: Mapping[str, Any], folder: Path) -> bool:
    """Return whether a path exists in a run's folder, or has the digest that the run recorded."""
    if not Path(path).exists() and name != "cache":
        return False
    recorded = args.get("file_digests")
    return Path(path).resolve().is_relative_to(folder.resolve()) or (
        isinstance(recorded, Mapping) and recorded.get(name) is not None and _digest(name, path) == recorded[name]
    )


def _named(args: argparse.Namespace, task: TaskConfig) -> dict[str, str | None]:
    return {name: getattr(args, name, None) for name in UPSTREAM_FLAGS} | {
        name: attrgetter(".".join(path))(task) for name, path in SETTINGS.items()
    }


def _digest(name: str, path: str) -> str | None:
    if name == "data":
        # Other splits may be added later. Not of its content, because a large manifest is read once per command.
        manifests = [each for ending in (PARQUET, ".csv") if (each := Path(path) / f"train{ending}").is_file()]
        return ", ".join(f"{each.name} of {each.stat().st_size} bytes" for each in manifests) or None
    if name in ("noise", "rir"):
        return listing_digest(Path(path)) if Path(path).is_dir() else None
    return None if name == "cache" else weights_digest(path)  # a cache grows


def _shown(value: Any) -> str:
    return ascii(value)[:80]
