"""``lid-mapmix datamap`` on the map of a small run, and the picture that run leaves."""

import csv
import logging
import shutil
import sys

import numpy as np
import pytest
import yaml
from helpers.launching import listing, train
from lid_mapmix.apps import cli
from lid_mapmix.apps.commands.datamap import REGION_FLAGS, make_datamap_parser
from lid_mapmix.apps.report import datamap_figure
from lid_mapmix.apps.runs import recorded_datamap
from lid_mapmix.config.schema import DatamapConfig
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.mapmix.datamap import RegionRule
from lid_mapmix.mapmix.datamap_files import read_datamap
from lid_mapmix.mapmix.label_noise import LabelNoise
from lid_mapmix.training.dynamics import label_noise_of
from lid_mapmix.utils.errors import UserError
from lid_mapmix.utils.run_folder import RunFolder

NUMBERS = ("datamap.csv", "class_similarity.csv")


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    """Let a picture be a word: the pictures themselves have tests of their own."""

    def draw(path, *_, **__):
        path.write_bytes(b"picture")

    monkeypatch.setattr(datamap_figure, "draw_datamap", draw)  # which a run calls by itself
    monkeypatch.setattr(recorded_datamap, "draw_datamap", draw)


@pytest.fixture
def own_map(trained, tmp_path):
    """Return a copy of the folder of a run that recorded a map, with that in its folder datamap."""
    return shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("*.ckpt"))


def command(*arguments):
    return cli.main(["datamap", *map(str, arguments)])


def fault_of(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("error: ")


def test_without_flags_it_is_the_map_of_the_run(own_map, capsys):
    before = {name: (own_map / "datamap" / name).read_bytes() for name in NUMBERS}
    assert command(own_map) == 0
    for name, content in before.items():
        assert (own_map / "datamap" / name).read_bytes() == content
    printed = capsys.readouterr().out
    assert f"{own_map / 'datamap'}: 32 utterances, epochs 0, 1" in printed
    assert printed.endswith(
        "\nwritten:\n" + "".join(f"  {own_map / 'datamap' / name}\n" for name in (*NUMBERS, "datamap.png"))
    )
    found = read_datamap(own_map / "datamap/datamap.csv")
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line}
    assert rows["total"] == [str((found.regions == name).sum()) for name in ("easy", "ambiguous", "hard")] + ["32"]
    assert rows["xaa-one"][-1] == "8"


def test_the_folder_of_the_map_itself_may_be_named(own_map, tmp_path):
    assert command(own_map / "datamap", "--out", tmp_path / "maps/new") == 0
    assert sorted(listing(tmp_path / "maps/new")) == sorted((*NUMBERS, "datamap.png"))
    for name in NUMBERS:
        assert (tmp_path / "maps/new" / name).read_bytes() == (own_map / "datamap" / name).read_bytes()


def test_epochs_are_skipped_and_kept(own_map, tmp_path, capsys):
    both = read_datamap(own_map / "datamap/datamap.csv").confidence
    confidence = {}
    for name, flags in {"late": ["--skip-first", 1], "early": ["--keep-first", 1]}.items():
        assert command(own_map, *flags, "--out", tmp_path / name) == 0
        found = read_datamap(tmp_path / name / "datamap.csv")
        assert set(found.epochs.tolist()) == {1}
        confidence[name] = found.confidence
    assert "32 utterances, epochs 1\n" in capsys.readouterr().out
    np.testing.assert_allclose((confidence["late"] + confidence["early"]) / 2, both, atol=2e-6)
    class_similarity = {name: (tmp_path / name / "class_similarity.csv").read_text() for name in confidence}
    assert class_similarity["late"] != class_similarity["early"]
    assert command(own_map, "--skip-first", 2) == 1
    assert fault_of(capsys).endswith(
        "expected an epoch after the first 2, found 2 complete epochs. Lower --skip-first."
    )


def test_regions_by_other_rules(own_map, tmp_path):
    fractions = ["--regions", "quantile", "--easy-fraction", 0.5, "--hard-fraction", 0.25]
    for whose in ("--global", "--per-class"):
        assert command(own_map, *fractions, whose, "--out", tmp_path / whose) == 0
        found = read_datamap(tmp_path / whose / "datamap.csv")
        assert [(found.regions == name).sum() for name in ("easy", "ambiguous", "hard")] == [16, 8, 8]
    by_class = [found.regions[found.classes == name] for name in np.unique(found.classes)]
    assert {((of_class == "easy").sum(), (of_class == "hard").sum()) for of_class in by_class} == {(4, 2)}
    fixed = ["--regions", "fixed", "--easy-confidence", 0, "--easy-variability", 1, "--hard-confidence", 0]
    assert command(own_map, *fixed, "--overwrite") == 0
    assert set(read_datamap(own_map / "datamap/datamap.csv").regions) == {"easy"}


def test_flags_of_version_0_1_0_are_accepted_under_their_old_names(own_map, tmp_path, capsys):
    flags = ["--regions", "quantile", "--easy-share", 0.5, "--hard-share", 0.25, "--global", "--into", tmp_path / "old"]
    assert command(own_map, *flags) == 0
    found = read_datamap(tmp_path / "old/datamap.csv")
    assert [(found.regions == name).sum() for name in ("easy", "ambiguous", "hard")] == [16, 8, 8]
    printed = capsys.readouterr().err
    assert "--easy-share is deprecated; use --easy-fraction" in printed
    assert "--hard-share is deprecated; use --hard-fraction" in printed


def test_another_map_is_not_written_over_unless_asked(own_map, capsys):
    assert command(own_map, "--suspects", 3) == 0
    before = listing(own_map)
    assert command(own_map, "--skip-first", 1) == 1
    assert fault_of(capsys).startswith(f"{own_map / 'datamap/datamap.csv'}: exists already, with other content")
    assert command(own_map, "--suspects", 4) == 1
    assert "suspects.csv: exists already, with other content. Write to another" in fault_of(capsys)
    assert listing(own_map) == before
    assert command(own_map, "--skip-first", 1, "--suspects", 4, "--overwrite") == 0
    assert set(read_datamap(own_map / "datamap/datamap.csv").epochs.tolist()) == {1}


def test_another_map_does_not_stand_beside_the_suspects_of_the_one_before(own_map):
    assert command(own_map, "--suspects", 3) == 0
    (own_map / "datamap/notes.csv").touch()
    assert command(own_map, "--overwrite") == 0
    assert "suspects.csv" in listing(own_map / "datamap"), "of the same map"
    assert command(own_map, "--skip-first", 1, "--overwrite") == 0
    assert "suspects.csv" not in listing(own_map / "datamap")
    assert (own_map / "datamap/notes.csv").is_file()


def test_other_data_is_no_reason_to_delete_the_dynamics(own_map, own_corpus, capsys):
    lines = (own_corpus / "train.csv").read_text().splitlines(keepends=True)
    (own_corpus / "train.csv").write_text("".join(lines[:-1]))
    assert command(own_map, "--data", own_corpus) == 1
    fault = fault_of(capsys)
    assert "found dynamics of other data" in fault
    assert "Pass the folder of the recorded data by --data" in fault
    assert "Delete" not in fault


def test_a_folder_in_which_a_map_is_trained_is_left_alone(own_map, tmp_path, capsys):
    with RunFolder(own_map / "datamap").held():
        assert command(own_map) == 1
        assert fault_of(capsys).endswith("Wait for it, or write to another folder by --out DIR.")
        assert command(own_map, "--out", tmp_path / "mine") == 0


def test_no_spelling_of_a_folder_gets_round_its_lock(own_map, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/datamap.csv").write_text("another run's")
    (tmp_path / "link").symlink_to(own_map / "datamap")
    with RunFolder(own_map / "datamap").held(), RunFolder(tmp_path / "other").held():
        before = listing(tmp_path)
        for out in ("run/datamap", own_map / "../run/datamap", "link", "other"):
            assert command("run", "--out", out, "--overwrite") == 1
            assert "another process is training or writing there" in fault_of(capsys)
        assert listing(tmp_path) == before


def test_suspects_are_listed_by_class_with_what_the_model_preferred(own_map, corpus, tmp_path, capsys):
    assert command(own_map, "--suspects", 5) == 0
    printed = capsys.readouterr().out
    with (own_map / "datamap/suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == list("12345")
    right = [float(row["right"]) for row in rows]
    assert right == sorted(right)
    lines = printed[printed.index("most likely label errors") : printed.index("\nwritten")].splitlines()[1:]
    shown = [line.split() for line in lines if line.startswith(" ")]
    assert sorted(words[:3] for words in shown) == [[row["rank"], row["id"], row["preferred"]] for row in rows]
    headings = [line.split()[1] for line in lines if line.strip() and not line.startswith(" ")]
    assert headings == sorted({row["class"] for row in rows})
    for name in ("suspects.csv", "datamap.png"):
        assert f"  {own_map / 'datamap' / name}\n" in printed


@pytest.fixture
def half_wrong(own_map, monkeypatch):
    """Let every third label be found wrong: the estimate itself is tested in tests/mapmix."""

    def estimate(dynamics, target_classes, class_count):
        right = np.where(np.arange(len(target_classes)) % 3 == 0, 0.1, 0.9)
        return LabelNoise(right, (target_classes + 1) % class_count, np.eye(class_count))

    monkeypatch.setattr(recorded_datamap, "label_noise_of", estimate)
    return own_map


def test_probably_wrong_labels_are_left_out_or_changed(half_wrong, corpus, tmp_path, capsys):
    whole = read_manifest(corpus / "train.csv")
    wrong = np.arange(len(whole)) % 3 == 0
    assert command(half_wrong, "--suspects", "auto", "--clean", tmp_path / "clean") == 0
    assert f"{tmp_path / 'clean'}: {wrong.sum()} of {len(whole)} utterances removed" in capsys.readouterr().out
    cleaned = read_manifest(tmp_path / "clean/train.csv")
    assert cleaned.columns["id"].tolist() == whole.columns["id"][~wrong].tolist()
    assert cleaned.columns["class"].tolist() == whole.columns["class"][~wrong].tolist()
    for split in ("train", "dev", "test"):
        manifest = read_manifest(tmp_path / "clean" / f"{split}.csv")
        assert all(manifest.audio_path(row).is_file() for row in range(len(manifest)))
    arguments = ("--suspects", "auto", "--clean", tmp_path / "relabelled", "--relabel")
    assert command(half_wrong, *arguments) == 0
    assert "utterances under the class that the model preferred" in capsys.readouterr().out
    changed = read_manifest(tmp_path / "relabelled/train.csv")
    assert changed.columns["id"].tolist() == whole.columns["id"].tolist()
    labels = Corpus(tmp_path / "relabelled", None).labels
    expected = labels.class_indices(whole)
    expected[wrong] = (expected[wrong] + 1) % len(labels.classes)
    assert labels.class_indices(changed).tolist() == expected.tolist()


def test_clean_data_is_refused_where_it_would_replace_or_empty_something(half_wrong, tmp_path, capsys):
    assert command(half_wrong, "--clean", tmp_path / "new") == 1
    assert "--clean DIR needs --suspects" in fault_of(capsys)
    assert command(half_wrong, "--suspects", 3, "--relabel") == 1
    assert "--relabel needs --clean" in fault_of(capsys)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/own").touch()
    assert command(half_wrong, "--suspects", "auto", "--clean", tmp_path / "full") == 1
    assert "exists already" in fault_of(capsys)
    assert command(half_wrong, "--suspects", 99, "--clean", tmp_path / "new", "--overwrite") == 1
    assert "expected utterances of every class, found none left of" in fault_of(capsys)
    assert not (tmp_path / "new").exists()


def test_a_map_by_label_noise_has_the_probably_wrong_as_hard(own_map, tmp_path):
    assert command(own_map, "--label-noise", "--out", tmp_path / "noise") == 0
    found = recorded_datamap.RecordedDatamap.read(RunFolder(own_map / "datamap"), None, {"label_noise": True})
    noise = label_noise_of(found.dynamics, found.targets, len(found.labels.classes))
    made = read_datamap(tmp_path / "noise/datamap.csv")
    assert ((made.regions == "hard") == noise.is_wrong).all()
    with (tmp_path / "noise/class_similarity.csv").open(newline="") as file:
        rows = [[float(value) for value in row[1:]] for row in list(csv.reader(file))[1:]]
    np.testing.assert_allclose(rows, noise.true_classes / noise.true_classes.sum(axis=1, keepdims=True), rtol=1e-6)


def test_data_that_has_moved_is_named_by_data(own_map, corpus, tmp_path, capsys):
    [config] = (own_map / "datamap").glob("config_*.yaml")
    settings = yaml.safe_load(config.read_text())
    settings["downstream_expert"]["data"]["directory"] = str(tmp_path / "gone")
    config.write_text(yaml.safe_dump(settings))
    assert command(own_map) == 1
    assert "pass its folder by --data" in fault_of(capsys)
    # Its manifest is enough, without any audio.
    (tmp_path / "moved").mkdir()
    shutil.copy(corpus / "train.csv", tmp_path / "moved")
    assert command(own_map, "--data", tmp_path / "moved") == 0
    text = (tmp_path / "moved/train.csv").read_text()
    (tmp_path / "moved/train.csv").write_text(text.replace(",xaa-one,", ",xaa-two,", 1))
    assert command(own_map, "--data", tmp_path / "moved") == 1
    assert "expected dynamics of this manifest and these labels" in fault_of(capsys)


def no_dynamics(folder):
    shutil.rmtree(folder / "datamap")


def no_epoch(folder):
    for path in (folder / "datamap/dynamics").iterdir():
        path.unlink()


def damaged_epoch(folder):
    (folder / "datamap/dynamics/epoch-0001.npz").write_bytes(b"PK")


def no_settings(folder):
    for path in (folder / "datamap").glob("config_*.yaml"):
        path.unlink()


def settings_of_another_task(folder):
    for path in (folder / "datamap").glob("config_*.yaml"):
        path.write_text("runner: {}\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_dynamics, "found none. Train -v datamap"),
        (no_epoch, "expected the dynamics of at least one complete epoch"),
        (damaged_epoch, "found a damaged file"),
        (no_settings, "expected config_*.yaml"),
        (settings_of_another_task, "expected settings of this task"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_what_is_no_recorded_run_is_refused(own_map, capsys, spoil, message):
    spoil(own_map)
    before = listing(own_map)
    assert command(own_map) == 1
    assert message in fault_of(capsys)
    assert listing(own_map) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--regions", "fixed", "--easy-confidence", 1.5], "datamap.easy_confidence is 1.5"),
        (["--regions", "fixed", "--hard-confidence", "nan"], "datamap.hard_confidence is nan"),
        (
            ["--regions", "fixed", "--hard-confidence", 0.7],
            "expected hard_confidence of at most easy_confidence, 0.6, found 0.7",
        ),
        (
            ["--regions", "quantile", "--easy-fraction", 0.8, "--hard-fraction", 0.3],
            "with a sum of at most 1, found 0.8 and 0.3",
        ),
        (
            ["--regions", "fixed", "--easy-fraction", 0.5],
            "--easy-fraction: no effect with --regions fixed. Add --regions quantile",
        ),
        (["--regions", "fixed", "--per-class"], "--per-class: no effect with --regions fixed"),
        (["--easy-variability", 0], "--easy-variability: no effect with --regions quantile"),
        (["--easy-confidence", 0.13], "--easy-confidence: no effect with --regions quantile"),
    ],
)
def test_regions_that_cannot_be_are_refused(own_map, capsys, flags, message):
    assert command(own_map, *flags) == 1
    assert message in fault_of(capsys)


@pytest.mark.parametrize(
    "flags",
    [
        ["--skip-first", "-1"],
        ["--keep-first", "0"],
        ["--suspects", "0"],
        ["--suspects", "many"],
        ["--per-class", "--global"],
        ["--regions", "round"],
        ["--easy-fraction", "half"],
        [],
    ],
)
def test_wrong_flags_return_2(tmp_path, capsys, flags):
    with pytest.raises(SystemExit) as exit_:
        command(*([tmp_path, *flags] if flags else []))
    assert exit_.value.code == 2
    assert "usage: lid-mapmix datamap" in capsys.readouterr().err


def test_an_interrupted_write_leaves_nothing(own_map, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(recorded_datamap, "write_suspects", interrupted)
    before = listing(own_map)
    assert command(own_map, "--suspects", 4, "--out", tmp_path / "new") == 130
    assert not (tmp_path / "new").exists()
    assert listing(own_map) == before


def test_the_numbers_are_there_without_matplotlib(own_map, tmp_path, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert command(own_map, "--out", tmp_path / "new") == 1
    assert "pip install matplotlib" in fault_of(capsys)
    assert sorted(listing(tmp_path / "new")) == sorted(NUMBERS)


def test_a_run_leaves_its_picture(corpus, tmp_path, capsys):
    settings = {"downstream_expert.datamap.epochs": 1, "runner.report": True}
    assert train(corpus, tmp_path / "run", "-v", "datamap", settings=settings) == 0
    assert (tmp_path / "run/datamap.png").read_bytes() == b"picture"
    assert "\n  datamap.png\n" in capsys.readouterr().out


def test_a_run_whose_picture_cannot_be_drawn_is_complete(own_map, monkeypatch, caplog):
    for error in (UserError("matplotlib is missing"), OSError("disk full"), ValueError("a fault of matplotlib's")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(datamap_figure, "draw_datamap", fail)
        with caplog.at_level(logging.WARNING):
            datamap_figure.try_datamap_figure(RunFolder(own_map / "datamap"), DatamapConfig())
        assert f"datamap.png was not written: {error}" in caplog.text
    datamap_figure.try_datamap_figure(RunFolder(own_map), DatamapConfig())  # has no map of its own


def test_flags_are_the_settings():
    names = {*vars(DatamapConfig()), "regions"} - {"record", "epochs", "per_class", "label_noise"}
    assert set(REGION_FLAGS) == names
    [choices] = [action.choices for action in make_datamap_parser()._actions if action.dest == "regions"]
    assert list(choices) == list(RegionRule)


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as exit_:
        command("--help")
    assert exit_.value.code == 0
    assert "lid-mapmix datamap result/downstream/first --suspects 50" in capsys.readouterr().out
