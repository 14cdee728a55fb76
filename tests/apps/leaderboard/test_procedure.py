"""A whole grid: what is trained, what is not trained again, what fails, and what the tables then say."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from helpers.launching import listing
from lid_mapmix.apps import cli
from lid_mapmix.apps.leaderboard import procedure, running
from lid_mapmix.apps.leaderboard.command import make_leaderboard_parser
from lid_mapmix.apps.leaderboard.grid import read_grid
from lid_mapmix.apps.leaderboard.jobs import _merged, make_jobs
from lid_mapmix.apps.leaderboard.state import STATE_NAME, Status, read_state
from lid_mapmix.apps.settings.arguments import make_parser
from lid_mapmix.apps.settings.from_flags import new_settings
from lid_mapmix.scoring.files.own import read_scores
from reference import classification
from reference.calibration import expected_calibration_error

from .conftest import SETTINGS, leaderboard, runs_in_process, write_grid

LRE17 = {"downstream_expert": {"mapmix": {"class_similarity": "lre17"}}}
TINY = {"upstream": "hf_wav2vec2_custom", "weights": "nowhere", "made_by": "touch made\ntwice"}


def read_rows(folder):
    with (folder / "leaderboard.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_is_trained_and_data_maps_are_shared(finished):
    bench, made = finished
    folder = bench.parent / "grid"
    assert len(made) == len(set(made)) == 12
    assert len(list(folder.glob("runs/*/*/*/test_scores.csv"))) == 8
    assert len(list(folder.glob("maps/*/*/datamap.csv"))) == 4
    for upstream in ("fbank", "mfcc"):
        for seed in (0, 1):
            state = read_state(folder / "runs" / upstream / "mapmix" / f"corpus-seed-{seed}")
            assert (folder / state.datamap / "datamap.csv").is_file()
            assert state.datamap.startswith(f"maps/{upstream}/corpus-seed-{seed}-")
            assert state.attempts == 1


def test_the_tables_hold_means_and_deviations_over_seeds(finished):
    bench, _ = finished
    folder = bench.parent / "grid"
    rows = read_rows(folder)
    assert [(row["upstream"], row["variant"]) for row in rows] == [
        *(("fbank", "baseline"), ("fbank", "mapmix"), ("mfcc", "baseline"), ("mfcc", "mapmix"))
    ]
    for row in rows:
        runs = [folder / "runs" / row["upstream"] / row["variant"] / f"corpus-seed-{seed}" for seed in (0, 1)]
        scores = [read_scores(run / "test_scores.csv") for run in runs]
        expected = {
            "acc": [float((one.predictions == one.truth).mean()) for one in scores],
            "wf1": [classification.weighted_f1(one.predictions.tolist(), one.truth.tolist()) for one in scores],
            "ece": [expected_calibration_error(one.probabilities, one.truth_indices) for one in scores],
        }
        kept = [json.loads((run / "test_metrics.json").read_text()) for run in runs]
        expected["c_primary"] = [one["overall"]["c_primary"] for one in kept]
        expected["log_loss"] = [one["overall"]["log_loss"] for one in kept]
        expected["log_loss_calibrated"] = [one["calibrated"]["overall"]["log_loss"] for one in kept]
        for name, values in expected.items():
            assert float(row[name]) == pytest.approx(np.mean(values), abs=1e-6), name
            assert float(row[f"{name}_sd"]) == pytest.approx(abs(values[0] - values[1]) / 2**0.5, abs=1e-6), name
        counts = json.loads((runs[0] / "parameters.json").read_text())
        assert int(row["parameters"]) == counts["downstream"]["parameters"] > 1000
        own = [read_state(run) for run in runs]
        maps = [read_state(folder / state.datamap).seconds if state.datamap else 0.0 for state in own]
        seconds = [state.seconds + more for state, more in zip(own, maps, strict=True)]
        assert float(row["seconds"]) == pytest.approx(np.mean(seconds))
    assert "| mapmix | paper, XLSR | 0.677 | 0.658 | 0.958 | 0.067 |" in (folder / "leaderboard.md").read_text()


def test_what_is_complete_is_not_made_again(finished, capsys):
    bench, _ = finished
    before = listing(bench.parent / "grid/runs")
    with runs_in_process() as made:
        assert leaderboard(bench, "--samples", 50, "--paper") == 0
    assert made == []
    assert listing(bench.parent / "grid/runs") == before
    assert "| fbank | mapmix |" in capsys.readouterr().out


def test_a_dry_run_tells_steps_and_writes_nothing(finished, corpus, tmp_path, capsys):
    bench, _ = finished
    before = listing(bench.parent)
    assert leaderboard(bench, "--dry-run", "--seeds", "0,1") == 0
    assert "8 runs and 4 data maps; 0 remain" in capsys.readouterr().out
    assert listing(bench.parent) == before
    # A seed more.
    more = write_grid(tmp_path, corpus, out=str(bench.parent / "grid"), seeds=[0, 1, 2], upstreams=["fbank"])
    assert leaderboard(more, "--dry-run", "--jobs", 2) == 0
    printed = capsys.readouterr().out
    # 32 utterances in batches of 8, or of 16 in the baseline.
    lines = [line.split() for line in printed.splitlines()]
    steps = {line[1].partition("-")[0]: line[6] for line in lines if line[0] == "fbank" and line[4] == "2"}
    assert steps == {"baseline": "2", "datamap": "4", "mapmix": "4"}
    assert "6 runs and 3 data maps; 3 remain, with at most 10 steps" in printed
    assert leaderboard("--upstreams", "fbank", "--variants", "static", "--data", corpus, "--seeds", 0, "--dry-run") == 0
    assert [line.split()[5:] for line in capsys.readouterr().out.splitlines()[1:2]] == [["absent", "200", "0", "s"]]


def test_a_run_that_fails_is_tried_twice_and_the_rest_is_made(corpus, tmp_path, capsys):
    variants = {"steep": {"variant": "baseline", "settings": {"optimizer": {"lr": 1e30}}}, "baseline": {}}
    bench = write_grid(tmp_path, corpus, upstreams=["fbank"], variants=variants, seeds=[0])
    with runs_in_process() as made:
        assert leaderboard(bench, "--samples", 10) == 1
    assert [folder.parent.name for folder in made] == ["steep", "steep", "baseline"]
    *said, error = capsys.readouterr().err.splitlines()
    assert "fbank steep corpus seed 0: failed, trying again: " in said[0] and "diverged" in said[0]
    assert error.startswith("error: 1 of 2 runs failed, the first: runs/fbank/steep/corpus-seed-0: ")
    assert "diverged" in error
    rows = {row["variant"]: row for row in read_rows(tmp_path / "grid")}
    assert rows["steep"]["acc"] == "" and rows["steep"]["complete"] == "0"
    assert 0 <= float(rows["baseline"]["acc"]) <= 1
    assert "diverged" in (tmp_path / "grid/leaderboard.html").read_text()
    # Nothing came of it, and nothing has to be deleted once its settings are mended.
    variants["steep"]["settings"]["optimizer"]["lr"] = 1e-3
    with runs_in_process() as made:
        assert leaderboard(write_grid(tmp_path, corpus, upstreams=["fbank"], variants=variants, seeds=[0])) == 0
    assert [folder.parent.name for folder in made] == ["steep"]


def test_a_run_whose_data_map_fails_is_reported(corpus, tmp_path, capsys):
    variants = {"steep": {"variant": "mapmix", "settings": {"optimizer": {"lr": 1e30}}}}
    bench = write_grid(tmp_path, corpus, upstreams=["fbank"], variants=variants, seeds=[0])
    with runs_in_process() as made:
        assert leaderboard(bench, "--samples", 10) == 1
    assert [folder.parents[1].name for folder in made] == ["maps", "maps"]
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: 1 of 1 runs failed, the first: runs/fbank/steep/corpus-seed-0: its data map failed")


def test_data_that_changes_under_way_is_not_taken_for_what_it_was(own_corpus, tmp_path, monkeypatch, capsys):
    bench = write_grid(tmp_path, own_corpus, upstreams=["fbank"], variants=["baseline"], seeds=[0, 1])
    made = []

    def spoil(command, output, *_):
        made.append(output.parent.name)
        lines = (own_corpus / "train.csv").read_text().splitlines()
        (own_corpus / "train.csv").write_text("\n".join(lines[:-1]) + "\n")
        return 0

    monkeypatch.setattr(running, "run_process", spoil)
    assert leaderboard(bench, "--samples", 10) == 1
    said = "fbank baseline corpus seed 1: failed: .*train.csv: changed since the leaderboard started"
    assert re.search(said, capsys.readouterr().err)
    # And the run that was made before is not one of what is there now.
    assert leaderboard(bench, "--samples", 10) == 1
    assert "corpus-seed-0: expected a run with the same manifests, found another" in capsys.readouterr().err
    assert made == ["corpus-seed-0"]


def test_runs_that_nobody_has_made_are_no_success(finished, corpus, tmp_path, monkeypatch, capsys):
    """As where the jobs of a cluster ended before their time."""
    monkeypatch.setattr(procedure, "_train", lambda *_: None)
    more = write_grid(tmp_path, corpus, out=str(finished[0].parent / "grid"), seeds=[0, 2], upstreams=["fbank"])
    copy = shutil.copytree(finished[0].parent / "grid", tmp_path / "grid")
    assert leaderboard(more, "--out", copy, "--samples", 10) == 1
    assert "2 of 4 runs are not complete, the first: runs/fbank/baseline/corpus-seed-2" in capsys.readouterr().err
    assert leaderboard(more, "--out", copy, "--samples", 10, "--no-training") == 0


def test_a_complete_run_whose_scores_are_gone_is_told_beside_the_others(finished, corpus, tmp_path, capsys):
    copy = shutil.copytree(finished[0].parent / "grid", tmp_path / "grid")
    (copy / "runs/mfcc/baseline/corpus-seed-1/test_scores.csv").unlink()
    assert leaderboard(finished[0], "--out", copy, "--samples", 10, "--no-training") == 1
    error = capsys.readouterr().err
    assert "1 of 8 runs failed, the first: runs/mfcc/baseline/corpus-seed-1: " in error
    assert "test_scores.csv" in error and "Delete the folder" in error
    rows = {(row["upstream"], row["variant"]): row for row in read_rows(copy)}
    assert rows["mfcc", "baseline"]["complete"] == "1" and rows["fbank", "baseline"]["complete"] == "2"


def test_runs_of_other_settings_are_not_shown_for_those_of_the_grid(finished, corpus, tmp_path, capsys):
    settings = {**SETTINGS, "optimizer": {"lr": 1e-3}}
    variants = {"baseline": {}, "mapmix": {"settings": settings}}
    bench = write_grid(tmp_path, corpus, variants=variants)
    copy = shutil.copytree(finished[0].parent / "grid", tmp_path / "grid")
    assert leaderboard(bench, "--samples", 10, "--no-training") == 1
    assert "4 of 8 runs failed, the first: runs/fbank/mapmix/corpus-seed-0: " in capsys.readouterr().err
    assert {row["variant"]: row["complete"] for row in read_rows(copy)} == {"baseline": "2", "mapmix": "0"}


def test_a_folder_that_holds_another_run_is_refused_before_anything_is_trained(finished, corpus, tmp_path, capsys):
    bench, _ = finished
    grid = shutil.copytree(bench.parent / "grid", tmp_path / "grid")
    state = json.loads((grid / "runs/mfcc/baseline/corpus-seed-1" / STATE_NAME).read_text())
    state["request"]["manifests"]["train.csv"] = "another"
    (grid / "runs/mfcc/baseline/corpus-seed-1" / STATE_NAME).write_text(json.dumps(state))
    with runs_in_process() as made:
        assert leaderboard(write_grid(tmp_path, corpus)) == 1
    assert made == []
    assert "corpus-seed-1: expected a run with the same manifests, found another" in capsys.readouterr().err


def test_variants_that_ask_for_the_same_map_share_it_and_others_do_not(corpus, tmp_path, capsys):
    other = {"variant": "mapmix", "settings": {"downstream_expert": {"data": {"crop_seconds": 0.4}}}}
    variants = {"mapmix": {}, "amb_easy": {}, "easy": {}, "short": other, "latent_random": {}}
    bench = write_grid(tmp_path, corpus, upstreams=["fbank"], variants=variants, seeds=[3])
    assert leaderboard(bench, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "5 runs and 2 data maps" in printed
    titles = [line.partition(" seed ")[0] for line in printed.splitlines() if " datamap-" in line]
    assert len(set(titles)) == 2
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize(
    ("changes", "flags", "says"),
    [
        ({"seed": [1]}, (), "seed: Unexpected keyword argument"),
        ({"seeds": []}, (), "expected seeds, found none"),
        ({"seeds": [1, 1]}, (), "expected different seeds"),
        ({"variants": ["baseline", "baseline"]}, (), "variants: expected different names"),
        ({"upstreams": {"fbank": {"variants": []}}}, (), "upstreams.fbank.variants: expected variants"),
        ({"upstreams": {"my bank": {"upstream": "fbank"}}}, (), "Rename it in BENCH.yaml"),
        ({"upstreams": {"../x": {}}}, (), "expected names of letters"),
        ({"upstreams": {"fbank": {"variants": ["none"]}}}, (), "upstreams.fbank.variants: expected some of"),
        ({"upstreams": {"fbank": {"weight": "x"}}}, (), "upstreams.fbank.weight"),
        ({"variants": ["nothing"]}, (), "-v nothing: expected one of"),
        ({"data": ["nowhere"]}, (), "expected train.csv, found none"),
        ({}, ("--upstreams", "hubert"), "--upstreams hubert: "),
        (
            {"settings": {"runner": {"total_stps": 3}}},
            (),
            "fbank baseline: configuration: unknown key runner.total_stps",
        ),
        ({"settings": {"downstream_expert": {"epoch": 3}}}, (), "fbank baseline: configuration: unknown key"),
        ({"upstreams": ["fbnk"]}, (), "fbnk baseline: unknown upstream"),
        ({"variants": {"mapmix": {"settings": LRE17}}}, (), "fbank mapmix: "),
        (
            {"upstreams": {"tiny": TINY}},
            (),
            "tiny baseline: weights: expected nowhere, found no such file or folder. Make",
        ),
        ({}, ("-c", "nowhere.yaml"), "nowhere.yaml: no such configuration file"),
        ({}, ("--out", __file__), "expected a folder, found the file"),
        ({}, ("--devices", "cpu,gpu0"), "--device gpu0: expected cuda"),
        ({}, ("--no-training",), "expected runs of the grid, found none complete"),
    ],
)
def test_a_grid_that_cannot_be_trained_is_one_line(changes, flags, says, corpus, tmp_path, capsys):
    bench = write_grid(tmp_path, corpus, **changes)
    with runs_in_process() as made:
        assert leaderboard(bench, *flags) == 1
    assert made == []
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and error[0].startswith("error: ")
    assert says in error[0]


def test_how_missing_weights_are_made_is_said_and_not_done(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bench = write_grid(tmp_path, corpus, upstreams={"tiny": TINY})
    assert leaderboard(bench) == 1
    assert capsys.readouterr().err.endswith("Make it by: touch made twice\n")
    assert [*tmp_path.iterdir()] == [bench]


def test_settings_by_a_flag_count_as_those_of_run(corpus, tmp_path):
    """Over the defaults, the variant and the upstream, which has 1e-3; below what makes the rows of a grid differ."""
    own = tmp_path / "own.yaml"
    own.write_text("optimizer: {lr: 2.0e-3}\ndownstream_expert: {mapmix: {alpha: 0.4}}\n")
    flags = ["--upstreams", "fbank", "--variants", "mapmix", "--seeds", "0"]
    options = make_leaderboard_parser().parse_args([*flags, "--data", str(corpus), "-c", str(own)])
    job = make_jobs(read_grid(options))[-1]
    as_run = new_settings(make_parser("").parse_args([*job.flags, "-c", str(own), "-p", str(tmp_path)]))
    found = _merged(job.flags, job.settings)
    assert found.optimizer == as_run.optimizer and found.optimizer["lr"] == 2e-3
    assert found.task == as_run.task and found.task.mapmix.alpha == 0.4
    variants = {
        "mapmix": {},
        "flat": {"variant": "mapmix", "settings": {"downstream_expert": {"mapmix": {"alpha": 1.0}}}},
    }
    bench = write_grid(tmp_path, corpus, variants=variants, settings={**SETTINGS, "optimizer": {"lr": 5e-3}})
    jobs = make_jobs(read_grid(make_leaderboard_parser().parse_args([str(bench), *flags[:2], "-c", str(own)])))
    found = {job.run.variant: _merged(job.flags, job.settings) for job in jobs if job.run is not None}
    assert {name: (one.optimizer["lr"], one.task.mapmix.alpha) for name, one in found.items()} == {
        "mapmix": (2e-3, 0.4),
        "flat": (2e-3, 1.0),
    }
    assert all(one.task.epochs == SETTINGS["downstream_expert"]["epochs"] for one in found.values())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("x.yaml", "--dry-run", "--no-training"), "--dry-run and --no-training exclude each other"),
        (("x.yaml", "--dry-run", "--bundle", "x.zip"), "remove --bundle"),
        (("x.yaml", "--dry-run", "--table", "x.tex"), "remove --table"),
        (("x.yaml", "--table", "x.csv"), "ends in .tex or .md"),
    ],
)
def test_a_flag_that_would_be_passed_over_is_refused(flags, says, capsys):
    with pytest.raises(SystemExit) as exit_:
        leaderboard(*flags)
    assert exit_.value.code == 2
    assert says in capsys.readouterr().err


def test_a_status_for_every_state():
    assert {status.value for status in Status} == {"absent", "running", "complete", "failed"}


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["leaderboard", "--help"])
    assert exit_.value.code == 0
    assert "lid-mapmix leaderboard bench/demo.yaml" in capsys.readouterr().out
