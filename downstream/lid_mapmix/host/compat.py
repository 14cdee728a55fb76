"""Patches that let S3PRL work with current torchaudio, huggingface_hub and torch.

S3PRL 0.4.18 uses names that these packages have since removed. :func:`apply` restores each missing one, so that nothing
changes with older versions. What cannot work any more (sox effects, pushing to the Hugging Face Hub through git) gets a
replacement that raises an error when it is used; S3PRL imports these names without using them.

The file imports nothing from this package, so that it can also be put before S3PRL's own command in S3PRL's
checkout::

    python downstream/lid_mapmix/host/compat.py run_downstream.py -m train -d lid_mapmix ...
"""

# ruff: noqa: PLC0415 - the packages to patch are imported when they are patched, not with this file.

import argparse
import importlib
import importlib.util
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


def apply() -> None:
    """Apply all patches that this machine needs; a second call changes nothing."""
    _patch_torchaudio()
    _patch_huggingface_hub()
    _patch_torch_load()
    _patch_tensorboardx()


def import_specaug() -> None:
    """Import S3PRL's SpecAugment, whose module imports pandas without using it; S3PRL does not declare it either."""
    if "pandas" in sys.modules or importlib.util.find_spec("pandas") is not None:
        return
    # For this import only: other modules that test for pandas must not find it.
    sys.modules["pandas"] = types.ModuleType("pandas", "Empty replacement.")
    try:
        importlib.import_module("s3prl.downstream.specaug")
    finally:
        del sys.modules["pandas"]


def _patch_torchaudio() -> None:
    try:
        import torchaudio
    except (OSError, RuntimeError) as error:
        # A torchaudio built for another torch fails in the dynamic linker, whose message does not say what to do.
        message = f"torchaudio does not match the installed torch; install both in one command ({error})"
        raise ImportError(message) from error

    if not hasattr(torchaudio, "set_audio_backend"):
        torchaudio.set_audio_backend = _ignore_audio_backend
    if not hasattr(torchaudio, "sox_effects") and importlib.util.find_spec("torchaudio.sox_effects") is None:
        sox_effects: Any = types.ModuleType("torchaudio.sox_effects", "Replacement of a module that was removed.")
        for name in ("apply_effects_tensor", "apply_effects_file"):
            setattr(sox_effects, name, _removed(f"torchaudio.sox_effects.{name}", "torchaudio<2.9"))
        torchaudio.sox_effects = sox_effects
        sys.modules[sox_effects.__name__] = sox_effects


def _ignore_audio_backend(backend: str | None = None) -> None:
    """Accept S3PRL's choice of an audio backend, which torchaudio no longer has."""


def _patch_huggingface_hub() -> None:
    import huggingface_hub

    for name in ("HfFolder", "Repository"):
        if not hasattr(huggingface_hub, name):
            setattr(huggingface_hub, name, _removed_class(name, "huggingface_hub<1.0"))


def _patch_torch_load() -> None:
    """Let `torch.load` read the `argparse.Namespace` that S3PRL stores in each checkpoint.

    Allowing only this class keeps `weights_only=True`, without which an untrusted checkpoint
    can run any code.
    """
    import torch

    add_safe_globals = getattr(torch.serialization, "add_safe_globals", None)  # torch >= 2.4
    if add_safe_globals is not None:
        add_safe_globals([argparse.Namespace])


def _patch_tensorboardx() -> None:
    """Provide torch's own writer as tensorboardX, which S3PRL imports and does not declare."""
    if "tensorboardX" in sys.modules or importlib.util.find_spec("tensorboardX") is not None:
        return
    module: Any = types.ModuleType("tensorboardX", "torch.utils.tensorboard under tensorboardX's name.")
    module.__getattr__ = _tensorboard_attribute
    sys.modules["tensorboardX"] = module


def _tensorboard_attribute(name: str) -> Any:
    # Only on use: importing torch.utils.tensorboard takes as long as the rest of S3PRL.
    if name != "SummaryWriter":
        raise AttributeError(f"module 'tensorboardX' has no attribute {name!r}")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("S3PRL writes TensorBoard files: pip install tensorboardX") from error
    return SummaryWriter


def _removed(name: str, needed: str) -> Callable[..., NoReturn]:
    """Return a function that replaces a removed one."""

    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(f"{name} was removed from this version of its package; S3PRL needs {needed} for it")

    function.__name__ = name.rpartition(".")[2]
    return function


def _removed_class(name: str, needed: str) -> type:
    """Return a class that replaces a removed one; using it or an attribute of it raises an error."""
    refuse = _removed(f"huggingface_hub.{name}", needed)

    class Refusing(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
            refuse()

        def __getattr__(cls, attribute: str) -> Any:
            if attribute.startswith("__"):  # introspection
                raise AttributeError(attribute)
            refuse()

    return Refusing(name, (), {"__doc__": f"Replaces {name}, which huggingface_hub has removed."})


def _run_script() -> None:
    """Run the Python file named on the command line, with its arguments, after applying the patches."""
    if len(sys.argv) < 2:  # noqa: PLR2004
        sys.exit("usage: python compat.py run_downstream.py [S3PRL's arguments]")
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    apply()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _run_script()
