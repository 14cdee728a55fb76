"""``lid-mapmix``: what it lists, and a corpus of folders made and trained on."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.launching import overrides
from helpers.synthetic import CLASSES, make_corpus
from lid_mapmix.apps import cli
from lid_mapmix.config.checks import check_configuration
from lid_mapmix.data.prepare import folder


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--help"])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert f"\n  {command} " in printed
    assert "examples:" in printed


CORPORA = (
    *("demo", "asterisk", "folder", "lre17", "voxlingua107", "commonvoice", "fleurs"),
    *("kaldi", "jsonl", "mlsuperb", "huggingface", "lhotse", "nist", "adi17", "kespeech"),
)


def test_help_lists_the_corpora(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["prepare", "--help"])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    listed = {line.split()[0] for line in printed.splitlines() if line.startswith("    ") and line[4] != " "}
    assert listed == set(CORPORA)
    assert "examples" in printed


@pytest.mark.parametrize("corpus", CORPORA)
def test_each_corpus_has_examples(corpus, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["prepare", corpus, "--help"])
    assert exit_.value.code == 0
    assert f"lid-mapmix prepare {corpus}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["train"], ["prepare"], ["prepare", "nothing"]])
def test_wrong_commands_return_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    assert "usage: lid-mapmix" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("is_sound", [True, False])
def test_a_reader_who_has_had_enough_is_no_fault(is_sound, unbuffered, tmp_path):
    """``| head -1`` ended with a line about rights and the disk, or with Python's complaint at exit."""
    data = make_corpus(tmp_path / "data", sizes={"train": 1, "dev": 1, "test": 1}, seconds=0.1)
    if not is_sound:
        (data / "audio/train/xaa-one-0.wav").unlink()
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "lid_mapmix", "check", data],
            env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2]), "PYTHONUNBUFFERED": unbuffered},
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    if is_sound or unbuffered:
        assert (done.returncode, done.stderr) == (141, "")
    else:
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {data}: not safe to train on: ")
        assert done.stderr.count("\n") == 1


def test_folders_become_manifests_that_train(tmp_path, capsys):
    made = make_corpus(tmp_path / "made", sizes={"train": 20})
    for number, path in enumerate(sorted((made / "audio" / "train").iterdir())):
        name, index = path.stem.rsplit("-", 1)
        target = tmp_path / "folders" / name / f"s{int(index) % 10}_{number}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    folder = tmp_path / "data"
    pattern = ["--speaker-pattern", r"(?P<speaker>s\d+)_"]
    assert cli.main(["prepare", "folder", str(tmp_path / "folders"), "--out", str(folder), *pattern]) == 0
    assert "ready" in capsys.readouterr().out
    assert all((folder / f"{split}.csv").is_file() for split in ("train", "dev", "test"))
    run = ["-u", "fbank", "-v", "baseline", "--data", folder, "-p", tmp_path / "run", "--device", "cpu"]
    assert cli.main(["run", *map(str, run), "-o", overrides()]) == 0
    assert (tmp_path / "run/dev-best.ckpt").is_file()
    assert all(name in (tmp_path / "run/test_truth.txt").read_text() for name in CLASSES)


def test_a_fault_is_one_line(tmp_path, capsys):
    assert cli.main(["prepare", "folder", str(tmp_path / "none"), "--out", str(tmp_path / "data")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


QUICK = ("check", "config", "datamap", "export", "leaderboard", "pack", "predict", "prepare", "truncation", "upstreams")


@pytest.mark.parametrize("words", [[], *([name] for name in QUICK), ["prepare", "folder"]])
def test_help_imports_neither_torch_nor_what_reads_audio(words):
    code = (
        f"import sys; from lid_mapmix.apps import cli\ntry: cli.main([*{words}, '--help'])\nexcept SystemExit: pass\n"
    )
    code += "assert not {'torch', 'scipy', 'soundfile', 'pyarrow', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)


def test_config_prints_what_a_run_would_take(corpus, tmp_path, capsys):
    assert cli.main(["config", "-u", "fbank", "-v", "mapmix", "--data", str(corpus)]) == 0
    printed = capsys.readouterr().out
    assert "# use with the flags -u fbank -s hidden_states" in printed
    assert "upstream_configs/fbank.yaml (finetune)" in printed
    config = yaml.safe_load(printed)
    check_configuration(config)
    assert config["downstream_expert"]["variant"] == "mapmix"
    assert config["downstream_expert"]["model"]["encoder"] == "xvector"
    assert config["downstream_expert"]["data"]["directory"] == str(corpus)


def test_ctrl_c_in_prepare_says_nothing_of_checkpoints(monkeypatch, tmp_path, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "CORPUS", dataclasses.replace(folder.CORPUS, prepare=interrupted))
    assert cli.main(["prepare", "folder", str(tmp_path), "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err.strip() == "interrupted; run the same command to start again"
