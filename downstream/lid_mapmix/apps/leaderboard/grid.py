"""The grid of a leaderboard: what its file and the command line ask for."""

import argparse
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from ...config.sources import merge, read_yaml
from ...utils.errors import UserError
from ..settings.arguments import SEED_LIMIT

_STRICT = ConfigDict(extra="forbid")
_FOLDER = "result/leaderboard"
# They name folders.
NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_AXES = ("upstreams", "variants", "data")


@checked_dataclass(config=_STRICT)
class GridUpstream:
    """An upstream of the grid.

    Attributes
    ----------
    upstream, weights : -u and -k; -u is the name where None.
    frozen : SUPERB's protocol.
    cache_features : folder of its features, where it is frozen; None for none.
    variants : the variants that are trained on it; None for all.
    settings : over those of the grid.
    made_by : how the weights are made, for the error where there are none; never executed.
    """

    upstream: str | None = None
    weights: str | None = None
    frozen: bool = False
    cache_features: str | None = None
    variants: list[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    made_by: str | None = None


@checked_dataclass(config=_STRICT)
class GridVariant:
    """A row of each upstream: a variant (its name where None), and settings over those of the upstream."""

    variant: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@checked_dataclass(config=_STRICT)
class Grid:
    """What there is to train; the names are those of folders and tables.

    Attributes
    ----------
    upstreams, variants : by name.
    data : name → folder.
    seeds : of the runs.
    settings : of all runs, as run's -c; the command's own -c is over them.
    into : where the runs are kept.
    """

    upstreams: dict[str, GridUpstream] = field(default_factory=dict)
    variants: dict[str, GridVariant] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    into: str | None = None

    @property
    def folder(self) -> Path:
        """Where the runs are kept."""
        return Path(str(self.into))

    def runs(self) -> list["Run"]:
        """List the runs, all of a seed before those of the next one: what is there early can be compared."""
        return [
            Run(upstream, variant, data, seed)
            for seed, data, upstream in itertools.product(self.seeds, self.data, self.upstreams)
            for variant in self.variants
            if variant in (self.upstreams[upstream].variants or self.variants)
        ]

    def settings_of(self, run: "Run") -> dict[str, Any]:
        """Return what the file of -c holds: the grid's settings, the upstream's over them, then the variant's."""
        own = merge(self.settings, self.upstreams[run.upstream].settings)
        return merge(own, self.variants[run.variant].settings)

    def request(self, run: "Run") -> dict[str, Any]:
        """Return what decides about a run's result, as far as the grid says it."""
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
    """A run of the grid, by the names of the grid."""

    upstream: str
    variant: str
    data: str
    seed: int

    def __str__(self) -> str:
        return f"{self.upstream} {self.variant} {self.data} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Its folder, relative to that of the grid."""
        return Path("runs", self.upstream, self.variant, f"{self.data}-seed-{self.seed}")


def read_grid(options: argparse.Namespace) -> Grid:
    """Return the grid of a file, or of the flags, or what the flags choose of the file's.

    Raises
    ------
    UserError : no such file, an unknown key, a name that the file has not, or nothing to train.
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
    content["into"] = options.into or content.get("into") or f"{_FOLDER}/{Path(options.bench or 'flags').stem}"
    try:
        grid = TypeAdapter(Grid).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{origin}: {place}: {first['msg']}. See 'lid-mapmix leaderboard --help'.") from None
    if options.config:
        grid.settings = merge(grid.settings, read_yaml(Path(options.config)))
    _check(grid, origin, is_part=options.variants is not None)
    return grid


def _flat(lists: list[list[Any]] | None) -> list[Any]:
    return [value for each in lists or [] for value in each]


def _named(origin: str, axis: str, values: Any) -> dict[str, Any]:
    """Return a list as what its names stand for: the folders of data, or else nothing special."""
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
        raise UserError(f"--{axis} {unknown[0]}: {bench} has {', '.join(known)}. Choose of those, or add it there.")
    return {name: known[name] for name in names}


def _check(grid: Grid, origin: str, *, is_part: bool) -> None:
    for axis in (*_AXES, "seeds"):
        values = getattr(grid, axis)
        if not values:
            raise UserError(f"{origin}: expected {axis}, found none. Name them in BENCH.yaml or by --{axis}.")
        if wrong := next((name for name in values if axis != "seeds" and not NAME_PATTERN.fullmatch(name)), None):
            raise UserError(
                f"{origin}: {axis}: expected names of letters, digits and _.+-, found {wrong!r}. Give it such a name "
                f"in BENCH.yaml, as '{axis}: {{NAME: …}}'."
            )
    if wrong := next((seed for seed in grid.seeds if not 0 <= seed < SEED_LIMIT), None):
        raise UserError(f"{origin}: seeds: expected numbers from 0 to {SEED_LIMIT - 1}, found {wrong}.")
    if len(set(grid.seeds)) < len(grid.seeds):
        raise UserError(f"{origin}: seeds: expected each once, found {grid.seeds}.")
    for name, upstream in grid.upstreams.items():
        if upstream.variants == []:
            raise UserError(f"{origin}: upstreams.{name}.variants: expected some, found none. Leave it out for all.")
        unknown = [variant for variant in upstream.variants or [] if variant not in grid.variants]
        if unknown and not is_part:
            raise UserError(f"{origin}: upstreams.{name}.variants: {unknown[0]} is none of {', '.join(grid.variants)}.")
    if not grid.runs():
        raise UserError(f"{origin}: nothing to train: the upstreams have none of the variants.")
