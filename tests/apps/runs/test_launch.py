"""Whole runs of ``run_downstream.py``: S3PRL's own runner, filter banks, a tiny corpus."""

import csv
import json
import re
import shutil
import signal

import pytest
import torch
import yaml
from helpers.forking import run_forked
from helpers.killing import train_and_die
from helpers.launching import (
    ROOT,
    assert_same_files,
    assert_same_weights,
    interrupt_at,
    last_checkpoint,
    listing,
    overrides,
    run,
    run_python,
    train,
    weights,
)
from helpers.synthetic import CLASSES, hum, make_corpus
from lid_mapmix import expert
from lid_mapmix.apps import cli
from lid_mapmix.apps.runs import procedure
from lid_mapmix.config import settings as settings_module
from lid_mapmix.config.sources import variant_names
from lid_mapmix.scoring.metrics import SUMMARY
from lid_mapmix.utils.run_folder import RunFolder

RESULTS = ("dev_scores.csv", "test_scores.csv", "dev_metrics.json", "test_metrics.json")
# Six batches an epoch on the ambiguous utterances, eight for a data map, and checkpoints that fall within epochs.
SMALL_BATCHES = {"downstream_expert.data.batch_size": 4}
WITHIN_EPOCHS = SMALL_BATCHES | {"runner.save_step": 3}


def test_one_command_leaves_everything_a_run_is_to_leave(trained):
    for name in ("dev-best.ckpt", "states-6.ckpt", "log.log", *RESULTS):
        assert (trained / name).is_file(), name
    for folder in (trained, trained / "datamap"):
        for pattern in ("dev_predict.txt", "dev_truth.txt", "*tfevents*", "config_*.yaml", "args_*.yaml"):
            assert list(folder.glob(pattern)), pattern
    for name in ("datamap.csv", "class_similarity.csv", "dynamics/epoch-0001.npz", "dev-best.ckpt"):
        assert (trained / "datamap" / name).is_file(), name
    assert (trained / "test_predict.txt").is_file()
    assert not list(trained.rglob("*.part"))


def test_scores_have_a_row_an_utterance_and_a_column_a_class(trained, corpus):
    with (trained / "test_scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (corpus / "test.csv").open(newline="") as file:
        assert {row["id"] for row in rows} == {row["audiopath"] for row in csv.DictReader(file)}
    for row in rows:
        log_probabilities = torch.tensor([float(row[name]) for name in CLASSES], dtype=torch.float64)
        assert log_probabilities.exp().sum().item() == pytest.approx(1, abs=1e-6)
        assert row["prediction"] == CLASSES[int(log_probabilities.argmax())]
    truth = (trained / "test_truth.txt").read_text().splitlines()
    assert truth == [f"{row['id']} {row['id'].split('/')[-1].rsplit('-', 1)[0]}" for row in rows]


def test_metrics_count_the_utterances(trained):
    metrics = json.loads((trained / "test_metrics.json").read_text())
    assert metrics["overall"]["count"] == 12
    assert {*SUMMARY, "eer", "c_primary", "c_primary_min", "cllr", "targets", "count"} <= set(metrics["overall"])
    assert set(metrics["by_cluster"]) == {"xaa", "ybb"}
    assert set(metrics["by_source"]) == {"hum"}


def test_the_data_map_has_a_row_an_utterance_of_the_manifest(trained, corpus):
    rows = [
        list(csv.DictReader((path).open(newline="")))
        for path in (trained / "datamap/datamap.csv", corpus / "train.csv")
    ]
    assert [row["audiopath"] for row in rows[0]] == [row["audiopath"] for row in rows[1]]
    assert {row["epochs"] for row in rows[0]} == {"2"}
    assert {row["region"] for row in rows[0]} == {"easy", "ambiguous", "hard"}


def test_saved_settings_name_the_run(trained):
    args = yaml.safe_load(next(trained.glob("args_*.yaml")).read_text())
    config = yaml.safe_load(next(trained.glob("config_*.yaml")).read_text())
    assert (args["downstream_variant"], args["upstream"], args["expdir"]) == ("mapmix", "fbank", str(trained))
    assert config["runner"]["total_steps"] == 6
    assert config["downstream_expert"]["mapmix"]["datamap"] == str(trained / "datamap" / "datamap.csv")
    assert config["downstream_expert"]["labels"] == {"xaa": list(CLASSES[:2]), "ybb": list(CLASSES[2:])}


def test_both_stages_start_from_the_same_fresh_weights(corpus, tmp_path):
    # With a learning rate of nothing a run ends where it started.
    assert train(corpus, tmp_path / "run", settings={"optimizer.lr": 1e-30}) == 0
    stage, main = weights(last_checkpoint(tmp_path / "run/datamap")), weights(last_checkpoint(tmp_path / "run"))
    assert all(torch.allclose(stage[name], main[name], atol=1e-20) for name in main)


@pytest.mark.parametrize("variant", variant_names())
def test_every_variant_trains(variant, corpus, tmp_path, capsys):
    # Each class of four has an utterance in eight that is hard.
    hard = {"downstream_expert.datamap.hard_fraction": 0.125}
    assert train(corpus, tmp_path / "run", "-v", variant, settings=hard) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^test +\d\.\d{3}", printed, re.MULTILINE)
    staged = variant in {"easy", "hard", "amb_easy", "mapmix", "mapmix_auto"}
    assert (tmp_path / "run/datamap").is_dir() == staged
    assert (tmp_path / "run/datamap.csv").is_file() == (variant == "datamap")
    assert ("stage 2 of 2" in printed) == staged


def test_a_map_made_before_is_used_and_none_is_made(trained, corpus, tmp_path):
    settings = {"downstream_expert.mapmix.datamap": trained / "datamap/datamap.csv"}
    assert train(corpus, tmp_path / "run", settings=settings) == 0
    assert not (tmp_path / "run/datamap").exists()
    assert_same_weights(tmp_path / "run", trained)


# A folder that holds a run ------------------------------------------------------------------------------------------


def test_a_second_call_is_refused_and_changes_nothing(trained, corpus, capsys):
    before = listing(trained)
    assert train(corpus, trained) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {trained}: already holds a run (states-6.ckpt)")
    assert "-a" in error
    assert "--overwrite" in error
    assert listing(trained) == before


def test_resuming_a_finished_run_trains_nothing_and_shows_the_table(own_run, corpus, capsys, monkeypatch):
    before = weights(own_run / "states-6.ckpt")
    interrupt_at(monkeypatch, 1, AssertionError("trained"))
    assert train(corpus, own_run, "-a") == 0
    assert re.search(r"^dev .*\n^test ", capsys.readouterr().out, re.MULTILINE)
    after = weights(own_run / "states-6.ckpt")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_overwriting_starts_anew_with_a_new_map(own_run, corpus, capsys):
    assert train(corpus, own_run, "--overwrite", "--seed", "5") == 0
    assert "stage 1 of 2, data map: training" in capsys.readouterr().out
    states = torch.load(own_run / "states-6.ckpt", weights_only=True)
    assert states["Args"].seed == 5
    assert torch.load(own_run / "datamap/states-8.ckpt", weights_only=True)["Args"].seed == 5


def test_an_overwritten_map_is_not_served_as_that_of_the_run_in_its_place(own_run, corpus, capsys):
    shutil.copytree(own_run / "datamap", own_run, dirs_exist_ok=True)  # as if -v datamap had been trained there
    assert train(corpus, own_run, "-v", "baseline", "--overwrite") == 0
    assert "datamap" not in capsys.readouterr().out.partition(f"in {own_run}:")[2]
    assert not [
        name for name in ("dynamics", "datamap.csv", "class_similarity.csv", "datamap.png") if (own_run / name).exists()
    ]
    assert cli.main(["datamap", str(own_run)]) == 0
    assert capsys.readouterr().out.startswith(f"{own_run / 'datamap'}: 32 utterances")


def test_a_map_in_the_folder_of_the_run_that_is_to_train_on_it_stays(own_run, corpus, capsys):
    shutil.copytree(own_run / "datamap", own_run, dirs_exist_ok=True)
    settings = {"downstream_expert.mapmix.datamap": own_run / "datamap.csv"}
    assert train(corpus, own_run, "--overwrite", settings=settings) == 0
    assert "\n  datamap.csv\n" in capsys.readouterr().out
    assert (own_run / "dynamics/epoch-0001.npz").is_file()


def test_a_complete_map_is_kept_for_the_same_settings(own_run, corpus, trained, capsys):
    RunFolder(own_run).clear()
    before = listing(own_run / "datamap")
    assert train(corpus, own_run) == 0
    assert "stage 1 of 2, data map: complete" in capsys.readouterr().out
    assert listing(own_run / "datamap") == before
    assert_same_weights(own_run, trained)


@pytest.mark.parametrize(
    ("flags", "settings", "named"),
    [
        (["--seed", "5"], {}, "seed"),
        ([], {"downstream_expert.data.crop_seconds": 0.4}, "crop"),
        ([], {"downstream_expert.model.hidden_dim": 8}, "model"),
        ([], {"optimizer.lr": 0.5}, "optimizer"),
        ([], {"downstream_expert.datamap.epochs": 3}, "datamap"),
        ([], {"runner.gradient_accumulate_steps": 2}, "gradient_accumulate_steps"),
    ],
)
def test_a_map_made_otherwise_is_refused(flags, settings, named, own_run, corpus, capsys):
    RunFolder(own_run).clear()
    before = listing(own_run)
    assert train(corpus, own_run, *flags, settings=settings) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {own_run / 'datamap'}: expected a data map with the same")
    assert named in error
    assert listing(own_run) == before


def test_an_optimizer_is_tried_out_once_a_launch(corpus, tmp_path, monkeypatch):
    tried = []
    for module in (expert, settings_module):
        monkeypatch.setattr(module, "check_optimization", lambda *sections: tried.append(sections))
    assert train(corpus, tmp_path / "run", settings={"downstream_expert.epochs": 1}) == 0
    assert len(tried) == 1
    assert tried[0][0]["name"] == "TorchOptim"


def test_a_map_of_other_data_is_refused(own_run, own_corpus, capsys):
    RunFolder(own_run).clear()
    lines = (own_corpus / "train.csv").read_text().splitlines(keepends=True)
    (own_corpus / "train.csv").write_text("".join(lines[:-1]))
    assert train(own_corpus, own_run) == 1
    assert "train.csv" in capsys.readouterr().err


def test_a_second_process_is_kept_out(corpus, tmp_path, capsys):
    with RunFolder(tmp_path / "run").held():
        assert train(corpus, tmp_path / "run") == 1
    assert "another process" in capsys.readouterr().err
    assert not list((tmp_path / "run").rglob("*.ckpt"))


# Using a run ---------------------------------------------------------------------------------------------------------


def test_evaluating_gives_the_scores_of_the_training_command(own_run, trained, capsys):
    (own_run / "test_scores.csv").unlink()
    assert run("-m", "evaluate", "-e", own_run, "--device", "cpu") == 0
    assert_same_files(own_run, trained, "test_scores.csv", "test_metrics.json", "test_predict.txt", "test_truth.txt")
    accuracy = json.loads((trained / "test_metrics.json").read_text())["overall"]["acc"]
    assert re.search(rf"^test +{accuracy:.3f} ", capsys.readouterr().out, re.MULTILINE)


def test_evaluating_another_split_into_another_folder(own_run, tmp_path):
    before = listing(own_run)
    assert run("-m", "evaluate", "-t", "dev", "-e", own_run, "-p", tmp_path / "elsewhere") == 0
    assert_same_files(tmp_path / "elsewhere", own_run, "dev_scores.csv")
    assert listing(own_run) == before


def test_evaluating_with_init_ckpt_takes_the_settings_from_the_command_line(trained, corpus, tmp_path):
    checkpoint = ["-i", trained / "dev-best.ckpt", "-p", tmp_path / "out"]
    assert run("-m", "evaluate", *checkpoint, "-u", "fbank", "--data", corpus, "-o", overrides()) == 0
    assert_same_files(tmp_path / "out", trained, "test_scores.csv")


def test_inference_lists_the_classes_the_likeliest_first(trained, corpus, capsys):
    audio = corpus / "audio" / "test" / "ybb-two-0.wav"
    assert run("-m", "inference", "-t", audio, "-e", trained) == 0
    ranking = re.findall(r"^  (\S+) +(\d\.\d{4})$", capsys.readouterr().out, re.MULTILINE)
    probabilities = [float(probability) for _, probability in ranking]
    assert {name for name, _ in ranking} == set(CLASSES)
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=4e-4)


def test_inference_agrees_with_the_scores_of_the_test_split(trained, corpus, capsys):
    with (trained / "test_scores.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert run("-m", "inference", "-t", corpus / row["id"], "-e", trained) == 0
    printed = dict(re.findall(r"^  (\S+) +(\d\.\d{4})$", capsys.readouterr().out, re.MULTILINE))
    expected = torch.tensor([float(row[name]) for name in CLASSES]).exp()
    # The length is worked out from the frames, so up to a frame less is known than from the manifest.
    assert [float(printed[name]) for name in CLASSES] == pytest.approx(expected.tolist(), abs=2e-3)


# What must not matter to the outcome ---------------------------------------------------------------------------------


def test_two_runs_with_one_seed_are_equal(corpus, trained, tmp_path):
    assert train(corpus, tmp_path / "again") == 0
    assert_same_weights(tmp_path / "again", trained)
    assert_same_files(tmp_path / "again", trained, *RESULTS, "datamap/datamap.csv", "datamap/class_similarity.csv")


def test_another_seed_gives_other_weights(corpus, trained, tmp_path):
    assert train(corpus, tmp_path / "other", "--seed", "5") == 0
    one, other = weights(tmp_path / "other/dev-best.ckpt"), weights(trained / "dev-best.ckpt")
    assert not torch.equal(one["head.model.pooling.score.weight"], other["head.model.pooling.score.weight"])


def test_workers_do_not_matter(corpus, trained, tmp_path):
    assert train(corpus, tmp_path / "two", settings={"downstream_expert.data.workers": 2}) == 0
    assert_same_weights(tmp_path / "two", trained)
    assert_same_files(tmp_path / "two", trained, *RESULTS)


def test_how_often_is_evaluated_does_not_matter(corpus, trained, tmp_path):
    assert train(corpus, tmp_path / "often", settings={"runner.eval_step": 1}) == 0
    assert_same_weights(tmp_path / "often", trained)


# Interruptions -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(corpus, tmp_path_factory):
    """Return a function that gives the complete run of a variant, trained once."""
    folder = tmp_path_factory.mktemp("uninterrupted")

    def of(variant):
        if not (folder / variant).exists():
            assert train(corpus, folder / variant, "-v", variant, settings=WITHIN_EPOCHS) == 0
        return folder / variant

    return of


@pytest.mark.parametrize("step", [2, 6, 11])
@pytest.mark.parametrize(
    ("variant", "extra"),
    [("latent_random", ()), ("datamap", ("datamap.csv", "class_similarity.csv"))],
)
def test_an_interrupted_run_ends_like_one_that_was_not(
    step, variant, extra, corpus, uninterrupted, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        assert train(corpus, folder, "-v", variant, settings=WITHIN_EPOCHS) == 130
    assert "interrupted; -a resumes" in capsys.readouterr().err
    assert train(corpus, folder, "-v", variant, "-a", settings=WITHIN_EPOCHS) == 0
    whole = uninterrupted(variant)
    assert_same_weights(folder, whole)
    assert_same_files(folder, whole, *RESULTS, *extra)


@pytest.mark.parametrize("step", [13, 20])
def test_an_interrupted_map_mix_ends_like_one_that_was_not(step, corpus, uninterrupted, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)  # the data map takes steps 1 to 16
        assert train(corpus, folder, "-v", "mapmix", settings=WITHIN_EPOCHS) == 130
    assert train(corpus, folder, "-v", "mapmix", "-a", settings=WITHIN_EPOCHS) == 0
    whole = uninterrupted("mapmix")
    assert_same_weights(folder, whole)
    assert_same_weights(folder / "datamap", whole / "datamap")
    assert_same_files(folder, whole, *RESULTS, "datamap/datamap.csv", "datamap/class_similarity.csv")


def test_a_run_stopped_before_its_first_regular_checkpoint_goes_on_from_the_best(corpus, tmp_path, monkeypatch):
    settings = SMALL_BATCHES | {"runner.save_step": 7, "runner.eval_step": 2}
    flags = ["-v", "latent_random"]
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        assert train(corpus, tmp_path / "run", *flags, settings=settings) == 130
    assert [path.name for path in (tmp_path / "run").glob("*.ckpt")] == ["dev-best.ckpt"]
    assert train(corpus, tmp_path / "run", *flags, "-a", settings=settings) == 0
    assert train(corpus, tmp_path / "whole", *flags, settings=settings) == 0
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
    assert_same_files(tmp_path / "run", tmp_path / "whole", *RESULTS)


def test_a_killed_process_can_be_resumed(corpus, uninterrupted, tmp_path):
    folder, step = tmp_path / "run", "lid_mapmix.expert:DownstreamExpert.forward"
    process = run_forked(train_and_die, step, 6, "datamap", corpus, folder, WITHIN_EPOCHS)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert train(corpus, folder, "-v", "datamap", "-a", settings=WITHIN_EPOCHS) == 0
    assert_same_weights(folder, uninterrupted("datamap"))
    assert_same_files(folder, uninterrupted("datamap"), *RESULTS, "datamap.csv", "class_similarity.csv")


def test_a_copy_resumes_in_the_copy(trained, own_run, tmp_path):
    # Fact 10 of s3prl_host.md: S3PRL wrote into the folder that was copied.
    before = listing(trained)
    assert run("-p", own_run, "-a", "-u", "fbank", "-o", "config.runner.total_steps=9") == 0
    assert listing(trained) == before
    assert last_checkpoint(own_run).name == "states-9.ckpt"


def test_going_on_elsewhere_uses_the_map_of_the_run_it_comes_from(own_run, tmp_path):
    before = listing(own_run)
    assert run("-e", own_run, "-p", tmp_path / "new", "-o", "config.runner.total_steps=9") == 0
    assert listing(own_run) == before
    assert last_checkpoint(tmp_path / "new").name == "states-9.ckpt"


def test_a_map_gone_on_with_elsewhere_has_the_epochs_before(corpus, tmp_path, monkeypatch):
    settings = WITHIN_EPOCHS | {"downstream_expert.datamap.epochs": 3}
    assert train(corpus, tmp_path / "whole", "-v", "datamap", settings=settings) == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, 14)
        assert train(corpus, tmp_path / "begun", "-v", "datamap", settings=settings) == 130
    stale = tmp_path / "elsewhere/dynamics/epoch-0007.npz"
    stale.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "whole/dynamics/epoch-0000.npz", stale)
    before = listing(tmp_path / "begun")
    assert run("-e", tmp_path / "begun", "-p", tmp_path / "elsewhere", "--overwrite") == 0
    assert listing(tmp_path / "begun") == before
    assert_same_files(tmp_path / "whole", tmp_path / "elsewhere", "datamap.csv", "class_similarity.csv")
    assert not stale.exists()


def test_a_complete_map_that_has_changed_is_refused(own_run, corpus, capsys):
    RunFolder(own_run).clear()
    datamap = own_run / "datamap/datamap.csv"
    datamap.write_text(datamap.read_text().replace("ambiguous", "easy", 1))
    before = listing(own_run)
    assert train(corpus, own_run) == 1
    assert f"{datamap}: expected the file written with this data map, found another" in capsys.readouterr().err
    assert listing(own_run) == before
    assert cli.main(["datamap", str(own_run), "--overwrite"]) == 0
    assert train(corpus, own_run) == 0
    (own_run / "datamap/class_similarity.csv").unlink()
    assert train(corpus, own_run, "--overwrite") == 0


def test_a_run_is_not_gone_on_with_on_another_map(own_run, corpus, capsys):
    datamap = own_run / "datamap/datamap.csv"
    datamap.write_text(datamap.read_text().replace("ambiguous", "easy", 1))
    assert train(corpus, own_run, "-a", settings={"downstream_expert.epochs": 3}) == 1
    assert "expected the data map that this run was trained on, found one with other regions" in capsys.readouterr().err


def test_more_epochs_may_be_asked_for_when_resuming(own_run, corpus):
    assert train(corpus, own_run, "-a", settings={"downstream_expert.epochs": 3}) == 0
    assert last_checkpoint(own_run).name == "states-9.ckpt"


# The rest ------------------------------------------------------------------------------------------------------------


def test_accumulated_gradients_leave_no_epoch_of_the_map_incomplete(corpus, tmp_path):
    settings = {"runner.gradient_accumulate_steps": 3, "downstream_expert.datamap.epochs": 1}
    assert train(corpus, tmp_path / "run", "-v", "datamap", settings=settings) == 0
    assert "datamap.csv" in {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize("variant", ["baseline", "datamap"])
def test_a_training_that_diverges_says_so(variant, corpus, tmp_path, capsys):
    assert train(corpus, tmp_path / "run", "-v", variant, settings={"optimizer.lr": 1e20}) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "diverged" in error[0]
    assert re.search("lower the learning rate", error[0], re.IGNORECASE)


def test_ctrl_c_returns_130(corpus, tmp_path, monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(procedure, "train", interrupt)
    assert train(corpus, tmp_path / "run") == 130
    assert capsys.readouterr().err == "interrupted; -a resumes from the last checkpoint\n"
    monkeypatch.setattr(procedure, "use", interrupt)
    assert run("-m", "evaluate", "-e", tmp_path, "--device", "cpu") == 130
    assert capsys.readouterr().err == "interrupted; run the same command to start again\n"


def test_audio_of_many_kinds_in_one_manifest_trains(tmp_path):
    import soundfile

    corpus = make_corpus(tmp_path / "data")
    kinds = [
        ("xaa-one-0.wav", "stereo.wav", 16_000, "PCM_16", None),
        ("xaa-two-0.wav", "rate.flac", 44_100, "PCM_16", None),
        ("ybb-one-0.wav", "deep.wav", 16_000, "PCM_24", None),
        ("ybb-two-0.wav", "coded.mp3", 22_050, "MPEG_LAYER_III", None),
        ("xaa-one-1.wav", "phone.sph", 8_000, "ULAW", "NIST"),
        ("xaa-two-1.wav", "float.wav", 16_000, "FLOAT", None),
    ]
    manifest = (corpus / "train.csv").read_text()
    for number, (old, new, rate, subtype, container) in enumerate(kinds):
        audio = hum(1.1, 200, number, rate)
        if new.startswith("stereo"):
            audio = audio[:, None].repeat(2, axis=1)
        soundfile.write(corpus / "audio/train" / new, audio, rate, subtype=subtype, format=container)
        assert f"train/{old}" in manifest
        manifest = manifest.replace(f"train/{old}", f"train/{new}")
    (corpus / "train.csv").write_text(manifest)
    assert train(corpus, tmp_path / "run") == 0
    with (tmp_path / "run/datamap/datamap.csv").open(newline="") as file:
        mapped = {row["audiopath"] for row in csv.DictReader(file)}
    assert {f"audio/train/{new}" for _, new, *_ in kinds} <= mapped


def test_another_task_goes_to_s3prls_own_command(tmp_path):
    config = {
        "runner": {
            **{"total_steps": 2, "gradient_clipping": 1, "gradient_accumulate_steps": 1, "log_step": 1},
            **{"eval_step": 9, "save_step": 2, "max_keep": 1, "eval_dataloaders": ["dev"]},
        },
        "optimizer": {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1.0e-4},
        "downstream_expert": {
            "datarc": {"train_batch_size": 1, "eval_batch_size": 1, "num_workers": 0},
            "modelrc": {"input_dim": 8, "agg_module": "MP"},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    flags = ["-m", "train", "-d", "example", "-u", "fbank", "-c", tmp_path / "config.yaml", "-p", tmp_path / "run"]
    process = run_python(ROOT / "run_downstream.py", *flags, "--device", "cpu")
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "run/states-2.ckpt").is_file()


def test_the_command_works_from_anywhere_as_a_process_of_its_own(trained, corpus, tmp_path):
    audio = shutil.copy(corpus / "audio/test/xaa-one-0.wav", tmp_path / "voice.wav")
    process = run_python(ROOT / "run_downstream.py", "-m", "inference", "-t", audio, "-e", trained, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert len(re.findall(r"^  \S+ +\d\.\d{4}$", process.stdout, re.MULTILINE)) == len(CLASSES)


# Found by people who tried it ---------------------------------------------------------------------------------------


def test_files_that_are_no_runs_are_never_deleted(corpus, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    others = [folder / name for name in ("my_scores.csv", "x_metrics.json", "downloaded_model.ckpt")]
    for other in others:
        other.write_text("mine")
    assert train(corpus, folder, "-v", "baseline") == 0
    assert train(corpus, folder, "-v", "baseline", "--overwrite") == 0
    assert [other.read_text() for other in others] == ["mine"] * 3


def test_scores_whose_checkpoints_are_gone_are_not_written_over(own_run, corpus, capsys):
    for checkpoint in own_run.glob("*.ckpt"):
        checkpoint.unlink()
    before = listing(own_run)
    assert train(corpus, own_run) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert listing(own_run) == before


def test_an_interrupted_data_map_is_not_thrown_away_unasked(own_run, corpus, capsys):
    RunFolder(own_run).clear()
    request = own_run / "datamap/request.json"
    request.write_text(json.dumps(json.loads(request.read_text()) | {"files": None}))
    before = listing(own_run)
    assert train(corpus, own_run) == 1
    assert f"{own_run / 'datamap'}: already holds a run" in capsys.readouterr().err
    assert listing(own_run) == before
    assert train(corpus, own_run, "-a") == 0


def test_a_refused_run_leaves_no_folder(corpus, tmp_path):
    assert train(corpus, tmp_path / "run", "-u", "fbank", "-s", "nonsense") == 1
    assert not (tmp_path / "run").exists()


def test_flags_that_a_checkpoint_settles_are_named(own_run, capsys):
    assert run("-u", "mfcc", "-v", "baseline", "--seed", "3", "-p", own_run, "-a") == 0
    printed = capsys.readouterr().out
    assert "ignored, since the checkpoint has its own" in printed
    assert all(re.search(rf"--{name}[,)]", printed) for name in ("upstream", "downstream_variant", "seed"))
    assert run("-u", "fbank", "-p", own_run, "-a") == 0
    assert "not looked at" not in capsys.readouterr().out


def test_a_finished_run_that_goes_on_elsewhere_is_scored(trained, tmp_path, capsys):
    assert run("-e", trained, "-p", tmp_path / "elsewhere") == 0
    assert "test" in capsys.readouterr().out
    assert (tmp_path / "elsewhere/test_metrics.json").read_text() == (trained / "test_metrics.json").read_text()


def test_a_run_is_evaluated_from_any_folder(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(corpus.parent)
    assert train(corpus.name, tmp_path / "run", "-v", "baseline") == 0
    monkeypatch.chdir(tmp_path)
    assert run("-m", "evaluate", "-e", tmp_path / "run") == 0


def test_a_damaged_record_of_a_map_is_one_line(own_run, corpus, capsys):
    RunFolder(own_run).clear()
    (own_run / "datamap/request.json").write_text("{")
    assert train(corpus, own_run) == 1
    assert "request.json: is damaged. Delete the folder" in capsys.readouterr().err
