"""What the tests of the host share: fresh Python processes, and a toy run of S3PRL."""

import json
import os
import subprocess
import sys
import textwrap
from argparse import Namespace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPAT = ROOT / "downstream" / "lid_mapmix" / "host" / "compat.py"


def run_python(*arguments, expect=0):
    """Run Python where this package and the toy task can be imported, and return what it printed last."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'downstream'}:{ROOT / 'tests'}", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == expect, process.stderr
    lines = process.stdout.splitlines()
    return lines[-1] if lines else ""


@pytest.fixture
def python():
    return run_python


@pytest.fixture(scope="session")
def stock():
    """Return what plain S3PRL does in a fresh process, before and after `compat.apply`, hub not lazy."""
    code = f"""
    import argparse, importlib, io, json, runpy, sys
    import huggingface_hub, torch, torchaudio

    def fault(action):
        try:
            action()
        except Exception as error:
            return f"{{type(error).__name__}}: {{error}}"

    def load_namespace():
        buffer = io.BytesIO()
        torch.save({{"Args": argparse.Namespace(seed=1)}}, buffer)
        buffer.seek(0)
        assert torch.load(buffer)["Args"].seed == 1

    actions = {{
        "audio backend": lambda: torchaudio.set_audio_backend("sox_io"),
        "sox effects": lambda: importlib.import_module("torchaudio.sox_effects").apply_effects_tensor,
        "HfFolder": lambda: huggingface_hub.HfFolder,
        "Repository": lambda: huggingface_hub.Repository,
        "load": load_namespace,
        "hub": lambda: importlib.import_module("s3prl.hub"),
        "runner": lambda: importlib.import_module("s3prl.downstream.runner"),
    }}
    before = {{name: fault(action) for name, action in actions.items()}}
    apply = runpy.run_path({str(COMPAT)!r})["apply"]
    modules = set(sys.modules)
    apply()
    imported = sorted(set(sys.modules) - modules)
    first = torchaudio.set_audio_backend, torchaudio.sox_effects, huggingface_hub.HfFolder
    apply()
    after = {{name: fault(action) for name, action in actions.items()}}
    second = torchaudio.set_audio_backend, torchaudio.sox_effects, huggingface_hub.HfFolder
    used = {{
        "HfFolder": fault(lambda: huggingface_hub.HfFolder.get_token()),
        "Repository": fault(lambda: huggingface_hub.Repository(local_dir=".")),
    }}
    hub = sys.modules["s3prl.hub"]
    print(json.dumps({{
        "before": before, "after": after, "imported": imported, "same": first == second, "used": used,
        "options": hub.options(), "registered": hub.options(only_registered_ckpt=True),
        "callables": [name for name in dir(hub) if name[0] != "_" and callable(getattr(hub, name))],
        "sources": {{name: getattr(hub, name).__module__ for name in hub.options()}},
        "transformers": "transformers" in sys.modules,
    }}))
    """
    return json.loads(run_python("-c", textwrap.dedent(code)))


def toy_run(expdir, **runner):
    """Return S3PRL's arguments and configuration for a few steps of the toy task on filter banks."""
    args = Namespace(
        mode="train", evaluate_split="test", init_ckpt=None, upstream="fbank", upstream_ckpt=None,
        upstream_model_config=None, upstream_refresh=False, upstream_trainable=False, local_rank=None,
        upstream_feature_selection="hidden_states", upstream_layer_selection=None, device="cpu", seed=7,
        upstream_feature_normalize=False, downstream="toy", expdir=str(expdir), push_to_hf_hub=False,
    )  # fmt: skip
    settings = {
        "total_steps": 3, "gradient_clipping": 1.0, "gradient_accumulate_steps": 1, "log_step": 1, "eval_step": 99,
        "save_step": 1, "max_keep": 1, "eval_dataloaders": ["dev"],
    }  # fmt: skip
    optimizer = {"name": "TorchOptim", "torch_optim_name": "SGD", "lr": 0.01}
    Path(expdir).mkdir(parents=True, exist_ok=True)
    return args, {"runner": settings | runner, "optimizer": optimizer}
