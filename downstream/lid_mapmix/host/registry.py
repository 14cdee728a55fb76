"""What S3PRL finds under its own module names: its upstreams, lazily, and tasks that live elsewhere.

S3PRL looks a task up as `s3prl.downstream.NAME.expert` and an upstream as an attribute of `s3prl.hub`,
which imports all of them to use one. Both lookups are answered here by one finder on `sys.meta_path`;
nothing is imported before S3PRL asks for it and nothing is ever written into an installed S3PRL.
"""

import ast
import difflib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from ..utils.errors import UserError

_HUB = "s3prl.hub"
_TASKS = "s3prl.downstream"
_FILTER_BANKS = "s3prl.upstream.baseline.hubconf"
# Upstreams whose weights the user names by -k; S3PRL tells them by their names.
_NEED_WEIGHTS = ("_local", "_url", "_gdriveid", "_custom")


def upstream_names() -> list[str]:
    """Return the names S3PRL's hub offers, in its order, without importing any of them."""
    return list(_upstream_sources())


def check_upstream(name: str) -> None:
    """Raise a UserError, with the names that come close, unless `name` is one of S3PRL's upstreams."""
    names = upstream_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3)
        advice = f"did you mean {' or '.join(close)}?" if close else "for example fbank, wav2vec2 or xlsr_53"
        raise UserError(f"unknown upstream {name!r}: {advice}")


def takes_weights(upstream: str) -> bool:
    """Say whether an upstream has its weights from -k; S3PRL takes no notice of -k with any other."""
    return upstream.endswith(_NEED_WEIGHTS)


def is_filter_bank(name: str) -> bool:
    """Say whether an upstream is one of S3PRL's filter banks: without weights, and each utterance by itself."""
    return _upstream_sources().get(name) == _FILTER_BANKS


def upstream_family(name: str) -> str | None:
    """Return which package below s3prl.upstream an upstream is from, or None where there is no such upstream."""
    source = _upstream_sources().get(name)
    return None if source is None else source.split(".")[-2]


def install_lazy_hub() -> None:
    """Make `s3prl.hub` import an upstream only when it is asked for.

    A hub that is already imported stays as it is: everything has been paid for.
    """
    _installed_finder().is_hub_lazy = True


def register_task(name: str, package: str) -> None:
    """Make `s3prl.downstream.NAME` and all below it stand for the modules of `package`.

    They are the same module objects, not second copies: a class keeps the module it is defined in, so
    that a spawned DataLoader worker, which knows nothing of this registration, can unpickle it.

    Parameters
    ----------
    name : the task as the user writes it after `-d`.
    package : the importable package that holds `expert`, for example ``"lid_mapmix"``; imported only when
        S3PRL asks for the task.
    """
    aliases = _installed_finder().aliases
    if aliases.setdefault(f"{_TASKS}.{name}", package) != package:
        raise ValueError(f"task {name!r} already stands for {aliases[f'{_TASKS}.{name}']!r}, not {package!r}")


class _HostFinder(MetaPathFinder):
    """Answer for the names given to it and for nothing else."""

    def __init__(self) -> None:
        self.is_hub_lazy = False
        self.aliases: dict[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if self.is_hub_lazy and fullname == _HUB:
            return ModuleSpec(fullname, _Substitute(_LazyHub))
        for alias, package in self.aliases.items():
            if fullname == alias or fullname.startswith(f"{alias}."):
                real_name = package + fullname.removeprefix(alias)
                return ModuleSpec(fullname, _Substitute(functools.partial(importlib.import_module, real_name)))
        return None


def _installed_finder() -> _HostFinder:
    for finder in sys.meta_path:
        if isinstance(finder, _HostFinder):
            return finder
    finder = _HostFinder()
    # First, because the ordinary finder would follow the package's __path__ and load its modules again
    # under S3PRL's name.
    sys.meta_path.insert(0, finder)
    return finder


class _Substitute(Loader):
    """Load a module by taking the one that `find` returns."""

    def __init__(self, find: Callable[[], ModuleType]) -> None:
        self.find = find

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system takes from sys.modules what it finds there after this call, so that a real module with a
        # second name keeps its own name and specification.
        sys.modules[module.__name__] = self.find()


class _LazyHub(ModuleType):
    """Module `s3prl.hub`, whose attributes are the functions that build upstreams."""

    def __init__(self) -> None:
        super().__init__(_HUB, "S3PRL's upstreams, each imported when it is asked for.")
        self.__all__ = upstream_names()

    def __dir__(self) -> list[str]:
        return self.__all__

    def __getattr__(self, name: str) -> Callable[..., Any]:
        source = _upstream_sources().get(name)
        if source is None:
            raise AttributeError(f"module {_HUB!r} has no attribute {name!r}")
        with missing_package_named(name):
            build = getattr(importlib.import_module(source), name)

        @functools.wraps(build)
        def build_upstream(*args: Any, **kwargs: Any) -> Any:
            with missing_package_named(name):  # some import what they need only now
                return build(*args, **kwargs)

        setattr(self, name, build_upstream)
        return build_upstream

    @staticmethod
    def options(only_registered_ckpt: bool = False) -> list[str]:
        """Return the names of the upstreams, as S3PRL's own function does."""
        return [name for name in upstream_names() if not (only_registered_ckpt and takes_weights(name))]


@contextmanager
def missing_package_named(upstream: str) -> Iterator[None]:
    """Turn a package that an upstream needs and that is not installed into a UserError."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "s3prl"):
            raise
        raise UserError(f"upstream {upstream} needs the package {package!r}, which is not installed") from error


@functools.cache
def _upstream_sources() -> dict[str, str]:
    """Map each name of the hub to the module it comes from, by reading the source and not importing it."""
    spec = importlib.util.find_spec("s3prl")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("S3PRL is not installed: pip install s3prl==0.4.18")
    root = Path(spec.submodule_search_locations[0])
    sources: dict[str, str] = {}
    for node in ast.walk(_parsed(root / "hub.py")):
        if not (isinstance(node, ast.ImportFrom) and node.module and node.module.endswith(".hubconf")):
            continue
        path = root.parent.joinpath(*node.module.split(".")).with_suffix(".py")
        for imported in node.names:
            names = _entry_names(_parsed(path)) if imported.name == "*" else [imported.asname or imported.name]
            # As in S3PRL, the last of two upstreams with one name is the one that is used.
            sources.update(dict.fromkeys(names, node.module))
    if not sources:
        raise UserError(f"{root / 'hub.py'} lists no upstreams as S3PRL 0.4.18 does: pip install s3prl==0.4.18")
    return sources


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _entry_names(hubconf: ast.Module) -> list[str]:
    """Return the public names a hubconf defines, or takes from another hubconf, in their order.

    What it imports from anywhere else (Path, FileLock) is a helper and no upstream.
    """
    names: list[str] = []
    for node in hubconf.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").endswith("hubconf"):
            names.extend(imported.asname or imported.name for imported in node.names)
    return [name for name in names if not name.startswith("_")]
