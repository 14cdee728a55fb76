import importlib.util
import sys

import pytest
from helpers.launching import ROOT, run_python
from host.conftest import COMPAT
from lid_mapmix.host import compat


@pytest.mark.parametrize("what", ["audio backend", "sox effects", "HfFolder", "Repository", "load", "hub", "runner"])
def test_what_fails_on_todays_stack_works_once_mended(stock, what):
    assert stock["before"][what] is not None, "no longer a fault on this stack: the mend may go"
    assert stock["after"][what] is None


def test_mending_twice_changes_nothing(stock):
    assert stock["same"]


def test_mending_imports_neither_transformers_nor_s3prl(stock):
    assert not [name for name in stock["imported"] if name.startswith(("transformers", "s3prl"))]


def test_what_is_gone_for_good_says_so_when_used(stock):
    for message in stock["used"].values():
        assert "was removed from this version" in message and "\n" not in message


def test_file_alone_runs_a_script_on_the_mended_stack(tmp_path, python):
    (tmp_path / "beside.py").write_text("WORD = 'found'")
    script = tmp_path / "run_downstream.py"
    script.write_text(
        "import sys, beside\n"
        "from torchaudio.sox_effects import apply_effects_file\n"
        "from huggingface_hub import HfApi, HfFolder, Repository\n"
        "print(__name__, beside.WORD, *sys.argv[1:], 'lid_mapmix' in sys.modules)\n"
    )
    assert python(COMPAT, script, "-m", "train") == "__main__ found -m train False"


def test_a_package_that_s3prl_imports_and_does_not_use_may_be_missing(monkeypatch):
    compat.apply()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("librosa", "catalyst")]:
        monkeypatch.delitem(sys.modules, name)  # where it is installed, another test may have imported it
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in ("librosa", "catalyst") else find_spec(name, *a)
    )
    for task, module, name in (
        ("voxceleb1", "dataset", "find_files"),
        ("speech_commands", "expert", "DistributedSamplerWrapper"),
    ):
        path = f"s3prl.downstream.{task}"
        monkeypatch.delitem(sys.modules, f"{path}.{module}", raising=False)
        compat.import_without_unused(path)
        assert not {"librosa", "catalyst"} & set(sys.modules)
        with pytest.raises(ModuleNotFoundError, match=r"librosa|catalyst"):
            getattr(sys.modules[f"{path}.{module}"], name)("folder")


USED = """
import sys
import lid_mapmix.expert, lid_mapmix.inference.identifier
from lid_mapmix.host import compat, runner
runner.prepare()
runner._patched_class()
compat.import_without_unused("s3prl.downstream.specaug")
slow = {"tensorboard", "requests", "huggingface_hub.hf_api", "pandas", "sklearn", "matplotlib"}
slow |= {f"scipy.{part}" for part in ("optimize", "signal", "sparse", "special", "stats")}
print("imported:", *slow & sys.modules.keys())
import huggingface_hub, requests
from torch.utils.tensorboard import SummaryWriter
print(requests.get.__module__, SummaryWriter.__module__, huggingface_hub.HfApi.__module__)
"""


def test_what_is_not_used_is_not_imported():
    done = run_python("-c", USED, path=[ROOT / "downstream"])
    whole = "requests.api torch.utils.tensorboard.writer huggingface_hub.hf_api"
    assert done.stdout.splitlines() == ["imported:", whole], done.stderr
