"""``from lid_mapmix import train, evaluate, score, DataMap, Identifier``: what the commands do, from Python."""

import json
import subprocess
import sys

import lid_mapmix
import numpy as np
import pytest
from helpers.launching import ROOT
from helpers.synthetic import CLASSES, SIZES
from lid_mapmix import DataMap, Identifier, Scores, UserError, evaluate, score, train

QUICK = {
    "epochs": 2,
    "datamap": {"epochs": 2},
    "data": {"crop_seconds": 0.5, "workers": 0},
    "model": {"encoder": "none"},
    "evaluation": {"bootstrap_samples": 50},
}
SETTINGS = {"downstream_expert": QUICK, "runner": {"report": False}}


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    return train(corpus, out=tmp_path_factory.mktemp("api") / "run", device="cpu", seed=3, **SETTINGS)


def test_train_returns_the_run_with_its_scores(run):
    assert run.checkpoint == run.folder / "dev-best.ckpt"
    assert run.checkpoint.is_file()
    assert set(run.scores) == {"dev", "test"}
    kept = json.loads((run.folder / "test_metrics.json").read_text())
    test = run.scores["test"]
    assert test.overall == kept["overall"]
    assert test.overall["count"] == SIZES["test"] * len(CLASSES)
    assert test.intervals["acc"].low <= test.overall["acc"] <= test.intervals["acc"].high
    assert test.calibrated["ece"] == kept["calibrated"]["overall"]["ece"]
    assert set(test.slices["class"]) == set(CLASSES)


def test_settings_are_those_of_the_configuration(run):
    kept = next(run.folder.glob("config_*.yaml")).read_text()
    assert "crop_seconds: 0.5" in kept


def test_evaluate_gives_the_scores_of_the_training_command(run):
    again = evaluate(run, "test", device="cpu")
    assert again.overall == pytest.approx(run.scores["test"].overall)
    assert evaluate(run.folder, "dev", device="cpu").overall["acc"] == run.scores["dev"].overall["acc"]


def test_score_agrees_with_the_run(run):
    scores = score(run.folder / "test_scores.csv", by=["cluster"], samples=20)
    assert isinstance(scores, Scores)
    assert scores.overall["acc"] == run.scores["test"].overall["acc"]
    assert scores.overall["ece"] == pytest.approx(run.scores["test"].overall["ece"], abs=1e-6)
    assert set(scores.slices["cluster"]) == {name.partition("-")[0] for name in CLASSES}
    assert not score(run.folder / "test_scores.csv", samples=0).intervals


def test_data_map_has_a_value_per_training_utterance(run, tmp_path):
    datamap = DataMap.read(run)
    count = SIZES["train"] * len(CLASSES)
    columns = datamap.columns()
    assert {values.shape for values in columns.values()} == {(count,)}
    assert set(columns) > {"ids", "classes", "regions", "confidence", "variability", "correctness"}
    assert set(datamap.regions) <= {"easy", "ambiguous", "hard"}
    np.testing.assert_array_equal(datamap.epochs, 2)
    from_file = DataMap.read(run.folder / "datamap/datamap.csv")
    np.testing.assert_array_equal(from_file.confidence, datamap.confidence)
    datamap.plot(tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_identifier_reads_the_run(run, corpus):
    audio = next((corpus / "audio").rglob("*.wav"))
    assert Identifier.from_pretrained(run.folder, "cpu", detect_speech=False).file(audio).label in CLASSES


def test_faults_are_user_errors(run, corpus, tmp_path):
    for call, expected in (
        (lambda: train(corpus, out=run.folder, device="cpu"), "already holds a run"),
        (lambda: train(corpus, out=tmp_path / "x", seed=-1), "seed"),
        (lambda: train(corpus, out=tmp_path / "x", resume=True, overwrite=True), "resume and overwrite"),
        (lambda: train(corpus, out=tmp_path / "x", optimiser={"lr": 1}), "optimiser"),
        (lambda: train(corpus, "no_such_upstream", out=tmp_path / "x"), "no_such_upstream"),
        (lambda: train(corpus, variant="no_such_variant", out=tmp_path / "x"), "no_such_variant"),
        (lambda: evaluate(tmp_path), "found neither"),
        (lambda: score(tmp_path / "none.csv"), "none.csv"),
        (lambda: DataMap.read(tmp_path), "data map"),
    ):
        with pytest.raises(UserError, match=expected):
            call()
    assert not (tmp_path / "x").exists()


def test_public_names_are_imported_when_they_are_used():
    assert set(lid_mapmix.__all__) < set(dir(lid_mapmix))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lid_mapmix.nothing  # noqa: B018
    code = "import sys, lid_mapmix; print(lid_mapmix.__version__, 'torch' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "downstream", capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == [lid_mapmix.__version__, "False"]
