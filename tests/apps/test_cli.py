"""``lid-mapmix``: what it lists, and a corpus of folders made and trained on."""

import pytest
from launching import overrides
from lid_mapmix.apps import cli
from synthetic import CLASSES, make_corpus


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--help"])
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    for command in ("run", "prepare"):
        assert f"\n    {command} " in printed
    assert "examples:" in printed


@pytest.mark.parametrize("corpus", ["demo", "asterisk", "folder"])
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


def test_folders_become_manifests_that_train(tmp_path, capsys):
    made = make_corpus(tmp_path / "made", sizes={"train": 20})
    for number, path in enumerate(sorted((made / "audio" / "train").iterdir())):
        name, index = path.stem.rsplit("-", 1)
        target = tmp_path / "folders" / name / f"s{int(index) % 10}_{number}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    folder = tmp_path / "data"
    pattern = ["--speaker-pattern", r"(?P<speaker>s\d+)_"]
    assert cli.main(["prepare", "folder", str(tmp_path / "folders"), str(folder), *pattern]) == 0
    assert "ready" in capsys.readouterr().out
    assert all((folder / f"{split}.csv").is_file() for split in ("train", "dev", "test"))
    run = ["-u", "fbank", "-v", "baseline", "--data", folder, "-p", tmp_path / "run", "--device", "cpu"]
    assert cli.main(["run", *map(str, run), "-o", overrides()]) == 0
    assert (tmp_path / "run/dev-best.ckpt").is_file()
    assert all(name in (tmp_path / "run/test_truth.txt").read_text() for name in CLASSES)


def test_a_fault_is_one_line(tmp_path, capsys):
    assert cli.main(["prepare", "folder", str(tmp_path / "none"), str(tmp_path / "data")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
