"""The grid of a leaderboard, from its file and the flags."""

import argparse
import itertools
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from ...config.renamed import rename_settings
from ...config.sources import merge, read_yaml
from ...utils.errors import UserError
from ..settings.arguments import SEED_LIMIT

_STRICT = ConfigDict(extra="forbid")
_FOLDER = "result/leaderboard"
# Names in the grid become folder names.
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_AXES = ("upstreams", "variants", "data")


@checked_dataclass(config=_STRICT)
class GridUpstream:
    """An upstream of the grid."""

    # upstream, weights: -u and -k; `upstream` defaults to the name.
    upstream: str | None = None
    weights: str | None = None
    frozen: bool = False  # freeze the upstream (SUPERB protocol)
    cache_features: str | None = None  # folder of the feature cache of a frozen upstream; None for none
    variants: list[str] | None = None  # variants to train; None for all
    settings: dict[str, Any] = field(default_factory=dict)  # override those of the grid
    made_by: str | None = None  # command that makes the weights, for the error if they are missing; never executed


@checked_dataclass(config=_STRICT)
class GridVariant:
    """A variant (None: that of its name), with settings that override those of the upstream."""

    variant: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@checked_dataclass(config=_STRICT)
class Grid:
    """The runs to train; names are used in folders and tables."""

    # upstreams, variants: by name.
    upstreams: dict[str, GridUpstream] = field(default_factory=dict)
    variants: dict[str, GridVariant] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)  # name → folder
    seeds: list[int] = field(default_factory=list)
    # Of all runs, as in -c of ``lid-mapmix run``; overridden by -c of the leaderboard.
    settings: dict[str, Any] = field(default_factory=dict)
    out: str | None = None  # folder of the runs

    @property
    def folder(self) -> Path:
        """Folder of the runs."""
        return Path(str(self.out))

    def runs(self) -> list["Run"]:
        """List the runs, seed by seed, so that comparable runs complete first."""
        return [
            Run(upstream, variant, data, seed)
            for seed, data, upstream in itertools.product(self.seeds, self.data, self.upstreams)
            for variant in self.variants
            if variant in (self.upstreams[upstream].variants or self.variants)
        ]

    def settings_of(self, run: "Run") -> dict[str, Any]:
        """Return the settings of a run for -c: those of the grid, overridden by the upstream's, then the variant's."""
        layers = (self.settings, self.upstreams[run.upstream].settings, self.variants[run.variant].settings)
        return reduce(merge, (rename_settings(layer, warn=True) for layer in layers))

    def request(self, run: "Run") -> dict[str, Any]:
        """Return the part of the grid that determines the result of a run."""
        upstream = self.upstreams[run.upstream]
        return {
            "upstream": upstream.upstream or run.upstream,
            "frozen": upstream.frozen,
            "variant": self.variants[run.variant].variant or run.variant,
            "seed": run.seed,
            "settings": self.settings_of(run),
        }


@dataclass(frozen=True)
class Run:
    """A run of the grid, by its names in the grid."""

    upstream: str
    variant: str
    data: str
    seed: int

    def __str__(self) -> str:
        return f"{self.upstream} {self.variant} {self.data} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Folder of the run, relative to that of the grid."""
        return Path("runs", self.upstream, self.variant, f"{self.data}-seed-{self.seed}")


def read_grid(options: argparse.Namespace) -> Grid:
    """Return the grid of a file, the part of it that flags select, or a grid of flags only.

    Raises UserError: the file does not exist, a key or name is unknown, or there is nothing to train.
    """
    content: dict[str, Any] = {} if options.bench is None else read_yaml(Path(options.bench))
    origin = options.bench or "flags"
    for axis in _AXES:
        content[axis] = _named(origin, axis, content.get(axis) or {})
    for axis in ("upstreams", "variants"):
        if chosen := _flat(getattr(options, axis)):
            content[axis] = _chosen(options.bench, axis, content[axis], chosen)
    if options.data:
        content["data"] = _named("--data", "data", options.data)
    if seeds := _flat(options.seeds):
        content["seeds"] = seeds
    if "into" in content:
        print(f"{origin}: into is deprecated; use out", file=sys.stderr)
        content.setdefault("out", content.pop("into"))
    content["out"] = str(options.out or content.get("out") or f"{_FOLDER}/{Path(options.bench or 'flags').stem}")
    try:
        grid = TypeAdapter(Grid).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{origin}: {place}: {first['msg']}. See 'lid-mapmix leaderboard --help'.") from None
    if options.config:
        layers = (grid.settings, read_yaml(Path(options.config)))
        grid.settings = merge(*(rename_settings(layer, warn=True) for layer in layers))
    _check(grid, origin, is_part=options.variants is not None)
    return grid


def _flat(lists: list[list[Any]] | None) -> list[Any]:
    return [value for each in lists or [] for value in each]


def _named(origin: str, axis: str, values: Any) -> dict[str, Any]:
    """Return a list as a mapping: names of data → folders, other names → no settings."""
    if isinstance(values, Mapping):
        return {str(name): {} if value is None else value for name, value in values.items()}
    if not isinstance(values, list):
        raise UserError(f"{origin}: {axis}: expected a list or a mapping, found {values!r}.")
    if axis == "data":
        named: dict[str, Any] = {Path(str(folder)).resolve().name: str(folder) for folder in values}
    else:
        named = {str(name): {} for name in values}
    if len(named) < len(values):
        raise UserError(f"{origin}: {axis}: expected different names, found {', '.join(map(str, values))}.")
    return named


def _chosen(bench: str | None, axis: str, known: dict[str, Any], names: list[str]) -> dict[str, Any]:
    if bench is None:
        return {name: {} for name in names}
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"--{axis} {unknown[0]}: expected one of {', '.join(known)}. Choose one of them, or add it to {bench}."
        )
    return {name: known[name] for name in names}


def _check(grid: Grid, origin: str, *, is_part: bool) -> None:
    for axis in (*_AXES, "seeds"):
        values = getattr(grid, axis)
        if not values:
            raise UserError(f"{origin}: expected {axis}, found none. Give them in BENCH.yaml or by --{axis}.")
        if wrong := next((name for name in values if axis != "seeds" and not NAME_PATTERN.fullmatch(name)), None):
            raise UserError(
                f"{origin}: {axis}: expected names of letters, digits and _.+-, found {wrong!r}. Rename it in "
                f"BENCH.yaml, as '{axis}: {{NAME: …}}'."
            )
    if wrong := next((seed for seed in grid.seeds if not 0 <= seed < SEED_LIMIT), None):
        raise UserError(f"{origin}: seeds: expected numbers from 0 to {SEED_LIMIT - 1}, found {wrong}.")
    if len(set(grid.seeds)) < len(grid.seeds):
        raise UserError(f"{origin}: seeds: expected different seeds, found {grid.seeds}. Remove the duplicates.")
    for name, upstream in grid.upstreams.items():
        if upstream.variants == []:
            raise UserError(
                f"{origin}: upstreams.{name}.variants: expected variants, found none. Remove the key to train all."
            )
        unknown = [variant for variant in upstream.variants or [] if variant not in grid.variants]
        if unknown and not is_part:
            raise UserError(
                f"{origin}: upstreams.{name}.variants: expected some of {', '.join(grid.variants)}, found {unknown[0]}."
            )
    if not grid.runs():
        raise UserError(f"{origin}: expected runs to train, found none: the upstreams have none of the variants.")
