"""``lid-mapmix predict``: what may be named, how answers are written, and what happens to what cannot be read."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from helpers.launching import ROOT
from helpers.synthetic import CLASSES, hum
from lid_mapmix.apps import cli
from lid_mapmix.scoring.files.own import read_scores


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Return a folder of three recordings, one of them further down; not to be changed."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "below").mkdir()
    for name, seconds, pitch in (("a b.wav", 1.0, 120), ("b.flac", 20.0, 180), ("below/c.wav", 0.5, 270)):
        soundfile.write(folder / name, hum(seconds, pitch, 1), 16_000)
    (folder / "notes.txt").write_text("no audio")
    return folder


@pytest.fixture(scope="module")
def uncalibrated(trained, tmp_path_factory):
    """Return a copy of the run without a calibration, which has the probabilities of its scores; not to be changed."""
    copy = shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "uncalibrated")
    (copy / "calibration.json").unlink(missing_ok=True)
    return copy


@pytest.fixture
def predict(uncalibrated, capsys):
    """Return what runs the command on sounds that are no speech, and gives status, lines and standard error."""

    def command(*arguments, run=uncalibrated):
        status = cli.main(["predict", str(run), "--device", "cpu", "--any-sound", *map(str, arguments)])
        captured = capsys.readouterr()
        return SimpleNamespace(status=status, lines=captured.out.splitlines(), err=captured.err)

    return command


def test_files_folders_and_a_manifest(predict, recordings, corpus, trained):
    found = predict(recordings / "b.flac", recordings, corpus / "test.csv", "--json")
    assert found.status == 0
    *answers, left_out = [json.loads(line) for line in found.lines]
    assert left_out == {"name": str(recordings), "outcome": "left out", "label": None, "left_out": {".txt": 1}}
    assert f"{recordings}: left out: 1 .txt" in found.err
    names = [answer["name"] for answer in answers]
    expected = [str(recordings / name) for name in ("b.flac", "a b.wav", "b.flac", "below/c.wav")]
    scores = read_scores(trained / "test_scores.csv")
    assert names == [*expected, *scores.ids.tolist()]
    assert [answer["label"] for answer in answers[4:]] == scores.predictions.tolist()
    for answer, row in zip(answers[4:], scores.probabilities, strict=True):
        found_row = [answer["probabilities"][name] for name in scores.classes]
        np.testing.assert_allclose(found_row, row, atol=1e-5)
    assert answers[0]["seconds"] == 20.0
    assert "not calibrated" in found.err


def test_a_manifest_that_names_audio_only(predict, recordings, tmp_path):
    (tmp_path / "calls.csv").write_text(f"audiopath,start,end\n{recordings / 'b.flac'},2.0,5.0\n")
    found = predict(tmp_path / "calls.csv", "--json")
    assert found.status == 0
    assert json.loads(found.lines[0])["seconds"] == 3.0


def test_text_lists_the_likeliest(predict, recordings):
    (line,) = predict(recordings / "b.flac").lines
    name, listed = line.split(": ")
    assert name == str(recordings / "b.flac")
    assert len(listed.split(", ")) == 3
    probabilities = [float(pair.split()[1]) for pair in listed.split(", ")]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(predict(recordings / "b.flac", "--top", 1).lines[0].split(", ")) == 1
    assert len(json.loads(predict(recordings / "b.flac", "--json", "--top", 2).lines[0])["probabilities"]) == 2


def test_paths_of_a_pipe(predict, recordings, monkeypatch):
    lines = f"{recordings / 'a b.wav'}\n\n{recordings / 'b.flac'}\n".encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines)))
    assert [line.split(":")[0] for line in predict("-").lines] == [
        str(recordings / name) for name in ("a b.wav", "b.flac")
    ]


def test_audio_on_standard_input_is_one_line(predict, recordings, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((recordings / "a b.wav").read_bytes())))
    found = predict("-")
    assert found.status == 1
    assert "error: -: expected paths" in found.err


def test_a_bad_file_is_reported_and_the_others_go_on(predict, recordings, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"no")
    soundfile.write(tmp_path / "short.wav", np.zeros(200), 16_000)
    whole = (recordings / "b.flac").read_bytes()
    (tmp_path / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    found = predict(tmp_path / "gone.wav", tmp_path, recordings / "a b.wav")
    assert found.status == 1
    assert [line.split(":")[0] for line in found.lines] == [str(recordings / "a b.wav")]
    faults = [line for line in found.err.splitlines() if line.startswith("error: ")]
    assert [fault.split(": ")[1].rsplit("/", 1)[1] for fault in faults] == [
        "gone.wav", "bad.wav", "short.wav", "truncated.flac",
    ]  # fmt: skip


def test_a_name_that_is_no_text(predict, recordings, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.wav")
    shutil.copy(recordings / "a b.wav", path)
    assert json.loads(predict(tmp_path, "--json").lines[0])["name"] == f"{tmp_path}/\N{REPLACEMENT CHARACTER}.wav"
    assert predict(tmp_path).status == 0


def test_all_audio_of_a_folder_is_identified_or_reported(predict, tmp_path, monkeypatch):
    """M4a and webm were passed over in silence, and aiff and oga although they are read when they are named."""
    monkeypatch.setenv("PATH", "")
    for name in ("a.aiff", "b.oga"):
        soundfile.write(tmp_path / name, hum(1.0, 120, 1), 16_000, format="OGG" if name == "b.oga" else None)
    (tmp_path / "c.m4a").write_bytes(b"\0\0\0 ftypM4A " + bytes(100))
    (tmp_path / "d.pdf").touch()
    found = predict(tmp_path)
    assert found.status == 1
    assert [line.split(":")[0] for line in found.lines] == [str(tmp_path / name) for name in ("a.aiff", "b.oga")]
    assert f"error: {tmp_path / 'c.m4a'}: expected audio" in found.err
    assert "Convert it: ffmpeg -i c.m4a c.wav" in found.err
    assert f"{tmp_path}: left out: 1 .pdf" in found.err


def test_a_folder_without_audio_is_reported(predict, tmp_path):
    found = predict(tmp_path)
    assert found.status == 1
    assert "expected audio" in found.err


def test_silence_is_no_speech(trained, tmp_path, capsys):
    soundfile.write(tmp_path / "silence.wav", np.zeros(20_000), 16_000)
    assert cli.main(["predict", str(trained), "--device", "cpu", str(tmp_path / "silence.wav")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'silence.wav'}: no speech\n"


def test_rejection_says_its_threshold(predict, recordings, trained):
    tops = np.exp(read_scores(trained / "dev_scores.csv").log_probabilities.max(axis=1))
    for share in (0.01, 0.5, 0.999):
        found = predict(recordings, "--json", "--reject", share)
        threshold = np.quantile(tops, share)
        assert f"below {threshold:.3f}" in found.err
        for answer in map(json.loads, found.lines[:-1]):
            is_rejected = max(answer["probabilities"].values()) < threshold
            assert answer["outcome"] == ("none of these" if is_rejected else "identified")
            assert (answer["label"] is None) == is_rejected


def test_recordings_unlike_dev_are_marked_and_rejected_and_scored(predict, corpus, tmp_path):
    """Noise is of no class of the manifest of hums."""
    (tmp_path / "noise").mkdir()
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, 0.1, 48_000)
        soundfile.write(tmp_path / "noise" / f"{seed}.wav", noise, 16_000)
    rows = [f"noise/{seed}.wav,noise,3.0" for seed in range(4)]
    (tmp_path / "other.csv").write_text("\n".join(["audiopath,class,seconds", *rows]) + "\n")
    found = predict(corpus / "test.csv", tmp_path / "other.csv", "--json", "--reject-with", tmp_path / "noise")
    answers = [json.loads(line) for line in found.lines]
    assert [answer["outcome"] for answer in answers[-4:]] == ["none of these"] * 4
    assert all(answer["novelty"] > 1 and "unlike training data" in answer["remarks"] for answer in answers[-4:])
    inside, outside = ([answer["novelty"] for answer in part] for part in (answers[:-4], answers[-4:]))
    auroc = np.mean([[(a < b) + (a == b) / 2 for a in inside] for b in outside])
    assert f"open set: {len(inside)} recordings of the classes, 4 of others: AUROC of novelty {auroc:.3f}" in found.err
    assert ": 100.0% of 4 others and" in found.err
    found = predict(tmp_path / "noise")
    assert all(line.endswith("; unlike training data") for line in found.lines)
    assert "open set" not in found.err


@pytest.mark.parametrize("flags", [["--segments"], []])
def test_reject_with_refuses_in_one_line(predict, recordings, tmp_path, flags):
    found = predict(recordings, "--reject-with", recordings if flags else tmp_path, *flags)
    assert found.status == 1
    assert found.err.count("error:") == 1 + (not flags)


@pytest.fixture(scope="module")
def two_hums(tmp_path_factory):
    """Return a recording in which a minute of one class is followed by one of another."""
    path = tmp_path_factory.mktemp("long") / "two hums.wav"
    hums = [hum(60.0, 120 * 1.5**number, number) for number in (0, 3)]
    soundfile.write(path, np.concatenate(hums), 16_000)
    return path


def test_label_tracks(predict, two_hums):
    (line,) = predict(two_hums, "--segments", "--json").lines
    segments = json.loads(line)["segments"]
    assert segments[0]["start"] == 0
    assert segments[-1]["end"] == 120.0
    assert {segment["label"] for segment in segments} <= set(CLASSES)
    edges = [f"{segment['start']:.6f}\t{segment['end']:.6f}\t{segment['label']}" for segment in segments]
    assert predict(two_hums, "--format", "audacity").lines == edges
    rttm = [line.split() for line in predict(two_hums, "--format", "rttm").lines]
    assert all(len(fields) == 10 and fields[:3] == ["SPEAKER", "two_hums", "1"] for fields in rttm)
    assert [(float(fields[3]), fields[7]) for fields in rttm] == [(each["start"], each["label"]) for each in segments]
    assert sum(float(fields[4]) for fields in rttm) == pytest.approx(120.0)
    text = predict(two_hums, "--segments").lines
    assert text[0] == str(two_hums)
    assert len(text) == len(segments) + 1


def test_audacity_takes_one_recording(predict, recordings):
    found = predict(recordings, "--format", "audacity")
    assert found.status == 1
    assert "expected one recording, found 3" in found.err


def test_answers_in_a_file(predict, recordings, tmp_path):
    out = tmp_path / "answers.jsonl"
    assert predict(recordings, "--json", "--out", out).status == 0
    assert len(out.read_text().splitlines()) == 3 + 1
    before = out.read_text()
    found = predict(recordings, "--out", out)
    assert found.status == 1
    assert "exists already" in found.err
    assert out.read_text() == before
    assert predict(recordings / "b.flac", "--out", out, "--overwrite").status == 0
    assert len(out.read_text().splitlines()) == 1


@pytest.mark.parametrize("flags", [["--top", "0"], ["--reject", "1"], ["--format", "xml"], []])
def test_wrong_flags_return_2(flags, recordings):
    paths = [str(recordings)] if flags else []
    with pytest.raises(SystemExit) as exit_:
        cli.main(["predict", "nowhere", *flags, *paths])
    assert exit_.value.code == 2


def test_no_run_is_one_line(predict, recordings, tmp_path):
    found = predict(recordings, run=tmp_path)
    assert found.status == 1
    assert found.err.count("\n") == 1
    assert "expected states-*.ckpt or dev-best.ckpt, found neither" in found.err


def test_a_reader_that_has_had_enough(uncalibrated, recordings, tmp_path):
    for number in range(200):
        shutil.copy(recordings / "a b.wav", tmp_path / f"{number}.wav")
    code = "import sys; from lid_mapmix.apps.cli import main; sys.exit(main())"
    command = [
        sys.executable,
        "-c",
        code,
        "predict",
        str(uncalibrated),
        "--device",
        "cpu",
        "--any-sound",
        "--format",
        "json",
    ]
    process = subprocess.Popen(
        [*command, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "downstream"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("{")
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read().splitlines() == [
        f"[lid_mapmix] probabilities are not calibrated: {uncalibrated} has no calibration"
    ]


def test_a_name_of_two_lines_is_one_line(predict, recordings, tmp_path):
    """An answer and an error are a line each, and no name moves the cursor of a terminal."""
    name = "a\n\x1b[31mb.wav"
    shutil.copy(recordings / "a b.wav", tmp_path / name)
    (tmp_path / "none\n.wav").write_bytes(b"no")
    found = predict(tmp_path)
    assert [line.split(": ")[0] for line in found.lines] == [rf"{tmp_path}/a\n\x1b[31mb.wav"]
    faults = [line for line in found.err.splitlines() if not line.startswith("[lid_mapmix]")]
    assert len(faults) == 1
    assert rf"{tmp_path}/none\n.wav" in faults[0]
    assert predict(tmp_path / name, "--segments").lines[0] == rf"{tmp_path}/a\n\x1b[31mb.wav"
    assert json.loads(predict(tmp_path / name, "--json").lines[0])["name"] == f"{tmp_path}/{name}"


def test_a_path_that_is_not_there_is_not_said_to_be_of_a_manifest(predict, tmp_path):
    for name in ("gone.wav", "gone.csv", "gone"):
        found = predict(tmp_path / name)
        assert found.status == 1
        assert f"{tmp_path / name}: no such file or folder." in found.err
        assert "relative" not in found.err
        assert "--data" not in found.err


def test_a_folder_that_cannot_be_read_is_reported(predict, recordings, tmp_path, monkeypatch):
    """Whatever lies in it has no answer, which is not passed over in silence."""
    (tmp_path / "locked").mkdir()
    shutil.copy(recordings / "a b.wav", tmp_path / "open.wav")
    scan = os.scandir

    def refuse(path):  # rights would not stop a superuser
        if str(path) == str(tmp_path / "locked"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = predict(tmp_path)
    assert found.status == 1
    assert [line.split(": ")[0] for line in found.lines] == [str(tmp_path / "open.wav")]
    assert f"{tmp_path / 'locked'}: cannot be read (Permission denied)" in found.err


def test_answers_replace_no_folder_and_no_device(predict, recordings, tmp_path):
    for out in (tmp_path, os.devnull):
        found = predict(recordings, "--out", out, "--overwrite")
        assert found.status == 1
        assert f"error: {out}: expected a file to write" in found.err
