"""bench/table.py, which trains what `make table` shows through the leaderboard's grid."""

import runpy
import sys

import yaml
from helpers.launching import ROOT
from lid_mapmix.data.labels import labels_from_manifest, write_labels
from lid_mapmix.data.manifest.manifest import read_manifest

from .conftest import SETTINGS, runs_in_process


def test_the_table_is_trained_once_and_written_between_its_marks(own_corpus, tmp_path, monkeypatch):
    write_labels(own_corpus / "labels.yaml", labels_from_manifest(read_manifest(own_corpus / "train.csv")))
    regime = {"title": "Few", "utterances": 3, "noise": 0.25, "within": False, "seeds": [0], "settings": {}}
    rows = {
        "latent_random": {"variant": "latent_random"},
        "mapmix_auto": {"variant": "mapmix_auto"},
        "cleaned": {"variant": "baseline", "data": "clean"},
    }
    settings = {**SETTINGS, "runner": {"report": False, "total_steps": 2}}
    content = {"settings": settings, "rows": rows, "regimes": {"few": regime}}
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "results.md").write_text("before\n<!-- tables -->\nold\n<!-- end of tables -->\nafter\n")
    flags = ["--data", own_corpus, "--out", tmp_path / "into", "--write", tmp_path / "results.md"]
    monkeypatch.setattr(sys, "argv", ["table.py", *map(str, [tmp_path / "table.yaml", *flags])])
    monkeypatch.syspath_prepend(ROOT / "bench")
    with runs_in_process() as made:
        runpy.run_path(str(ROOT / "bench/table.py"), run_name="__main__")
        assert [folder.parent.name for folder in made] == ["map", *rows]
        # The number of steps is that of every run but the map's, which has whole epochs.
        assert [len(list(folder.glob("states-2.ckpt"))) for folder in made[1:]] == [1, 1, 1]
        runpy.run_path(str(ROOT / "bench/table.py"), run_name="__main__")
    assert len(made) == 4
    train = read_manifest(tmp_path / "into/few/seed-0/data/train.csv").columns
    assert (train["class"] != train["true_class"]).sum() == round(0.25 * len(train["class"]))
    text = (tmp_path / "results.md").read_text()
    assert text.startswith("before\n<!-- tables -->\n\n**Few** (few, 1 of 1 seeds)\n")
    assert all(f"\n| {row} | 0." in text for row in rows)
    assert "\n| few | 1 | 0.25 | " in text
    assert "old" not in text and text.endswith("after\n")
