"""S3PRL's other tasks through the launcher: a few steps on corpora in the layout that each task reads."""

import builtins
import csv
import json
import sys

import pytest
import soundfile
import torch
import yaml
from helpers.launching import run
from helpers.synthetic import hum
from lid_mapmix.host import compat

UTTERANCE_LEVEL = {"projector_dim": 8, "select": "UtteranceLevel", "UtteranceLevel": {"pooling": "MeanPooling"}}


def write_audio(path, seed, seconds=0.4, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, hum(seconds, 150 + 20 * seed, seed, rate), rate)


def make_example(folder):
    return {"input_dim": 8}, {}


def make_fluent_commands(folder):
    pytest.importorskip("pandas")
    for split in ("train", "valid", "test"):
        rows = []
        for index in range(4):
            path = f"wavs/speakers/{split}/{index}.wav"
            write_audio(folder / path, index)
            rows.append({"path": path, "action": f"a{index % 2}", "object": f"o{index % 2}", "location": "none"})
        (folder / "data").mkdir(exist_ok=True)
        with (folder / "data" / f"{split}_data.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return UTTERANCE_LEVEL, {"file_path": str(folder)}


def make_speech_commands(folder):
    for name in ("yes", "no", "tree"):
        for index in range(12):  # the task splits by a hash of the name
            write_audio(folder / "train" / name / f"{index:08x}_nohash_0.wav", index)
        write_audio(folder / "test" / name / "1.wav", 1)
    write_audio(folder / "train/_background_noise_/noise.wav", 1, seconds=1.2)
    return UTTERANCE_LEVEL, {
        "speech_commands_root": str(folder / "train"),
        "speech_commands_test_root": str(folder / "test"),
    }


def make_voxceleb1(folder):
    lines = []
    for split in (1, 2, 3):
        for speaker in (10001, 10002):
            name = f"id{speaker}/video/{split:05}.wav"
            write_audio(folder / "dev/wav" / name, speaker + split)
            lines.append(f"{split} {name}")
    (folder / "split.txt").write_text("\n".join(lines))
    return UTTERANCE_LEVEL, {"file_path": str(folder), "meta_data": str(folder / "split.txt"), "max_timestep": 4_000}


def make_emotion(folder):
    meta = folder / "meta/Session1"
    meta.mkdir(parents=True)
    for split, count in (("train", 6), ("test", 2)):
        paths = [f"Session1/{split}{index}.wav" for index in range(count)]
        for index, path in enumerate(paths):
            write_audio(folder / path, index, rate=8_000)
        content = {
            "labels": {"neu": 0, "hap": 1},
            "meta_data": [{"path": path, "label": ("neu", "hap")[index % 2]} for index, path in enumerate(paths)],
        }
        (meta / f"{split}_meta_data.json").write_text(json.dumps(content))
    return UTTERANCE_LEVEL, {
        "root": str(folder), "meta_data": str(folder / "meta"), "pre_load": True, "valid_ratio": 0.34,
    }  # fmt: skip


MAKERS = {
    "example": make_example,
    "fluent_commands": make_fluent_commands,
    "speech_commands": make_speech_commands,
    "voxceleb1": make_voxceleb1,
    "emotion": make_emotion,
}


@pytest.fixture(autouse=True)
def process_kept(monkeypatch, tmp_path):
    """Restore what S3PRL's command changes in its process, and let VoxCeleb's lists be kept in the test's folder."""
    monkeypatch.setattr(builtins, "isinstance", builtins.isinstance)
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    monkeypatch.chdir(tmp_path)
    compat.apply()
    compat.import_without_unused("s3prl.downstream.voxceleb1")
    monkeypatch.setattr("s3prl.downstream.voxceleb1.dataset.CACHE_PATH", str(tmp_path / "cache"))


def write_config(task, folder):
    folder.mkdir(parents=True, exist_ok=True)
    model, data = MAKERS[task](folder)
    sizes = {name: 2 for name in ("train_batch_size", "eval_batch_size", "batch_size")}
    config = {
        "runner": {
            "total_steps": 4, "gradient_clipping": 1.0, "gradient_accumulate_steps": 1, "log_step": 2, "save_step": 4,
            "eval_step": 99 if task == "example" else 4, "max_keep": 1, "eval_dataloaders": ["dev"],
        },
        "optimizer": {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": 1.0e-3},
        "downstream_expert": {"datarc": {"num_workers": 0, **sizes, **data}, "modelrc": model},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


@pytest.mark.parametrize("task", MAKERS)
def test_trains_with_the_defaults_of_this_command(task, tmp_path, capsys):
    config = write_config(task, tmp_path / "data")
    assert run("-d", task, "-u", "fbank", "-c", config) == 0, capsys.readouterr().err
    folder = tmp_path / "result/downstream" / f"{task}-fbank"
    states = torch.load(folder / "states-4.ckpt", weights_only=True)
    assert (states["Step"], states["Args"].mode, states["Args"].downstream) == (4, "train", task)
    assert states["Args"].device == ("cuda" if torch.cuda.is_available() else "cpu")
    if task != "example":
        assert "dev at step 4" in (folder / "log.log").read_text()


def test_the_config_of_the_working_directory_is_found_and_a_run_resumed_and_evaluated(tmp_path, capsys):
    write_config("emotion", tmp_path / "downstream/emotion")
    assert run("-d", "emotion", "-u", "fbank", "-n", "named") == 0, capsys.readouterr().err
    assert (tmp_path / "result/downstream/named/states-4.ckpt").is_file()
    assert run("-d", "emotion", "-u", "fbank", "-n", "named", "-a") == 0, capsys.readouterr().err
    assert "Resume from" in capsys.readouterr().out
    assert run("-m", "evaluate", "-d", "emotion", "-e", tmp_path / "result/downstream/named") == 0
    assert "test acc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-d", "emotions", "-u", "fbank"), "unknown task 'emotions': did you mean emotion"),
        (("-d", "lid_mapmx", "-u", "fbank"), "unknown task 'lid_mapmx': did you mean lid_mapmix?"),
        (("-d", "example", "-u", "hubret"), "unknown upstream 'hubret': did you mean hubert"),
        (
            ("-d", "example", "-u", "fbank"),
            "S3PRL's package has no config.yaml. Copy s3prl/downstream/example/config.yaml",
        ),
        (("-d", "example", "-u", "fbank", "--data", "x"), "--data: expected -d lid_mapmix, found -d example"),
        (("-d", "example", "-u", "fbank", "--frozen"), "--frozen: expected -d lid_mapmix"),
    ],
)
def test_a_mistake_is_one_line(flags, message, capsys):
    assert run(*flags) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error


def test_a_missing_package_of_a_task_is_named(tmp_path, capsys, monkeypatch):
    config = write_config("example", tmp_path / "data")
    monkeypatch.setitem(sys.modules, "editdistance", None)
    assert run("-d", "ctc", "-u", "fbank", "-c", config) == 1
    assert "task ctc needs the package 'editdistance'" in capsys.readouterr().err
