"""Every command that opens a run or weights of others: their texts are not run, and their addresses not followed."""

import json
import os
import shutil
import socket
import sys

import pytest
import torch
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


def naming(trained, folder, **arguments):
    """Return a copy of a run whose checkpoints have other arguments."""
    shutil.copytree(trained, folder)
    for path in folder.glob("*.ckpt"):
        states = read_checkpoint(path)
        vars(states["Args"]).update(arguments)
        torch.save({**states}, folder / "new")
        os.replace(folder / "new", path)
    return folder


def predict(folder, corpus, tmp_path):
    return cli.main(["predict", str(folder), str(next(corpus.rglob("*.wav"))), "--device", "cpu"])


def export(folder, corpus, tmp_path):
    return cli.main(["export", str(folder), "--out", str(tmp_path / "exported")])


def evaluate(folder, corpus, tmp_path):
    return run("-m", "evaluate", "-e", folder, "-t", "dev", "--device", "cpu")


def resume(folder, corpus, tmp_path):
    return run("-m", "train", "-e", folder, "--device", "cpu")


def identify(folder, corpus, tmp_path):
    with pytest.raises(UserError) as found:
        Identifier.from_pretrained(folder, "cpu")
    print(found.value, file=sys.stderr)
    return 1


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
