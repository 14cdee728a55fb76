"""Manifests of Lhotse, written by Lhotse."""

import gzip
import itertools
import logging
from pathlib import Path

import pytest
from helpers.layouts import prepare, read_rows, values, write_tone
from lhotse import CutSet, MonoCut, MultiCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.audio import AudioSource
from lhotse.utils import fastcopy
from lid_mapmix.apps import cli
from lid_mapmix.utils.errors import UserError

CLASSES = ("ara-apc", "ara-arz")


def make_parts(
    folder: Path, prefix: str = "", *, speakers: int = 4
) -> tuple[list[Recording], list[SupervisionSegment]]:
    """Write recordings of 0.8 s, and return them with two supervisions each, of which the second is the later half."""
    recordings, segments = [], []
    for name, number in itertools.product(CLASSES, range(speakers)):
        path = write_tone(folder / "wav" / f"{prefix}{name}-{number}.wav", 0.8)
        recordings.append(Recording.from_file(path))
        for take, start in enumerate((0.0, 0.4)):
            segments.append(
                SupervisionSegment(
                    id=f"{path.stem}-{take}",
                    recording_id=path.stem,
                    start=start,
                    duration=0.4,
                    language=name,
                    speaker=f"{prefix}{number}",
                    custom={"dialect": f"{name}-{take}"},
                )
            )
    return recordings, segments


def write_parts(
    folder: Path, recordings: list[Recording], segments: list[SupervisionSegment], split: str = "all"
) -> Path:
    RecordingSet.from_recordings(recordings).to_file(folder / f"corpus_recordings_{split}.jsonl.gz")
    SupervisionSet.from_segments(segments).to_file(folder / f"corpus_supervisions_{split}.jsonl.gz")
    return folder / f"corpus_supervisions_{split}.jsonl.gz"


def test_supervisions_are_divided_by_speakers_and_recordings(tmp_path):
    path = write_parts(tmp_path, *make_parts(tmp_path))
    assert cli.main(["prepare", "lhotse", str(path), "--out", str(tmp_path / "data")]) == 0
    rows = read_rows(tmp_path / "data")
    found = {row["id"]: row for row in itertools.chain(*rows.values())}
    assert len(found) == 16
    one = found["ara-arz-2-1"]
    assert (one["start"], one["end"], one["seconds"], one["group"]) == ("0.4", "0.8", "0.4", "ara-arz-2")
    assert (one["class"], one["speaker"]) == ("ara-arz", "2")
    custom = read_rows(prepare("lhotse", path, tmp_path / "custom", label_field="dialect"))
    assert values(custom["train"], "class") == {f"{name}-{take}" for name in CLASSES for take in range(2)}


def test_cuts_of_the_splits_are_preferred_to_supervisions(tmp_path):
    for split in ("train", "dev", "test"):
        recordings, segments = make_parts(tmp_path, f"{split}-")
        write_parts(tmp_path, recordings, segments, split)
        whole = [
            MonoCut(f"{one.id}-cut", 0, one.duration, 0, [segments[2 * number].with_offset(0)], recording=one)
            for number, one in enumerate(recordings)
        ]
        CutSet.from_cuts(whole[:3] + whole[4:]).to_file(tmp_path / f"corpus_cuts_{split}.jsonl")
    rows = read_rows(prepare("lhotse", tmp_path, tmp_path / "data"))
    assert {split: len(some) for split, some in rows.items()} == {"train": 7, "dev": 7, "test": 7}
    assert rows["dev"][0]["id"] == "dev-ara-apc-0-cut"
    assert values(rows["dev"], "end") == {"0.4"}  # the supervision's, not the cut's


def test_windows_and_whole_files(tmp_path):
    recordings, segments = make_parts(tmp_path)
    cuts = []
    for number, one in enumerate(recordings):
        first = segments[2 * number]
        if number % 2:
            cuts.append(
                MonoCut(f"w{number}", 0, 0.8, 0, [SupervisionSegment("s", one.id, 0, 0.8, language=first.language)])
            )
            cuts[-1].recording = one
        else:
            # Both supervisions reach out of the window.
            two = [fastcopy(one, start=one.start - 0.1, speaker=None) for one in segments[2 * number : 2 * number + 2]]
            cuts.append(MonoCut(f"w{number}", 0.1, 0.6, 0, two, recording=one))
    path = tmp_path / "cuts.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(path)
    rows = read_rows(prepare("lhotse", path, tmp_path / "data"))
    found = {row["id"]: row for row in itertools.chain(*rows.values())}
    assert [found["w0"][name] for name in ("start", "end", "seconds")] == ["0.1", "0.4", "0.3"]
    assert [found["w0@1"][name] for name in ("start", "end", "seconds")] == ["0.4", "0.7", "0.3"]
    assert [found["w1"][name] for name in ("start", "end", "group", "seconds")] == ["nan", "nan", "", "0.8"]


def sources(*pairs: tuple[str, list[int]], name: str = "x.wav") -> list[AudioSource]:
    return [AudioSource(kind, channels, name) for kind, channels in pairs]


@pytest.mark.parametrize(
    ("channel", "pairs", "found"),
    [
        (0, [("command", [0])], "found command of channels"),
        (0, [("url", [0])], "found url of channels"),
        (1, [("file", [0, 1])], r"file of channels \[1\] for cut, found file of channels \[0, 1\]"),
        ([0, 1], [("file", [0]), ("file", [1])], r"channels \[0, 1\] for cut, found file of channels \[0\], file"),
    ],
)
def test_audio_that_is_no_file_of_these_channels_is_refused(channel, pairs, found, tmp_path):
    marker = tmp_path / "ran"
    recording = Recording("r", sources(*pairs, name=f"touch {marker}"), 16_000, 16_000, 1.0)
    segment = SupervisionSegment("s", "r", 0, 1, channel, language="xaa")
    kind = MultiCut if isinstance(channel, list) else MonoCut
    CutSet.from_cuts([kind("cut", 0, 1, channel, [segment], recording=recording)]).to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(UserError, match=found) as raised:
        prepare("lhotse", tmp_path / "cuts.jsonl", tmp_path / "data")
    assert "\n" not in str(raised.value)
    assert not marker.exists()
    assert not (tmp_path / "data").exists()


def test_one_file_per_channel_and_resampling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recordings, segments = make_parts(tmp_path)
    cuts = []
    for one, segment in zip(recordings, segments[::2], strict=True):
        one.sources = [AudioSource("file", [0], "missing.wav"), AudioSource("file", [1], f"wav/{one.id}.wav")]
        one.channel_ids = [0, 1]
        cuts.append(MonoCut(one.id, 0, 0.8, 1, [segment], recording=one).resample(8000))
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl")
    rows = read_rows(prepare("lhotse", tmp_path / "cuts.jsonl", tmp_path / "data"))
    assert len(list(itertools.chain(*rows.values()))) == 8
    CutSet.from_cuts([one.perturb_speed(1.1) for one in cuts]).to_file(tmp_path / "cuts.jsonl")
    with pytest.raises(UserError, match=r"found file of .*, Speed. Save its audio"):
        prepare("lhotse", tmp_path / "cuts.jsonl", tmp_path / "other")


def test_other_content_is_named(tmp_path):
    recordings, segments = make_parts(tmp_path)
    path = write_parts(tmp_path, recordings, segments)

    def refused(message: str, manifest: Path = path, **others) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("lhotse", manifest, tmp_path / "data", **others)
        assert "\n" not in str(raised.value)

    refused("expected accent of ara-apc-0-0, found None. Name it by --label-field", label_field="accent")
    refused("expected cuts_train.jsonl.gz or supervisions_train.jsonl.gz, found corpus_recordings_all", tmp_path)
    CutSet.from_cuts([MonoCut("bare", 0, 0.8, 0, recording=recordings[0])]).to_file(tmp_path / "cuts.jsonl")
    refused("expected language of bare, found None", tmp_path / "cuts.jsonl")
    mixed = MonoCut("one", 0, 0.8, 0, [segments[0]], recording=recordings[0]).pad(2.0)
    CutSet.from_cuts([mixed]).to_file(tmp_path / "cuts.jsonl")
    refused("expected a file of channels .* for .*, found MixedCut", tmp_path / "cuts.jsonl")
    refused("expected a file of channels .* found Recording", tmp_path / "corpus_recordings_all.jsonl.gz")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(r"expected a complete manifest of Lhotse, found other content \(EOFError")
    with gzip.open(path, "wt") as file:
        file.write("{\n")
    refused("found other content .*Error")
    with gzip.open(path, "wt") as file:
        file.write('{"id": "a", "recording_id": "ara-apc-0", "start": "0", "duration": [1], "channel": 0}\n')
    refused("found other content .*TypeError")
    with gzip.open(path, "wt") as file:
        file.write('{"id": "a", "recording_id": "gone", "start": 0, "duration": 1, "channel": 0}\n')
    refused("found other content .*KeyError: 'gone'")
    path.write_bytes(content)
    (tmp_path / "corpus_recordings_all.jsonl.gz").unlink()
    refused(r"expected a complete manifest of Lhotse, found .*FileNotFoundError.*corpus_recordings_all\.jsonl\.gz")


def test_train_is_divided_where_there_is_no_dev(tmp_path, caplog):
    for split in ("train", "test"):
        write_parts(tmp_path, *make_parts(tmp_path, f"{split}-"), split)
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("lhotse", tmp_path, tmp_path / "data"))
    assert {split: len(some) for split, some in rows.items() if split == "test"} == {"test": 16}
    assert len(rows["train"]) + len(rows["dev"]) == 16
