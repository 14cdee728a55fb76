"""The notebooks of examples/ and the example of docs/python.md run: as scripts, with the parameters of a test."""

import json
import re
import runpy
import shutil

import pytest
from helpers.launching import ROOT

EXAMPLES = ROOT / "examples"
TRAINING = {
    "downstream_expert": {
        "epochs": 1,
        "datamap": {"epochs": 2},
        "data": {"crop_seconds": 0.5, "workers": 0},
        "model": {"encoder": "none"},
        "evaluation": {"bootstrap_samples": 20},
    },
    "runner": {"report": False},
}


@pytest.fixture(autouse=True)
def no_windows(monkeypatch):
    import matplotlib as mpl

    mpl.use("agg")


def run(name, parameters, folder):
    """Run a notebook, the cell with the tag "parameters" replaced by others, and return its names."""
    cells = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    replaced = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert all(f"\n{one} = " in "\n" + "".join(replaced[0]["source"]) for one in parameters)
    script = folder / "notebook.py"
    script.write_text("\n\n".join("".join(cell["source"]) for cell in code if cell not in replaced), encoding="utf-8")
    return runpy.run_path(str(script), init_globals=parameters)


def test_train_and_read_a_data_map(corpus, tmp_path, capsys):
    names = run(
        "train_and_read_a_data_map.ipynb", {"DATA": corpus, "OUT": tmp_path / "run", "SETTINGS": TRAINING}, tmp_path
    )
    assert (tmp_path / "run/datamap/datamap.csv").is_file()
    assert len(names["datamap"].confidence) == 32
    assert "chance: 0.250" in capsys.readouterr().out


def test_score_another_system(tmp_path, capsys):
    systems = run("score_another_system.ipynb", {"UTTERANCES": 200, "SAMPLES": 50}, tmp_path)["systems"]
    # What the notebook says of them.
    assert systems["second"].overall["acc"] > systems["first"].overall["acc"]
    assert systems["second"].overall["log_loss"] > systems["first"].overall["log_loss"]
    assert systems["second"].overall["cllr"] > systems["first"].overall["cllr"]
    assert "McNemar" in capsys.readouterr().out


def test_the_example_of_the_documentation(corpus, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text(), re.MULTILINE | re.DOTALL)
    script = tmp_path / "example.py"
    code = code.replace('"epochs": 16', '"epochs": 1, "datamap": {"epochs": 2}, "model": {"encoder": "none"}')
    script.write_text(code.replace('upstream="fbank"', 'upstream="fbank", runner={"report": False}'))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/demo").symlink_to(corpus)
    shutil.copy(next((corpus / "audio").rglob("*.wav")), tmp_path / "recording.wav")
    monkeypatch.chdir(tmp_path)
    assert runpy.run_path(str(script))["run"].scores["test"].overall["count"] == 12
    assert (tmp_path / "datamap.png").is_file()
    assert "ambiguous, mean confidence" in capsys.readouterr().out


def test_each_notebook_is_run():
    text = (ROOT / "tests/test_examples.py").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.ipynb") if f'"{path.name}"' not in text] == []
