"""``lid_mapmix.s3prl``: what makes S3PRL importable, for scripts and modules that know nothing of this package."""

import runpy
import sys

import pytest
from helpers.launching import ROOT, run_python

SCRIPT = """
import sys
import lid_mapmix.s3prl
import s3prl
from s3prl.nn import Featurizer, S3PRLUpstream
from s3prl.util.audio_info import get_audio_info
from s3prl.util.pseudo_data import pseudo_audio
import torch

model = S3PRLUpstream("fbank")
features, lengths = model(torch.randn(2, 16000), torch.tensor([16000, 8000]))
with pseudo_audio([0.3, 0.2]) as (paths, frames):
    found = [header["num_frames"] for header in get_audio_info(paths, ["a", "b"], cache_dir=sys.argv[1], num_workers=2)]
assert found == frames
print(s3prl.__name__, lid_mapmix.s3prl.__name__, features[0].shape[-1], lengths[0].tolist())
"""


def test_import_before_s3prl_is_enough_for_its_interface_and_its_workers(tmp_path):
    # In a fresh process: S3PRL is imported there by nothing else, and its workers are fresh as well.
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = run_python(script, tmp_path, path=[ROOT / "downstream"])
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "s3prl lid_mapmix.s3prl 240 [100, 50]"


@pytest.mark.parametrize("how", [["tool.py"], ["-m", "tool"], ["tool"]])
def test_a_script_or_a_module_runs_as_python_runs_it(how, tmp_path, monkeypatch, capsys):
    (tmp_path / "tool.py").write_text(
        "import sys, torchaudio, s3prl.hub as hub\n"
        "print(__name__, hub.fbank and torchaudio.info.__name__, *sys.argv[1:])"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "argv", ["s3prl.py", *how, "-m", "train"])
    runpy.run_module("lid_mapmix.s3prl", run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == "__main__ info -m train"


@pytest.mark.parametrize("given", [[], ["-m"], ["gone.py"], ["gone"], ["."], ["-m", "gone.tool"], ["--help"]])
def test_a_missing_script_is_asked_for(given, monkeypatch, tmp_path):
    """A misspelt name was a traceback of runpy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "argv", ["s3prl.py", *given])
    with pytest.raises(SystemExit, match="expected a script"):
        runpy.run_module("lid_mapmix.s3prl", run_name="__main__")
