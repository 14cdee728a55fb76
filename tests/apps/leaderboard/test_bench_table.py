"""bench/table.py, which trains what `make table` shows through the leaderboard's grid."""

import runpy
import sys

import yaml
from helpers.launching import ROOT
from lid_mapmix.data.labels import labels_from_manifest, write_labels
from lid_mapmix.data.manifest.manifest import read_manifest

from .conftest import SETTINGS, runs_in_process


def test_the_table_is_trained_and_written_between_its_marks(own_corpus, tmp_path, monkeypatch):
    write_labels(own_corpus / "labels.yaml", labels_from_manifest(read_manifest(own_corpus / "train.csv")))
    regime = {"title": "Few", "utterances": 3, "steps": 2, "seeds": [0], "reference": "baseline", "settings": SETTINGS}
    runs = {"baseline": {"variant": "baseline"}, "mapmix": {"variant": "mapmix", "settings": {"epochs": 2}}}
    (tmp_path / "table.yaml").write_text(yaml.safe_dump({"few": {**regime, "runs": runs}}))
    (tmp_path / "results.md").write_text("before\n<!-- tables -->\nold\n<!-- end of tables -->\nafter\n")
    flags = ["--data", own_corpus, "--out", tmp_path / "into", "--write", tmp_path / "results.md"]
    monkeypatch.setattr(sys, "argv", ["table.py", *map(str, [tmp_path / "table.yaml", *flags])])
    with runs_in_process() as made:
        runpy.run_path(str(ROOT / "bench/table.py"), run_name="__main__")
    assert len(made) == 3
    # The regime's number of steps is that of every run but for the map's.
    assert [len(list(folder.glob("states-2.ckpt"))) for folder in made if "runs" in folder.parts] == [1, 1]
    text = (tmp_path / "results.md").read_text()
    assert text.startswith("before\n<!-- tables -->\n\nFew: 1 seeds, 2 optimizer steps per run, 3 training")
    assert "\n| mapmix | 0." in text and "old" not in text and text.endswith("after\n")
