"""`lid-mapmix truncation` and the latents that an evaluation keeps, on a trained run."""

import json

import numpy as np
import pytest
import soundfile
from helpers.launching import listing, run
from lid_mapmix.apps import cli
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from matplotlib.image import imread


def truncation(*flags):
    return cli.main(["truncation", *map(str, flags), "--device", "cpu"])


def cut_corpus(corpus, folder, seconds):
    """Write the test split again, each file cut to its first seconds."""
    manifest = read_manifest(corpus / "test.csv")
    columns = {name: manifest.columns[name].tolist() for name in ("class", "source")}
    columns["audiopath"] = [f"{number}.wav" for number in range(len(manifest))]
    columns["seconds"] = []
    folder.mkdir()
    for number, name in enumerate(columns["audiopath"]):
        audio, sample_rate = soundfile.read(manifest.audio_path(number), dtype="float32")
        audio = audio[: round(seconds * sample_rate)]
        soundfile.write(folder / name, audio, sample_rate)
        columns["seconds"].append(len(audio) / sample_rate)
    write_manifest(folder / "test.csv", columns)
    return folder


def test_the_curve_has_the_scores_of_files_that_are_cut(own_run, corpus, tmp_path, capsys):
    before = listing(own_run)
    assert truncation(own_run, "--seconds", "0.2,1.1,30") == 0
    out = capsys.readouterr().out
    assert "long_enough" in out
    after = listing(own_run)
    assert {name: after.pop(name) for name in ("test_truncation.json", "test_truncation.png")}
    assert after == before, "nothing else has changed"
    curve = json.loads((own_run / "test_truncation.json").read_text())
    assert curve["split"] == "test"
    assert list(curve["seconds"]) == ["0.2", "1.1", "30"]
    # Files of 1, 1.1 and 1.2 s a class.
    assert [row["long_enough"] for row in curve["seconds"].values()] == [12, 8, 0]
    assert imread(own_run / "test_truncation.png").shape[2] == 4
    for seconds in ("0.2", "1.1", "30"):
        data = cut_corpus(corpus, tmp_path / seconds, float(seconds))
        flags = ["-m", "evaluate", "-e", own_run, "-p", tmp_path / f"scores-{seconds}", "--data", data]
        assert run(*flags, "--device", "cpu") == 0
        metrics = json.loads((tmp_path / f"scores-{seconds}/test_metrics.json").read_text())
        expected, calibrated = metrics["overall"], metrics["calibrated"]["overall"]
        del expected["cllr_min"], expected["cllr_cal"]  # of the whole split only
        expected |= {f"{name}_calibrated": calibrated[name] for name in ("ece", "ece_floor", "log_loss")}
        found = {key: value for key, value in curve["seconds"][seconds].items() if key != "long_enough"}
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_curve_that_is_there_is_replaced_only_when_asked(own_run, capsys):
    (own_run / "dev_truncation.json").write_text("{}")
    before = listing(own_run)
    assert truncation(own_run, "--split", "dev", "--seconds", "0.3") == 1
    assert "exists already" in capsys.readouterr().err
    assert listing(own_run) == before
    assert truncation(own_run, "--split", "dev", "--seconds", "0.3", "--overwrite") == 0
    assert list(json.loads((own_run / "dev_truncation.json").read_text())["seconds"]) == ["0.3"]


@pytest.mark.parametrize("seconds", ["", "0", "one", "1,-2", "nan", "inf"])
def test_durations_that_are_none(seconds, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        truncation(tmp_path, "--seconds", seconds)
    assert caught.value.code == 2
    assert "expected durations" in capsys.readouterr().err


def test_no_run_there(tmp_path, capsys):
    assert truncation(tmp_path / "nowhere") == 1
    assert "no such folder" in capsys.readouterr().err
    assert truncation(tmp_path) == 1
    assert "expected states-*.ckpt or dev-best.ckpt, found neither" in capsys.readouterr().err


def test_no_such_split(own_run, capsys):
    before = listing(own_run)
    assert truncation(own_run, "--split", "never") == 1
    assert "never.csv" in capsys.readouterr().err
    assert listing(own_run) == before


def test_a_run_leaves_latents_of_its_test_split(trained, corpus):
    with np.load(trained / "test_latents.npz", allow_pickle=False) as kept:
        assert kept["ids"].tolist() == read_manifest(corpus / "test.csv").columns["id"].tolist()
        assert kept["latents"].shape[0] == 12
        assert np.isfinite(kept["latents"]).all()
    assert not (trained / "dev_latents.npz").exists()


@pytest.mark.parametrize(("most", "found"), [(0, None), (5, 5)])
def test_as_many_latents_as_are_asked_for(most, found, trained, tmp_path):
    flags = ["-m", "evaluate", "-e", trained, "-p", tmp_path / "scores", "--device", "cpu"]
    assert run(*flags, "-o", f"config.downstream_expert.evaluation.keep_latents={most}") == 0
    path = tmp_path / "scores/test_latents.npz"
    assert path.is_file() == (found is not None)
    if found is not None:
        with np.load(path, allow_pickle=False) as kept, np.load(trained / "test_latents.npz") as whole:
            assert len(kept["ids"]) == found
            rows = [whole["ids"].tolist().index(name) for name in kept["ids"]]
            assert kept["latents"].tolist() == whole["latents"][rows].tolist()


def test_averages_differ_as_asked_for(trained, tmp_path):
    window = (
        "config.downstream_expert.evaluation.window_seconds=0.4,,config.downstream_expert.evaluation.hop_seconds=0.2"
    )
    scores = {}
    for average in ("probabilities", "log_likelihoods"):
        flags = ["-m", "evaluate", "-e", trained, "-p", tmp_path / average, "--device", "cpu"]
        assert run(*flags, "-o", f"{window},,config.downstream_expert.evaluation.average={average}") == 0
        scores[average] = json.loads((tmp_path / average / "test_metrics.json").read_text())["overall"]
    assert scores["probabilities"]["cllr"] != scores["log_likelihoods"]["cllr"]
