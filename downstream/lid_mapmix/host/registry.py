"""S3PRL's module names: upstreams, imported lazily, and tasks from other packages.

S3PRL looks up a task as `s3prl.downstream.NAME.expert` and an upstream as an attribute of `s3prl.hub`,
which imports all upstreams to use one. One finder on `sys.meta_path` answers both lookups here;
nothing is imported before S3PRL asks for it, and no file is written into an installed S3PRL.
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
from types import FunctionType, ModuleType
from typing import Any

from ..utils.errors import UserError

_HUB = "s3prl.hub"
_TASKS = "s3prl.downstream"
_FILTER_BANKS = "s3prl.upstream.baseline.hubconf"
# Endings of upstreams whose weights are passed by -k; S3PRL recognises them by name.
_NEED_WEIGHTS = ("_local", "_url", "_gdriveid", "_custom", "hf_auto")
# Upstreams that hugging_face.py builds → the repository of their weights, None if -k names them.
HUGGING_FACE: dict[str, str | None] = {
    **dict.fromkeys(("hf_auto", "hf_wav2vec2_custom", "hf_hubert_custom")),
    **{f"mms_{size}": f"facebook/mms-{size}" for size in ("300m", "1b")},
    **{f"mms_lid_{count}": f"facebook/mms-lid-{count}" for count in (126, 256, 512, 1024, 2048, 4017)},
    **{f"whisper_{size}": f"openai/whisper-{size.replace('_', '-')}" for size in ("small", "large_v3")},
    "w2v_bert_2": "facebook/w2v-bert-2.0",
    "mhubert_147": "utter-project/mHuBERT-147",
}


def upstream_names() -> list[str]:
    """Return the names of all upstreams, those of S3PRL's hub first, without importing any of them."""
    return list(dict.fromkeys((*_upstream_sources(), *HUGGING_FACE, *own_upstreams())))


def own_upstreams() -> dict[str, Callable[..., Any]]:
    """Return name → function that builds this upstream, of :func:`add_upstreams`."""
    return _installed_finder().own


def add_upstreams(file: Path | str | None) -> None:
    """Run a Python file of the user, and add its public functions to the upstreams, as S3PRL does those of a hubconf.

    Raises UserError: no such file, an error while it runs, no function, or the name of another upstream.

    `file`: named by a flag, never by a checkpoint; None for none.
    """
    if file is None:
        return
    path = Path(file).resolve()
    name = f"lid_mapmix_upstreams_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path) if path.suffix == ".py" else None
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"--upstream-from {file}: expected a Python file (.py), found none. Check the path.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # of the user's code
        del sys.modules[name]
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--upstream-from {file}: {type(error).__name__}: {reason}. Correct the file.") from error
    own = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    others = {*_upstream_sources(), *HUGGING_FACE}
    if not own or (taken := sorted(others & own.keys())):
        found = f"{taken[0]}, which is another upstream" if own else "none"
        raise UserError(f"--upstream-from {file}: expected functions that build upstreams, found {found}. Rename it.")
    own_upstreams().update(own)


def check_upstream(name: str) -> None:
    """Check that `name` is an upstream; otherwise raise a UserError with similar names."""
    _check_name("upstream", name, upstream_names(), "for example fbank or xlsr_53; your own needs --upstream-from FILE")


def task_names() -> list[str]:
    """Return the names of the tasks: those in S3PRL's folder, without importing any, and the registered ones."""
    found = (path.parent.name for path in (_root() / "downstream").glob("*/expert.py"))
    return sorted({*found, *(alias.removeprefix(f"{_TASKS}.") for alias in _installed_finder().aliases)})


def check_task(name: str) -> None:
    """Check that `name` is a task; otherwise raise a UserError with similar names."""
    _check_name("task", name, task_names(), "for example lid_mapmix, asr or voxceleb1")


def task_file(task: str, name: str) -> Path:
    """Return where a file of one of S3PRL's own tasks is in the installed S3PRL, which may lack it."""
    return _root() / "downstream" / task / name


def _check_name(kind: str, name: str, names: Sequence[str], examples: str) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3)
        raise UserError(f"unknown {kind} {name!r}: " + (f"did you mean {' or '.join(close)}?" if close else examples))


def takes_weights(upstream: str) -> bool:
    """Return whether an upstream takes its weights from -k; S3PRL ignores -k for all others."""
    return upstream.endswith(_NEED_WEIGHTS) or upstream in HUGGING_FACE or upstream in own_upstreams()


def needs_weights(upstream: str) -> bool:
    """Return whether an upstream has no weights without -k."""
    return takes_weights(upstream) and HUGGING_FACE.get(upstream) is None and upstream not in own_upstreams()


def is_filter_bank(name: str) -> bool:
    """Return whether an upstream is one of S3PRL's filter banks, which have no weights and no padding."""
    return _upstream_sources().get(name) == _FILTER_BANKS


def upstream_family(name: str) -> str | None:
    """Return the package below s3prl.upstream that an upstream is from, or None for an unknown upstream."""
    source = _upstream_sources().get(name)
    return None if source is None else source.split(".")[-2]


def install_lazy_hub() -> None:
    """Make `s3prl.hub`, unless it is imported already, import an upstream only when it is used."""
    _installed_finder().is_hub_lazy = True


def register_task(name: str, package: str) -> None:
    """Make `s3prl.downstream.NAME` and all modules below it refer to the modules of `package`.

    They are the same module objects, not copies: a class keeps the module it is defined in, so that a spawned
    DataLoader worker, which lacks this registration, can unpickle it.

    `name`: the task as given by `-d`. `package`: the importable package with the module `expert`, for example
    ``"lid_mapmix"``; imported only when S3PRL asks for the task.
    """
    aliases = _installed_finder().aliases
    if aliases.setdefault(f"{_TASKS}.{name}", package) != package:
        raise ValueError(f"task {name!r} already refers to {aliases[f'{_TASKS}.{name}']!r}, not {package!r}")


class _HostFinder(MetaPathFinder):
    """Finds the registered names only."""

    def __init__(self) -> None:
        self.is_hub_lazy = False
        self.aliases: dict[str, str] = {}
        self.own: dict[str, Callable[..., Any]] = {}

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
    """Loads a module by returning the one from `find`."""

    def __init__(self, find: Callable[[], ModuleType]) -> None:
        self.find = find

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system uses what is in sys.modules after this call, so that a real module with a second name keeps
        # its own name and specification.
        sys.modules[module.__name__] = self.find()


class _LazyHub(ModuleType):
    """Module `s3prl.hub`; its attributes are the functions that build upstreams."""

    def __init__(self) -> None:
        super().__init__(_HUB, "S3PRL's upstreams, each imported when it is used.")
        self.__all__ = upstream_names()

    def __dir__(self) -> list[str]:
        return upstream_names()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in HUGGING_FACE or name in own_upstreams():
            from .hugging_face import builders

            return builders()[name]
        source = _upstream_sources().get(name)
        if source is None:
            raise AttributeError(f"module {_HUB!r} has no attribute {name!r}")
        with missing_package_named(f"upstream {name}"):
            build = getattr(importlib.import_module(source), name)

        @functools.wraps(build)
        def build_upstream(*args: Any, **kwargs: Any) -> Any:
            with missing_package_named(f"upstream {name}"):  # some import their packages only now
                return build(*args, **kwargs)

        setattr(self, name, build_upstream)
        return build_upstream

    @staticmethod
    def options(only_registered_ckpt: bool = False) -> list[str]:
        """Return the names of the upstreams, as S3PRL's own function does."""
        return [name for name in upstream_names() if not (only_registered_ckpt and needs_weights(name))]


@contextmanager
def missing_package_named(what: str) -> Iterator[None]:
    """Raise a UserError for a missing package that `what`, an upstream or a task, needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "s3prl"):
            raise
        raise UserError(
            f"{what} needs the package {package!r}, which is not installed. Run 'pip install {package}'."
        ) from error


@functools.cache
def _upstream_sources() -> dict[str, str]:
    """Map each name of the hub to its module, by reading the source without importing it."""
    root = _root()
    sources: dict[str, str] = {}
    for node in ast.walk(_parsed(root / "hub.py")):
        if not (isinstance(node, ast.ImportFrom) and node.module and node.module.endswith(".hubconf")):
            continue
        path = root.parent.joinpath(*node.module.split(".")).with_suffix(".py")
        for imported in node.names:
            names = _entry_names(_parsed(path)) if imported.name == "*" else [imported.asname or imported.name]
            # As in S3PRL, the last of two upstreams with one name is used.
            sources.update(dict.fromkeys(names, node.module))
    if not sources:
        raise UserError(
            f"{root / 'hub.py'}: expected a list of upstreams as in S3PRL 0.4.18, found none. Run 'pip install "
            "s3prl==0.4.18'."
        )
    return sources


def _root() -> Path:
    """Return the folder of the installed S3PRL, without importing it."""
    spec = importlib.util.find_spec("s3prl")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("S3PRL is not installed. Run 'pip install s3prl==0.4.18'.")
    return Path(spec.submodule_search_locations[0])


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _entry_names(hubconf: ast.Module) -> list[str]:
    """Return the public names that a hubconf defines, or imports from another hubconf, in order."""
    names: list[str] = []
    # Names imported from elsewhere (Path, FileLock) are helpers, not upstreams.
    for node in hubconf.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").endswith("hubconf"):
            names.extend(imported.asname or imported.name for imported in node.names)
    return [name for name in names if not name.startswith("_")]
