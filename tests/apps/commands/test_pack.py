"""``lid-mapmix pack``: a run on what it makes is the run on the files themselves, bit for bit."""

import shutil

import pytest
from helpers.launching import ROOT, assert_same_files, assert_same_weights, run, run_python, train
from lid_mapmix.apps import cli
from lid_mapmix.data.audio.reading import read_audio
from lid_mapmix.data.manifest.manifest import read_manifest

FILES = [f"{split}_{name}" for split in ("dev", "test") for name in ("scores.csv", "metrics.json", "predict.txt")]


def command(data, out, *flags):
    return cli.main(["pack", str(data), "--out", str(out), *map(str, flags)])


@pytest.fixture(scope="module")
def packed(corpus, tmp_path_factory):
    """Return the corpus of the tests in shards; not to be changed."""
    folder = tmp_path_factory.mktemp("packed") / "data"
    assert command(corpus, folder, "--shard-size", 1) == 0
    return folder


def test_a_run_on_shards_is_the_run_on_files(packed, trained, tmp_path):
    assert train(packed, tmp_path / "run", settings={"downstream_expert.data.workers": 1}) == 0
    assert_same_weights(tmp_path / "run/datamap", trained / "datamap")
    assert_same_weights(tmp_path / "run", trained)
    assert_same_files(tmp_path / "run", trained, *FILES)


def test_a_member_is_no_recording_for_s3prl(packed, trained, capsys):
    member = read_manifest(packed / "test.csv").audio_path(0)
    assert len(read_audio(member)) == 16_000
    assert run("-m", "inference", "-t", member, "-e", trained, "--device", "cpu") == 1
    assert capsys.readouterr().err == f"error: {member}: no such audio file. Name an audio file by -t.\n"


def test_a_broken_shard_is_found_before_training(packed, tmp_path, capsys):
    folder = shutil.copytree(packed, tmp_path / "data")
    shard = max(folder.glob("train-*.tar"))
    shard.write_bytes(shard.read_bytes()[:-30_000])
    assert train(folder, tmp_path / "run") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {shard}#")
    assert "truncated" in error
    assert not (tmp_path / "run").exists()


def test_it_says_what_came_of_it(corpus, tmp_path, capsys):
    assert command(corpus, tmp_path / "my data") == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{tmp_path}/my data: 56 utterances in 56 files, 0.002 GB in 3 shards")
    assert f"--data '{tmp_path}/my data'" in printed
    assert command(corpus, tmp_path / "my data") == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/my data: already holds a pack. Use another folder, or replace it by --overwrite.\n"
    )
    assert command(corpus, tmp_path / "my data", "--overwrite") == 0


@pytest.mark.parametrize(
    "flags",
    [["--shard-size", "0.5"], ["--shard-size", "nan"], ["--shard-size", "x"]],
)
def test_wrong_flags_return_2(flags, corpus, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        command(corpus, tmp_path / "packed", *flags)
    assert exit_.value.code == 2
    assert flags[0] in capsys.readouterr().err
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize("name", ["check", "pack", "export-manifest"])
def test_help_needs_no_torch(name):
    code = "import sys\nfrom lid_mapmix.apps.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy', 'scipy', 'soundfile', 'pyarrow', 'yaml'} & set(sys.modules)"
    done = run_python("-c", code, name, "--help", path=[ROOT / "downstream"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: lid-mapmix {name} ")
