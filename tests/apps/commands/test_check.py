"""``lid-mapmix check``: a corpus for each kind of fault, the same without any, and what --fix leaves."""

import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import yaml
from helpers.launching import train
from helpers.synthetic import CLASSES, hum, make_corpus, write_sphere_ulaw
from lid_mapmix.apps import cli
from lid_mapmix.data.check import cleaning
from lid_mapmix.data.check.findings import KINDS, Severity
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.data.export.manifests import export_manifests
from lid_mapmix.data.export.packing import pack
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from scipy.signal import resample_poly

RATE = 16_000
FIRST = "audio/train/xaa-one-0.wav"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Return a corpus without a fault; not to be changed."""
    return make_corpus(tmp_path_factory.mktemp("clean"), sizes={"train": 6, "dev": 2, "test": 2})


@pytest.fixture
def own(clean, tmp_path):
    """Return a copy that a test may spoil."""
    return shutil.copytree(clean, tmp_path / "data")


def check(*arguments):
    return cli.main(["check", *map(str, arguments)])


def report_of(folder, *flags, file="report.json"):
    """Check, and return exit status and report."""
    path = folder.parent / file
    status = check(folder, *flags, "--json", path)
    return status, json.loads(path.read_text())


def names_of(report):
    return {finding["name"] for finding in report["findings"]}


def edit(folder, split, change):
    """Change the columns of a manifest, given as lists."""
    columns = {name: list(values) for name, values in read_manifest(folder / f"{split}.csv").columns.items()}
    change(columns)
    write_manifest(folder / f"{split}.csv", columns)


def in_all(folder, change):
    for split in ("train", "dev", "test"):
        edit(folder, split, change)


def write(folder, audio, name=FIRST, rate=RATE, **form):
    soundfile.write(folder / name, audio, rate, **form)


def with_values(**values):
    """Return a change of the first row."""

    def change(columns):
        for name, value in values.items():
            columns.setdefault(name, [np.nan if name in ("start", "end") else ""] * len(columns["class"]))[0] = value

    return change


def without(name):
    def change(columns):
        kept = [index for index, other in enumerate(columns["class"]) if other != name]
        for column, values in columns.items():
            columns[column] = [values[index] for index in kept]

    return change


def add_row(path, name, seconds):
    def change(columns):
        row = {"audiopath": path, "id": path, "class": name, "seconds": seconds, "source": "hum"}
        for column, values in columns.items():
            values.append(row[column])

    return change


def narrow(audio):
    """Return audio as it is after 8 kHz."""
    return resample_poly(resample_poly(audio, 1, 2), 2, 1)


def unknown_length(folder):
    path = folder / "piped.flac"
    write(folder, hum(1.0, 120, 1), path.name)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    edit(folder, "train", with_values(audiopath="piped.flac"))


def breaks_off(folder, name):
    path = folder / name
    write(folder, hum(1.0, 120, 1), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    edit(folder, "train", with_values(audiopath=name))


def joined(folder):
    write(folder, hum(1.0, 120, 1), "a.mp3")
    (folder / "a.mp3").write_bytes((folder / "a.mp3").read_bytes() * 2)
    edit(folder, "train", with_values(audiopath="a.mp3"))


def unfinished(folder):
    content = bytearray((folder / FIRST).read_bytes())
    content[40:44] = bytes(4)
    (folder / FIRST).write_bytes(content)


def truncated(folder):
    path = folder / FIRST
    path.write_bytes(path.read_bytes()[:-1000])


def truncated_sphere(folder):
    path = write_sphere_ulaw(folder / "a.sph", bytes(range(256)) * 40, RATE)
    path.write_bytes(path.read_bytes()[:-100])
    edit(folder, "train", with_values(audiopath="a.sph", seconds=0.64))


def packed_sphere(folder):
    path = write_sphere_ulaw(folder / "a.sph", bytes(5000))
    path.write_bytes(path.read_bytes().replace(b"-s4 ulaw", b"-s26 ulaw,embedded-shorten-v2.00"))
    edit(folder, "train", with_values(audiopath="a.sph"))


def other_byte_rate(folder):
    data = bytearray((folder / FIRST).read_bytes())
    data[28:32] = (RATE // 2 * 2).to_bytes(4, "little")
    (folder / FIRST).write_bytes(data)


def not_finite(folder):
    audio = hum(1.0, 120, 1)
    audio[5000] = np.nan
    write(folder, audio, subtype="FLOAT")


def band_is_class(folder):
    for path in sorted((folder / "audio").rglob("xaa-one-*.wav")):
        write(folder, narrow(soundfile.read(path)[0]), path)


def band_and_class(folder):
    """Half of a class at 8 kHz."""

    def change(columns):
        for number, name in enumerate(CLASSES):
            for index in range(30):
                path = f"audio/{name}-{index}-short.wav"
                rate = 8_000 if number == 0 and index % 5 < 2 else RATE
                write(folder, hum(0.6, 200, 100 * number + index, rate), path, rate)
                add_row(path, name, 0.6)(columns)

    edit(folder, "train", change)


def copied(folder, target):
    shutil.copy(folder / FIRST, folder / target)


def repeated(folder):
    copied(folder, "audio/again.wav")
    edit(folder, "train", add_row("audio/again.wav", "xaa-one", 1.0))


def parts_in_two_splits(folder):
    edit(folder, "train", with_values(start=0.0, end=0.5, seconds=0.5))
    edit(folder, "dev", with_values(audiopath=FIRST, start=0.5, end=1.0, seconds=0.5))


def whole_and_part(folder):
    edit(folder, "dev", with_values(audiopath=FIRST, start=0.5, end=1.0, seconds=0.5))


def gsm(folder):
    write(folder, hum(1.0, 120, 1), format="WAV", subtype="GSM610")


def low_rate(folder):
    write(folder, hum(1.0, 120, 1)[:450] - hum(1.0, 120, 1)[:450].mean(), rate=150)
    edit(folder, "train", with_values(seconds=3.0))


def one_class(folder):
    in_all(folder, lambda columns: columns.update({"class": ["xaa-one"] * len(columns["class"])}))


def one_misspelt(folder):
    edit(folder, "train", with_values(**{"class": "xaa-one "}))


def spelt(folder, name, other):
    in_all(folder, lambda columns: columns.update({"class": [name if c == "xaa-one" else c for c in columns["class"]]}))
    in_all(folder, with_values(**{"class": other}))
    edit(folder, "train", lambda columns: columns["class"].__setitem__(1, other))


def long_class(folder):
    write(folder, hum(30.0, 120, 7), "audio/long.wav")
    edit(folder, "train", add_row("audio/long.wav", "xaa-two", 30.0))
    few(folder)


def few(folder):
    edit(folder, "train", without("xaa-one"))
    edit(folder, "train", add_row(FIRST, "xaa-one", 1.0))


def labels(folder, *names):
    (folder / "labels.yaml").write_text(yaml.safe_dump({"all": list(names)}))


# What spoils a corpus, and all kinds of fault that it has then.
FAULTS = {
    "missing": (lambda folder: (folder / FIRST).unlink(), {"missing"}),
    "0 bytes": (lambda folder: (folder / FIRST).write_bytes(b""), {"empty"}),
    "no samples": (lambda folder: write(folder, np.zeros(0)), {"empty"}),
    "text": (lambda folder: (folder / FIRST).write_text("text" * 100), {"unreadable"}),
    "packed SPHERE": (packed_sphere, {"unreadable"}),
    "GSM": (gsm, {"unreadable"}),
    "flac from a pipe": (unknown_length, {"unknown length"}),
    "unfinished wav": (unfinished, {"unknown length"}),
    "joined mp3": (joined, {"joined"}),
    "m4a": (lambda folder: (folder / FIRST).write_bytes(b"\0\0\0 ftypM4A " * 100), {"unreadable"}),
    "cut wav": (truncated, {"truncated"}),
    "cut SPHERE": (truncated_sphere, {"truncated"}),
    "cut flac": (lambda folder: breaks_off(folder, "cut.flac"), {"breaks off"}),
    "more seconds": (lambda folder: edit(folder, "train", with_values(seconds=1.5)), {"shorter"}),
    "end too late": (lambda folder: edit(folder, "train", with_values(start=0.0, end=1.3)), {"ends late"}),
    "fewer seconds": (lambda folder: edit(folder, "train", with_values(seconds=0.7)), {"longer"}),
    "end far too late": (
        lambda folder: edit(folder, "train", with_values(start=0.0, end=10.0, seconds=0.5)),
        {"shorter"},
    ),
    "one sample": (lambda folder: write(folder, hum(1, 120, 1)[:1]), {"shorter"}),
    "300 samples": (lambda folder: write(folder, hum(1, 120, 1)[:300]), {"shorter"}),
    "300 samples said": (
        lambda folder: (write(folder, hum(1, 120, 1)[:300]), edit(folder, "train", with_values(seconds=0.019))),
        {"too short"},
    ),
    "byte rate": (other_byte_rate, {"rate in doubt"}),
    "8 kHz said to be 16": (
        lambda folder: write(folder, hum(1.0, 120, 1, 8_000)),
        {"shorter"},
    ),
    "16 kHz said to be 12": (
        lambda folder: write(folder, hum(1.0, 120, 1), rate=12_000),
        {"longer", "sample rates", "band"},
    ),
    "150 Hz": (low_rate, {"rate in doubt", "sample rates", "band"}),
    "rate": (lambda folder: write(folder, hum(1.0, 120, 1, 22_050), rate=22_050), {"sample rates"}),
    "stereo": (lambda folder: write(folder, np.stack([hum(1.0, 120, 1), hum(1.0, 120, 2)], 1)), {"channels"}),
    "opposite channels": (
        lambda folder: write(folder, np.stack([hum(1.0, 120, 1), -hum(1.0, 120, 1)], 1)),
        {"channels", "opposite channels"},
    ),
    "NaN": (not_finite, {"not finite"}),
    "silence": (lambda folder: write(folder, np.zeros(RATE)), {"silent"}),
    "band": (lambda folder: write(folder, narrow(hum(1.0, 120, 1))), {"band"}),
    "bandwidth and class": (band_and_class, {"bandwidth and class", "sample rates"}),
    "bandwidth by class": (band_is_class, {"bandwidth by class"}),
    "copy": (repeated, {"duplicate"}),
    "copy in dev": (lambda folder: copied(folder, "audio/dev/xaa-one-0.wav"), {"duplicate across splits"}),
    "copy of another class": (lambda folder: copied(folder, "audio/train/ybb-one-0.wav"), {"contradictory labels"}),
    "speaker": (lambda folder: in_all(folder, with_values(speaker="anna")), {"speaker across splits"}),
    "group": (lambda folder: in_all(folder, with_values(group="tape 1")), {"group across splits"}),
    "parts": (parts_in_two_splits, {"recording across splits"}),
    "whole and part": (whole_and_part, {"recording across splits"}),
    "id": (
        lambda folder: edit(folder, "train", lambda columns: columns.update({"id": ["one"] * len(columns["id"])})),
        {"repeated id"},
    ),
    "no dev": (lambda folder: (folder / "dev.csv").unlink(), {"split missing"}),
    "no train": (lambda folder: (folder / "train.csv").unlink(), {"no training data"}),
    "unknown": (lambda folder: labels(folder, *CLASSES[:3]), {"unknown class"}),
    "untrained": (lambda folder: edit(folder, "train", without("xaa-one")), {"class not trained"}),
    "listed only": (
        lambda folder: labels(folder, *CLASSES, "xcc-one"),
        {"class not trained", "class not evaluated"},
    ),
    "unevaluated": (lambda folder: edit(folder, "dev", without("xaa-one")), {"class not evaluated"}),
    "spelt": (lambda folder: spelt(folder, "xaa-one", "XAA_ One"), {"spelt in two ways"}),
    "spelt, once": (one_misspelt, {"spelt in two ways"}),
    "labels.yaml spelt": (lambda folder: labels(folder, "XAA-one", *CLASSES[1:]), {"spelt in two ways"}),
    "one class": (one_class, {"one class"}),
    "few": (few, {"imbalance"}),
    "very few": (long_class, {"strong imbalance"}),
}
NOT_MENDED = {"no train", "bandwidth by class", "one class"}


def test_each_kind_of_fault_has_a_corpus_that_has_it():
    assert set().union(*(kinds for _, kinds in FAULTS.values())) == set(KINDS)


def test_a_clean_corpus_has_no_fault(clean, tmp_path, capsys):
    assert check(clean, "--deep") == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "nothing found"
    assert captured.err == ""
    assert check(clean) == 0


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_mended(own, tmp_path, name, capsys):
    spoil, kinds = FAULTS[name]
    spoil(own)
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*")}
    bad = any(KINDS[kind].severity is Severity.ERROR for kind in kinds)
    status, report = report_of(own, "--deep")
    assert names_of(report) == kinds
    assert (status, report["safe"]) == (int(bad), not bad)
    errors = capsys.readouterr().err.splitlines()
    # Of more than a second, on a machine with other work, progress is shown.
    assert len([line for line in errors if line.strip() and "samples:" not in line]) == bad
    fixed = tmp_path / "elsewhere" / "fixed"
    assert check(own, "--deep", "--fix", "--out", fixed) == int(name in NOT_MENDED)
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*")} == before
    if name in NOT_MENDED:
        return
    status, report = report_of(fixed, "--deep", file="again.json")
    assert (status, report["safe"]) == (0, True)
    corpus = Corpus(str(fixed), None)
    for split in ("train", "dev", "test"):
        if corpus.has(split):
            opened = corpus.split(split)
            assert all(
                np.isfinite(opened.read(row, 0, int(opened.counts[row]))).all()
                for row in range(len(opened.target_classes))
            )


def test_repeated_ids_are_one_finding_of_several_and_no_utterance_is_lost(own, tmp_path, capsys):
    """Once the end of the check."""
    write(own, hum(1.0, 120, 1, 22_050), rate=22_050)
    edit(own, "train", lambda columns: columns["id"].__setitem__(slice(3), ["x", "x", "x#2"]))
    status, report = report_of(own, "--deep")
    assert (status, names_of(report)) == (1, {"repeated id", "sample rates"})
    finding = next(one for one in report["findings"] if one["name"] == "repeated id")
    assert (finding["count"], finding["examples"]) == (1, ["train x: 2 rows"])
    assert check(own, "--fix", "--out", tmp_path / "fixed") == 0
    assert read_manifest(tmp_path / "fixed/train.csv").columns["id"][:3].tolist() == ["x", "x#2", "x#2#2"]


def test_an_utterance_that_ends_just_after_its_audio_is_shortened(own, tmp_path, capsys):
    edit(own, "train", with_values(start=0.5, end=1.5, seconds=1.0))
    assert check(own, "--fix", "--out", tmp_path / "fixed") == 0
    assert "shortened 1 to the end of their audio" in capsys.readouterr().out
    manifest, before = read_manifest(tmp_path / "fixed/train.csv"), read_manifest(own / "train.csv")
    assert len(manifest) == len(before)
    assert [manifest.columns[name][0] for name in ("start", "end", "seconds")] == [0.5, 1.0, 0.5]


def test_the_examples_say_what_and_where(own, capsys):
    packed_sphere(own)
    for index in range(1, 6):
        (own / f"audio/train/xaa-one-{index}.wav").unlink()
    assert check(own) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("error    missing"))
    assert lines[at].split()[2:] == ["5", "utterances"]
    assert [f"train audio/train/xaa-one-{index}.wav" in lines[at + 1 + index] for index in (1, 2, 3)] == [True] * 3
    assert "xaa-one-4" not in captured.out
    assert "decompress it with sph2pipe" in captured.out
    assert captured.err.startswith(f"error: {own}: not safe to train on: missing, unreadable. ")


def test_a_header_that_a_recorder_never_completed_is_told_from_an_empty_file(own, capsys):
    unfinished(own)
    write(own, np.zeros(0), "audio/train/xaa-one-1.wav")
    assert check(own) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{FIRST}: expected its length in the header, found an unfinished header" in printed
    assert "xaa-one-1.wav: expected audio, found none in the file" in printed


def test_the_band_is_told_by_class(own, capsys):
    band_is_class(own)
    report = report_of(own, "--deep")[1]
    (finding,) = report["findings"]
    assert finding["count"] == 10
    assert finding["figures"]["cramers_v"] > 0.9
    assert finding["examples"][-1] == "limited: xaa-one 100%, xaa-two 0%, ybb-one 0%, ybb-two 0%"
    # The header does not know.
    assert names_of(report_of(own, file="shallow.json")[1]) == set()


def test_what_is_found_does_not_depend_on_threads(own, capsys):
    for index in range(6):
        (own / f"audio/train/xaa-one-{index}.wav").write_text("x" * index)
    copied_from = own / "audio/train/xaa-two-0.wav"
    for index in range(1, 5):
        shutil.copy(copied_from, own / f"audio/train/ybb-two-{index}.wav")
    reports = [report_of(own, "--deep", "--threads", threads, file=f"{threads}.json")[1] for threads in (1, 3, 8)]
    assert reports[0] == reports[1] == reports[2]
    assert names_of(reports[0]) >= {"empty", "unreadable", "contradictory labels"}


# The encoder of mp3 cuts off what is above 7 kHz.
@pytest.mark.parametrize(
    ("name", "kinds"), [("a.flac", set()), ("a.mp3", {"band"}), ("a.ogg", set()), ("a.sph", set())]
)
def test_formats_are_read_to_their_end(own, name, kinds):
    write(own, hum(1.0, 120, 1), name, **({"format": "NIST", "subtype": "PCM_16"} if name == "a.sph" else {}))
    edit(own, "train", with_values(audiopath=name))
    assert names_of(report_of(own, "--deep")[1]) == kinds


def test_utterances_too_short_for_a_spectrum_are_in_no_band(own):
    """In a corpus that is all upsampled they would seem to be the wide ones."""
    for path in sorted((own / "audio").rglob("*.wav")):
        write(own, narrow(soundfile.read(path)[0]), path)
    for index in range(6):
        write(own, hum(0.3, 120, index), f"audio/train/xaa-one-{index}.wav")
    edit(own, "train", lambda columns: columns.update(seconds=[0.3] * 6 + columns["seconds"][6:]))
    assert names_of(report_of(own, "--deep")[1]) == set()


def test_a_file_of_several_rows_is_opened_once(own, monkeypatch):
    def change(columns):
        count = len(columns["class"])
        columns.update(audiopath=[FIRST] * count, seconds=[0.04] * count, id=[f"part {n}" for n in range(count)])
        columns["start"] = [0.04 * number for number in range(count)]
        columns["end"] = [0.04 * (number + 1) for number in range(count)]

    edit(own, "train", change)
    opened = []
    original = soundfile.SoundFile.__init__

    def counting(file, path, *arguments, **keywords):
        opened.append(os.fsdecode(path))
        original(file, path, *arguments, **keywords)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", counting)
    assert names_of(report_of(own, "--deep")[1]) == set()
    # Once for its header, once for its samples.
    assert opened.count(str(own / FIRST)) == 2


def test_fix_keeps_evaluation_data_and_says_what_went(own, tmp_path, capsys):
    (own / "audio/train/xaa-one-0.wav").unlink()
    copied_from, copied_to = own / "audio/train/xaa-two-1.wav", own / "audio/test/xaa-two-1.wav"
    shutil.copy(copied_from, copied_to)
    spelt(own, "xaa-one", "XAA_ONE")
    fixed = tmp_path / "fixed"
    assert check(own, "--deep", "--fix", "--out", fixed) == 0
    printed = capsys.readouterr().out
    assert "renamed 'XAA_ONE' to 'xaa-one'" in printed
    assert (fixed / "dropped.csv").read_text().splitlines() == [
        "split,id,reason",
        "train,audio/train/xaa-one-0.wav,missing",
        "train,audio/train/xaa-two-1.wav,duplicate across splits",
    ]
    assert len(read_manifest(fixed / "test.csv")) == 8
    left = read_manifest(fixed / "train.csv")
    assert len(left) == 22
    # Data maps know utterances by their ids, which stay.
    assert left.columns["id"][0] == "audio/train/xaa-one-1.wav"
    assert left.audio_path(0).resolve() == (own / "audio/train/xaa-one-1.wav").resolve()
    assert yaml.safe_load((fixed / "labels.yaml").read_text()) == {
        "xaa": ["xaa-one", "xaa-two"],
        "ybb": ["ybb-one", "ybb-two"],
    }


def test_fix_takes_the_spelling_of_the_manifests_for_that_of_labels(own, tmp_path, capsys):
    """A class that labels.yaml has in capitals was dropped as one that it lacks."""
    labels(own, *CLASSES[:3], "YBB_Two")
    assert check(own, "--fix", "--out", tmp_path / "fixed") == 0
    assert "renamed 'YBB_Two' to 'ybb-two'" in capsys.readouterr().out
    assert len(read_manifest(tmp_path / "fixed/train.csv")) == 24
    assert yaml.safe_load((tmp_path / "fixed/labels.yaml").read_text()) == {"all": list(CLASSES)}


def test_a_fixed_folder_trains(own, tmp_path):
    (own / FIRST).unlink()
    write(own, np.zeros(RATE), "audio/train/ybb-two-0.wav")
    fixed = tmp_path / "fixed"
    assert check(own, "--deep", "--fix", "--out", fixed) == 0
    assert train(own, tmp_path / "spoilt", "-v", "baseline") == 1
    assert train(fixed, tmp_path / "run", "-v", "baseline") == 0
    assert (tmp_path / "run/dev-best.ckpt").is_file()


def test_fix_finds_audio_through_links(own, tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep/er")
    (own / FIRST).unlink()
    assert check(own, "--fix", "--out", tmp_path / "link/out") == 0
    assert check(tmp_path / "deep/er/out") == 0


@pytest.mark.parametrize("target", ["folder", "file", "report"])
def test_nothing_is_overwritten(own, tmp_path, target, capsys):
    (own / FIRST).unlink()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder/mine.txt", tmp_path / "file", tmp_path / "report"):
        path.write_text("mine")
    flags = ["--json", tmp_path / "report"] if target == "report" else ["--fix", "--out", tmp_path / target]
    assert check(own, *flags) == 1
    assert "already. Name" in capsys.readouterr().err
    assert all(
        path.read_text() == "mine" for path in (tmp_path / "folder/mine.txt", tmp_path / "file", tmp_path / "report")
    )
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["mine.txt"]
    if target == "report":
        assert check(own, *flags, "--overwrite") == 1, "not safe to train on"
        assert json.loads((tmp_path / "report").read_text())


def test_fix_that_leaves_nothing_writes_nothing(own, tmp_path, capsys):
    shutil.rmtree(own / "audio/dev")
    assert check(own, "--fix", "--out", tmp_path / "fixed") == 1
    assert "expected utterances to keep in dev, found none" in capsys.readouterr().err
    assert not (tmp_path / "fixed").exists()


@pytest.mark.parametrize("flags", [(), ("--json",), ("--json", "FILE")])
def test_what_was_found_is_told_even_where_nothing_can_be_fixed(flags, own, tmp_path, capsys):
    """It may have taken hours to find."""
    shutil.rmtree(own / "audio/dev")
    assert (
        check(
            own, "--fix", "--out", tmp_path / "fixed", *(tmp_path / "r" if flag == "FILE" else flag for flag in flags)
        )
        == 1
    )
    captured = capsys.readouterr()
    assert "expected utterances to keep in dev, found none" in captured.err
    text = (tmp_path / "r").read_text() if "FILE" in flags else captured.out
    if flags:
        report = json.loads(text)
        assert (names_of(report), report["safe"], "cleaned" in report) == ({"missing"}, False, False)
    else:
        assert "error    missing 8 utterances" in text


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_fixed_folder_is_complete_or_absent(error, own, tmp_path, monkeypatch, capsys):
    (own / FIRST).unlink()
    original, calls = cleaning.write_manifest, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(cleaning, "write_manifest", interrupted)
        assert check(own, "--fix", "--out", tmp_path / "fixed") in (1, 130)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert check(own, "--fix", "--out", tmp_path / "fixed") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "fixed"]


def test_two_that_fix_into_one_folder_do_not_meet(own, tmp_path, monkeypatch, capsys):
    (own / FIRST).unlink()
    original, statuses = cleaning.write_manifest, []

    def second(*arguments):
        if not statuses:
            statuses.append(None)
            statuses.append(check(own, "--fix", "--out", tmp_path / "fixed"))
        return original(*arguments)

    monkeypatch.setattr(cleaning, "write_manifest", second)
    assert check(own, "--fix", "--out", tmp_path / "fixed") == 1
    assert statuses == [None, 0]
    assert "fixed: exists already" in capsys.readouterr().err
    assert check(tmp_path / "fixed") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "fixed"]


def test_json_names_all_utterances_of_a_fault(own):
    """It had the first three, and of what --fix does not drop nothing named the others."""
    for index in range(5):
        tone = hum(1.0, 120, index)
        write(own, np.stack([tone, -tone], 1), f"audio/train/xaa-one-{index}.wav")
        write(own, np.zeros(RATE), f"audio/train/xaa-two-{index}.wav")
    write(own, hum(1.0, 120, 9, 22_050), "audio/dev/xaa-one-0.wav", 22_050)
    in_all(own, with_values(speaker="anna"))
    found = {one["name"]: one["utterances"] for one in report_of(own, "--deep")[1]["findings"]}
    assert found == {
        "silent": {"train": [f"audio/train/xaa-two-{index}.wav" for index in range(5)]},
        "speaker across splits": {split: [f"audio/{split}/xaa-one-0.wav"] for split in ("train", "dev", "test")},
        "channels": {"train": [f"audio/train/xaa-one-{index}.wav" for index in range(5)]},
        "opposite channels": {"train": [f"audio/train/xaa-one-{index}.wav" for index in range(5)]},
        "sample rates": {"dev": ["audio/dev/xaa-one-0.wav"]},
    }


def test_json_without_a_file_is_all_that_is_printed(own, capsys):
    (own / FIRST).unlink()
    assert check(own, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert [finding["name"] for finding in report["findings"]] == ["missing"]


@pytest.mark.parametrize("flags", [(), ("data", "--threads", "0"), ("data", "--depp")])
def test_wrong_flags_return_2(flags):
    with pytest.raises(SystemExit) as exit_:
        check(*flags)
    assert exit_.value.code == 2


@pytest.mark.parametrize("kind", ["none", "empty", "manifest"])
def test_nothing_to_check_is_one_line(tmp_path, kind, capsys):
    folder = tmp_path / "data"
    if kind != "none":
        folder.mkdir()
    if kind == "manifest":
        (folder / "train.csv").write_text("audiopath,seconds\n")
    assert check(folder) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder}")
    assert len(error.splitlines()) == 1


def test_a_packed_corpus_is_checked_as_its_files_are(clean, tmp_path):
    pack(clean, tmp_path / "packed")
    assert check(tmp_path / "packed", "--deep") == 0
    for shard in (tmp_path / "packed").glob("train-*.tar"):
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    status, report = report_of(tmp_path / "packed", "--deep")
    assert status == 1
    assert "unreadable" in names_of(report)
    for shard in (tmp_path / "packed").glob("train-*.tar"):
        shard.unlink()
    status, report = report_of(tmp_path / "packed", file="missing.json")
    assert status == 1
    assert "missing" in names_of(report)


def test_parquet_is_checked_as_csv_is(clean, tmp_path):
    export_manifests(clean, "parquet", tmp_path / "parquet")
    assert check(tmp_path / "parquet", "--deep") == 0
