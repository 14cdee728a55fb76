"""Every command that opens a run or weights of others: their texts are not run, and their addresses not followed."""

import json
import os
import shutil
import socket
import sys

import pytest
import torch
import yaml
from helpers.checkpoints import NATIVE, Shape, code, local, save_wav2vec2, spoil
from helpers.launching import overrides, run, train
from lid_mapmix import Identifier
from lid_mapmix.apps import cli
from lid_mapmix.training.checkpoints import read_checkpoint
from lid_mapmix.utils.errors import UserError


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a request left")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def naming(trained, folder, task=(), **arguments):
    """Return a copy of a run whose checkpoints have other arguments, and other settings of the task."""
    shutil.copytree(trained, folder)
    for path in folder.glob("*.ckpt"):
        states = read_checkpoint(path)
        vars(states["Args"]).update(arguments)
        for name, value in dict(task).items():
            section, key = states["Config"]["downstream_expert"], name.split(".")
            for each in key[:-1]:
                section = section.setdefault(each, {})
            section[key[-1]] = value
        torch.save({**states}, folder / "new")
        os.replace(folder / "new", path)
    return folder


def everything(folder):
    """Return settings of a task that name a folder wherever they can."""
    names = ("data.directory", "data.augment.noise", "data.augment.rir")
    return {name: str(folder) for name in names} | {"mapmix.datamap": str(folder / "datamap.csv")}


def predict(folder, corpus, tmp_path):
    return cli.main(["predict", str(folder), str(next(corpus.rglob("*.wav"))), "--device", "cpu"])


def export(folder, corpus, tmp_path):
    return cli.main(["export", str(folder), "--out", str(tmp_path / "exported")])


def recognize(folder, corpus, tmp_path):
    return run("-m", "inference", "-e", folder, "-t", next(corpus.rglob("*.wav")), "--device", "cpu")


def evaluate(folder, corpus, tmp_path):
    return run("-m", "evaluate", "-e", folder, "-t", "dev", "--device", "cpu")


def resume(folder, corpus, tmp_path):
    return run("-m", "train", "-e", folder, "--device", "cpu")


def identify(folder, corpus, tmp_path):
    try:
        Identifier.from_pretrained(folder, "cpu")
    except UserError as found:
        print(found, file=sys.stderr)
        return 1
    return 0


DOORS = [predict, export, evaluate, resume, identify]


def one_line(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:") or "expected" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("door", DOORS)
def test_the_text_of_weights_that_a_run_names_is_not_run(door, trained, corpus, tmp_path, capsys):
    folder = naming(
        trained, tmp_path / "run", upstream="wav2vec2_local", upstream_ckpt=str(tmp_path / "run" / "weights.pt")
    )
    spoil(save_wav2vec2(folder / "weights.pt", Shape(layers=1)), conv_feature_layers=code(tmp_path / "made"))
    assert door(folder, corpus, tmp_path) == 1
    assert not (tmp_path / "made").exists()
    assert "conv_feature_layers: expected a list" in one_line(capsys)


@pytest.mark.parametrize("door", DOORS)
def test_an_address_that_a_run_names_is_not_followed(door, trained, corpus, tmp_path, capsys, no_network):
    address = "https://example.org/weights.pt"
    folder = naming(trained, tmp_path / "run", upstream="wav2vec2_url", upstream_ckpt=address)
    assert door(folder, corpus, tmp_path) == 1
    assert f"'{address}', an address. If you trust" in one_line(capsys)


@pytest.mark.parametrize("door", DOORS)
def test_an_upstream_that_a_run_names_is_not_downloaded(
    door, trained, corpus, tmp_path, capsys, no_network, monkeypatch
):
    monkeypatch.setattr("s3prl.util.download._download_dir", tmp_path / "cache")
    folder = naming(trained, tmp_path / "run", upstream="wav2vec2")
    assert door(folder, corpus, tmp_path) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any("is not downloaded because only a checkpoint names it" in line for line in lines)


def test_an_upstream_that_the_user_names_is_downloaded(trained, corpus, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("s3prl.util.download._download_dir", tmp_path / "cache")
    monkeypatch.setattr("lid_mapmix.host.downloads._fetch", lambda path, url: asked.append(url))
    folder = naming(trained, tmp_path / "run", upstream="wav2vec2")
    flags = ["-m", "evaluate", "-e", folder, "-t", "dev", "--device", "cpu"]
    for more, count in (([], 0), (["-u", "wav2vec2"], 1), (["-r"], 2)):
        assert run(*flags, *more) == 1  # nothing was fetched
        assert len(asked) == count


@pytest.fixture
def opened():
    """Return a list of the paths that are opened or listed from now on."""
    paths = []

    def watch(event, arguments):
        if (
            event in ("open", "os.listdir", "os.scandir")
            and paths is not None
            and isinstance(arguments[0], str | bytes)
        ):
            paths.append(os.fsdecode(arguments[0]))

    sys.addaudithook(watch)  # stays until the process ends
    yield paths
    paths = None


@pytest.mark.parametrize("door", [predict, export, identify, recognize])
def test_folders_that_a_run_names_are_not_read_to_use_it(door, trained, own_corpus, tmp_path, opened):
    outside = own_corpus.rename(tmp_path / "outside")
    folder = naming(trained, tmp_path / "run", task=everything(outside))
    audio = shutil.copytree(outside / "audio", tmp_path / "audio")
    (outside / "train.csv").write_text((outside / "train.csv").read_text() + "\n")
    opened.clear()
    assert door(folder, audio, tmp_path) == 0
    assert any(str(folder) in path for path in opened)
    assert not [path for path in opened if path.startswith(str(outside))]


@pytest.mark.parametrize("door", [evaluate, resume])
def test_data_that_a_run_names_must_be_those_of_its_training(door, trained, own_corpus, tmp_path, capsys, opened):
    outside = own_corpus.rename(tmp_path / "outside")
    folder = naming(trained, tmp_path / "run", task=everything(outside))
    (outside / "train.csv").write_text((outside / "train.csv").read_text() + "\n")
    opened.clear()
    assert door(folder, outside, tmp_path) == 1
    assert "expected data in its folder or as in its training" in one_line(capsys)
    assert not [path for path in opened if path.startswith(str(outside))]


def test_the_data_of_a_run_are_read_to_evaluate_it_and_nothing_else(trained, own_corpus, tmp_path, opened):
    outside = own_corpus.rename(tmp_path / "outside")
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    folder = naming(trained, tmp_path / "run", task=everything(sounds) | {"data.directory": str(outside)})
    opened.clear()
    assert evaluate(folder, outside, tmp_path) == 0
    assert any(path.startswith(str(outside)) for path in opened)
    assert not [path for path in opened if path.startswith(str(sounds))]


def test_reports_and_data_maps_do_not_read_the_data_of_others(trained, own_corpus, tmp_path, capsys, opened):
    outside = own_corpus.rename(tmp_path / "outside")
    folder = shutil.copytree(trained, tmp_path / "run")
    for path in [*folder.glob("config_*.yaml"), *folder.glob("datamap/config_*.yaml")]:
        content = yaml.safe_load(path.read_text())
        content["downstream_expert"]["data"]["directory"] = str(outside)
        path.write_text(yaml.safe_dump(content))
    (outside / "train.csv").write_text((outside / "train.csv").read_text() + "\n")
    opened.clear()
    assert cli.main(["report", str(folder), "--out", str(tmp_path / "report.html")]) == 0
    assert cli.main(["datamap", str(folder), "--out", str(tmp_path / "map")]) == 1
    assert "name it again by --data" in capsys.readouterr().err
    assert not [path for path in opened if path.startswith(str(outside))]


@pytest.mark.parametrize("kind", NATIVE)
def test_training_does_not_run_the_text_of_weights(kind, corpus, tmp_path, capsys):
    weights = spoil(NATIVE[kind](tmp_path / "weights.pt", Shape(layers=1)), conv_feature_layers=code(tmp_path / "made"))
    assert train(corpus, tmp_path / "run", "-v", "baseline", "-u", local(kind), "-k", weights) == 1
    assert not (tmp_path / "made").exists()
    assert "conv_feature_layers: expected a list" in one_line(capsys)


def test_training_does_not_run_the_text_of_a_filter_bank(corpus, tmp_path, capsys):
    config = tmp_path / "bank.yaml"
    text = f"fbank if open({str(tmp_path / 'made')!r}, 'w') else 0"
    config.write_text(f"kaldi: {{feat_type: {text!r}, fbank: {{}}}}\ndelta: {{order: 0}}\ncmvn: {{use_cmvn: false}}\n")
    flags = ["-v", "baseline", "-u", "baseline_local", "-g", config, "-k", config]
    assert train(corpus, tmp_path / "run", *flags) == 1
    assert not (tmp_path / "made").exists()
    assert "feat_type: expected a name" in one_line(capsys)


def test_a_run_of_this_machine_keeps_its_weights(corpus, tmp_path, capsys):
    """Their digest is in the checkpoint; other weights in their place are refused, unless they are named again."""
    weights = save_wav2vec2(tmp_path / "weights.pt", Shape(layers=1))
    flags = ["-v", "baseline", "-u", "wav2vec2_local", "-k", weights, "--frozen"]
    settings = {"downstream_expert.epochs": 1, "runner.total_steps": 1, "downstream_expert.data.batch_size": 4}
    assert train(corpus, tmp_path / "run", *flags, settings=settings) == 0
    assert predict(tmp_path / "run", corpus, tmp_path) == 0
    save_wav2vec2(weights, Shape(layers=1), seed=1)
    capsys.readouterr()
    assert predict(tmp_path / "run", corpus, tmp_path) == 1
    assert "not the one of its training" in one_line(capsys)
    Identifier.from_pretrained(tmp_path / "run", "cpu", upstream_weights=str(weights))


class Command:
    def __reduce__(self):
        return os.getcwd, ()


def test_weights_to_start_from_that_are_code_are_one_line(corpus, tmp_path, capsys):
    torch.save({"Args": Command(), "Config": {}}, tmp_path / "x.ckpt")
    for flags in (["-i", tmp_path / "x.ckpt", "-u", "fbank"], ["-e", tmp_path / "x.ckpt"]):
        where = ["--data", corpus, "-p", tmp_path / "run", "--device", "cpu", "-o", overrides()]
        assert run("-m", "train", *flags, *where) == 1
        line = capsys.readouterr().err
        assert "x.ckpt: is damaged, or no checkpoint (UnpicklingError)" in line
        assert "weights_only" not in line


def test_class_names_of_a_run_do_not_move_the_cursor(trained, corpus, tmp_path, capsys):
    export(trained, corpus, tmp_path)
    config = tmp_path / "exported" / "config.json"
    content = json.loads(config.read_text())
    cluster = next(iter(content["labels"]))
    content["labels"][cluster] = [f"\x1b[2J\n{name}" for name in content["labels"][cluster]]
    config.write_text(json.dumps(content))
    (tmp_path / "exported" / "calibration.json").unlink(missing_ok=True)
    capsys.readouterr()
    assert predict(tmp_path / "exported", corpus, tmp_path) == 0
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out
    assert printed.out.count("\n") == 1


def test_extreme_numbers_in_an_export_are_one_line(trained, corpus, tmp_path, capsys):
    export(trained, corpus, tmp_path)
    config = tmp_path / "exported" / "config.json"
    content = config.read_text()
    for section, change in (("evaluation", {"window_seconds": 1e300}), ("model", {"hidden_dim": 2**40})):
        changed = json.loads(content)
        changed[section] |= change
        config.write_text(json.dumps(changed))
        capsys.readouterr()
        assert predict(tmp_path / "exported", corpus, tmp_path) == 1
        assert next(iter(change)) in one_line(capsys)
