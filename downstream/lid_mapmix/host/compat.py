"""Patches that let S3PRL work with current torchaudio, huggingface_hub and torch.

S3PRL 0.4.18 uses names that these packages have since removed. :func:`apply` restores each missing one, so that nothing
changes with older versions. What cannot work any more (pushing to the Hugging Face Hub through git) gets a replacement
that raises an error when it is used; S3PRL imports these names without using them.

The file needs nothing from this package but audio_functions.py beside it, so that it can also be put before S3PRL's own
command in a checkout of S3PRL, where `lid_mapmix` cannot be imported::

    python downstream/lid_mapmix/host/compat.py run_downstream.py -m train -d lid_mapmix ...
"""

import argparse
import contextlib
import functools
import importlib
import importlib.util
import itertools
import runpy
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn


def apply() -> None:
    """Apply all patches that this machine needs; a second call changes nothing."""
    _patch_torchaudio()
    _patch_huggingface_hub()
    import torch

    # S3PRL stores such an object in each checkpoint. Allowing only this class keeps `weights_only=True` of torch.load,
    # without which an untrusted checkpoint can run any code.
    torch.serialization.add_safe_globals([argparse.Namespace])


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Within the block, let `owner`, a module or an object, have another value under a name."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


# What modules of S3PRL, and its package before them, import and do not use: module → name in it. They take a second.
_UNUSED = {
    "s3prl.util.download": {"torch.utils.tensorboard.writer": "SummaryWriter", "requests": "get"},
    "s3prl.downstream.runner": {"huggingface_hub.hf_api": "HfApi"},
    "s3prl.downstream.specaug": {"pandas": "DataFrame"},
}
# What they use in distributed training only: S3PRL does not declare it.
_UNDECLARED = {
    "s3prl.downstream.speech_commands.expert": {"catalyst.data.sampler": "DistributedSamplerWrapper"},
    "s3prl.downstream.voxceleb1.dataset": {"librosa.util": "find_files"},
}


def import_without_unused(name: str) -> None:
    """Import the modules of S3PRL named `name`, or below it, that import a package without using it.

    The package is replaced during that import only: other modules that test for it must not find the replacement.
    """
    for module, unused in {**_UNUSED, **_UNDECLARED}.items():
        replacements: dict[str, Any] = {}
        for path, attribute in unused.items() if f"{module}.".startswith(f"{name}.") else ():
            package, *others = path.split(".")
            is_there = package in sys.modules or importlib.util.find_spec(package) is not None
            if path in sys.modules or (is_there and module in _UNDECLARED):
                continue
            paths = itertools.accumulate(others, "{}.{}".format, initial=package)
            replacements |= {each: types.ModuleType(each, "Empty.") for each in paths if each not in sys.modules}
            setattr(replacements[path], attribute, _removed if is_there else functools.partial(_missing, package))
        if not replacements:
            continue
        sys.modules.update(replacements)
        try:
            importlib.import_module(module)
        finally:
            for path in replacements:
                del sys.modules[path]


def _missing(package: str, *args: Any, **kwargs: Any) -> NoReturn:
    raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def _patch_torchaudio() -> None:
    try:
        import torchaudio
    except (OSError, RuntimeError) as error:
        # A torchaudio built for another torch fails in the dynamic linker, whose message does not say what to do.
        message = f"torchaudio does not match the installed torch; install both in one command ({error})"
        raise ImportError(message) from error

    if not hasattr(torchaudio, "set_audio_backend"):
        torchaudio.set_audio_backend = lambda backend=None: None  # S3PRL chooses one
    if not hasattr(torchaudio, "info"):
        functions = _audio_functions()
        for name in ("info", "load", "save"):
            setattr(torchaudio, name, getattr(functions, name))
        if __package__:
            torchaudio.__class__ = _PatchedModule
        sox_effects: Any = types.ModuleType("torchaudio.sox_effects", "Replacement of a module that was removed.")
        for name in ("apply_effects_tensor", "apply_effects_file"):
            setattr(sox_effects, name, getattr(functions, name))
        torchaudio.sox_effects = sox_effects
        sys.modules[sox_effects.__name__] = sox_effects


class _PatchedModule(types.ModuleType):
    """Class of the patched torchaudio: a worker of joblib that gets the module in a function patches it first."""

    def __reduce__(self) -> tuple[Callable[[], Any], tuple[()]]:
        return _patched_torchaudio, ()


def _patched_torchaudio() -> Any:
    apply()
    return sys.modules["torchaudio"]


def _audio_functions() -> Any:
    if __package__:
        from . import audio_functions

        return audio_functions
    path = Path(__file__).with_name("audio_functions.py")  # this file was run by its path
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _patch_huggingface_hub() -> None:
    import huggingface_hub

    if not hasattr(huggingface_hub, "HfFolder"):
        folder: Any = types.SimpleNamespace(get_token=_removed, save_token=_removed)
        huggingface_hub.HfFolder, huggingface_hub.Repository = folder, _removed


def _removed(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError(
        "huggingface_hub: what S3PRL calls was removed from this version of its package; it needs huggingface_hub<1.0"
    )


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # of a package that is not there, an empty name
        return False


def run_script(arguments: Sequence[str]) -> None:
    """Run a script, or ``-m`` and a module, with its arguments as Python does, after applying the patches.

    A name without a dot, such as pytest, is a module.
    """
    has_flag = arguments[:1] == ["-m"]
    sys.argv = list(arguments[has_flag:])
    name = sys.argv[0] if sys.argv else ""
    is_module = has_flag or not ("." in name or Path(name).exists())
    if is_module:
        sys.path[0] = str(Path.cwd())
    if not (_has_module(name) if is_module else Path(name).is_file() or Path(name, "__main__.py").is_file()):
        sys.exit(
            f"error: expected a script, or -m and a module, found {name!a}. Put S3PRL's script and its arguments "
            "behind it."
        )
    apply()
    if is_module:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(name).resolve().parent)
        runpy.run_path(name, run_name="__main__")


if __name__ == "__main__":
    run_script(sys.argv[1:])
