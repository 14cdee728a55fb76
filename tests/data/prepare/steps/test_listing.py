"""What all published corpora share: nobody in two splits, only classes that train has, no more hours than asked for."""

import errno
import itertools
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from helpers.layouts import read_rows, values, write_tone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lid_mapmix.data.audio import lengths
from lid_mapmix.data.labels import read_labels
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.data.prepare.steps import listed_audio, prepared_folder
from lid_mapmix.data.prepare.steps.corpus import Listing, Options, SplitBy, Utterance
from lid_mapmix.data.prepare.steps.listing import prepare_listed
from lid_mapmix.utils.errors import UserError

NAMES = st.sampled_from(["", "p", "q", "r", "s", "t", "u", "v"])
SECONDS = 0.3


@pytest.fixture(scope="module")
def audio(tmp_path_factory) -> str:
    return str(write_tone(tmp_path_factory.mktemp("audio") / "one.wav", SECONDS))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["", "", "", "train", "dev", "test"]), NAMES, NAMES),
        min_size=12,
        max_size=60,
    ),
    st.none() | st.floats(0.0001, 0.001),
    st.integers(0, 2),
)
def test_nobody_is_in_two_splits(audio, rows, hours, seed):
    utterances = [
        Utterance(audio, class_name, f"{number}", split, SECONDS, speaker=speaker, group=group)
        for number, (class_name, split, speaker, group) in enumerate(rows)
    ]
    options = Options(dev_fraction=0.3, test_fraction=0.3, max_hours_per_class=hours, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        try:
            prepare_listed(Path(folder), Listing(Path(audio).parent, utterances), corpus="any", options=options)
        except UserError as error:
            # Too few, or too entangled.
            assert any(
                text in str(error) for text in ("one each for train, dev and test", "shares", "expected utterances for")
            )
            assert not list(Path(folder).iterdir())
            return
        # Which also looks for speakers and groups in two splits.
        written = read_rows(Path(folder))
    for row in itertools.chain(*written.values()):
        published = rows[int(row["id"])][1]
        assert published in {"", *(split for split in written if row in written[split])}
    for split in ("dev", "test"):
        assert values(written.get(split, []), "class") <= values(written["train"], "class")
    if hours is not None:
        for name in values(written["train"], "class"):
            count = sum(row["class"] == name for row in written["train"])
            assert count == 1 or count * SECONDS <= hours * 3600


def test_what_belongs_to_a_published_utterance_goes_with_it(audio, tmp_path):
    """Group p was in train by its publisher, and was drawn for test as well."""
    rows = [("train", "p"), *[("", "")] * 10, ("", "p")]
    for seed in range(5):
        utterances = [
            Utterance(audio, "a", f"{n}", split, SECONDS, group=group) for n, (split, group) in enumerate(rows)
        ]
        options = Options(dev_fraction=0.3, test_fraction=0.3, seed=seed)
        folder = tmp_path / str(seed)
        prepare_listed(folder, Listing(Path(audio).parent, utterances), corpus="any", options=options)
        assert {row["id"] for row in read_rows(folder)["train"]} >= {"0", "11"}


def test_a_publishers_dev_is_not_drawn_anew(audio, tmp_path):
    utterances = [
        Utterance(audio, name, f"{name}{number}", "dev" if number < 3 else "", SECONDS, speaker=f"{name}{number}")
        for name, number in itertools.product("ab", range(13))
    ]
    options = Options(dev_fraction=0.4, test_fraction=0.2)
    rows = read_rows(prepare_listed(tmp_path, Listing(tmp_path, utterances), corpus="any", options=options))
    assert values(rows["dev"], "id") == {f"{name}{number}" for name in "ab" for number in range(3)}
    assert {split: len(some) for split, some in rows.items()} == {"train": 16, "dev": 6, "test": 4}


def test_by_file_recordings_stay_whole_and_the_settings_of_before_still_hold(audio, tmp_path):
    utterances = [
        Utterance(audio, "a", f"{number}", seconds=SECONDS, speaker="one", group=f"call{number // 2}")
        for number in range(12)
    ]
    # One file has all of them, so it can be divided in no way.
    with pytest.raises(UserError, match=r"class a: expected at least 3 groups, .* found 1 group"):
        prepare_listed(tmp_path, Listing(tmp_path, utterances), corpus="any", options=Options(split_by=SplitBy.FILE))
    files = [write_tone(tmp_path / f"{number}.wav", SECONDS) for number in range(12)]
    apart = [one._replace(audiopath=str(path)) for one, path in zip(utterances, files, strict=True)]
    listing, folder = Listing(tmp_path, apart), tmp_path / "data"
    prepare_listed(folder, listing, corpus="any", options=Options(split_by=SplitBy.FILE))
    split_of = {}
    for split in ("train", "dev", "test"):
        for name in read_manifest(folder / f"{split}.csv").text_column("group"):
            assert split_of.setdefault(name, split) == split
    assert set(split_of.values()) == {"train", "dev", "test"}
    assert json.loads((folder / "prepared.json").read_text())["split_by"] == "file"
    with pytest.raises(UserError, match="found 1 speaker"):
        prepare_listed(tmp_path / "other", listing, corpus="any", options=Options())
    alone = [one._replace(speaker="") for one in apart]
    prepare_listed(tmp_path / "other", Listing(tmp_path, alone), corpus="any", options=Options())
    assert "split_by" not in json.loads((tmp_path / "other/prepared.json").read_text())


def test_an_interrupted_preparation_starts_again_and_changes_are_noticed(audio, tmp_path):
    def prepare(count: int, **others):
        utterances = [Utterance(audio, "a", f"{number}", seconds=SECONDS) for number in range(count)]
        return prepare_listed(tmp_path / "data", Listing(tmp_path, utterances), corpus="any", options=Options(**others))

    folder = prepare(9)
    before = (folder / "train.csv").read_bytes()
    (folder / "test.csv").unlink()
    assert (prepare(9) / "test.csv").is_file()
    assert (folder / "train.csv").read_bytes() == before
    with pytest.raises(UserError, match=r"already holds labels.yaml, test.csv, dev.csv, train.csv.*--overwrite"):
        prepare(10)
    assert (folder / "train.csv").read_bytes() == before
    prepare(10, overwrite=True)
    assert (folder / "train.csv").read_bytes() != before


def test_copies_of_audio_from_elsewhere_stay_apart(tmp_path):
    paths = [str(write_tone(tmp_path / name / "x.wav")) for name in ("one", "two", "three")]
    utterances = [Utterance(path, "a", path, speaker=path) for path in paths]
    folder = prepare_listed(
        tmp_path / "data", Listing(tmp_path / "one", utterances), corpus="any", options=Options(copy_audio=True)
    )
    rows = read_rows(folder)
    assert len(list((folder / "audio").rglob("*.wav"))) == 3
    assert len(values(itertools.chain(*rows.values()), "audiopath")) == 3


def listed(paths, **fields) -> list[Utterance]:
    return [Utterance(str(path), "a", f"{number}", **fields) for number, path in enumerate(paths)]


def test_copies_stay_below_their_folder_whatever_the_paths(tmp_path):
    origin, out = tmp_path / "corpus/lists", tmp_path / "out/data"
    origin.mkdir(parents=True)
    write_tone(out / "audio/own0.wav")
    paths = [write_tone(tmp_path / "corpus/wav" / f"{number}.wav") for number in range(3)]
    outside = listed(origin / "../wav" / path.name for path in paths)
    prepare_listed(out, Listing(origin, outside), corpus="any", options=Options(copy_audio=True))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["data"]
    assert {path.parent.parent for path in out.rglob("[0-9].wav")} == {out / "audio"}
    # A corpus may be where its copies would go.
    own = listed([out / "audio/own0.wav", *(write_tone(out / f"audio/own{number}.wav") for number in (1, 2))])
    before = (out / "audio/own0.wav").read_bytes()
    options = Options(copy_audio=True, overwrite=True)
    prepare_listed(out, Listing(out / "audio", own), corpus="any", options=options)
    assert (out / "audio/own0.wav").read_bytes() == before
    read_rows(out)


def test_a_full_disk_is_not_the_fault_of_what_is_copied(audio, tmp_path, monkeypatch):
    def prepare():
        options = Options(copy_audio=True)
        return prepare_listed(tmp_path / "data", Listing(tmp_path, listed([audio] * 3)), corpus="any", options=options)

    for error, message in (
        (OSError(errno.ENOSPC, "No space left on device", audio), r"data: no space left on the disk"),
        (PermissionError(errno.EACCES, "Permission denied", audio), r"one\.wav: cannot be read \(Permission denied\)"),
        (
            PermissionError(errno.EACCES, "Permission denied", "elsewhere"),
            r"data: cannot be written \(Permission denied\)",
        ),
    ):
        monkeypatch.setattr(listed_audio.shutil, "copyfile", Mock(side_effect=error))
        with pytest.raises(UserError, match=message):
            prepare()
    assert not list((tmp_path / "data").glob("*.csv"))


def test_bad_audio_is_counted_and_left_out_if_asked(tmp_path, caplog):
    good = [write_tone(tmp_path / f"{number}.wav", SECONDS) for number in range(4)]
    (tmp_path / "link.wav").symlink_to(tmp_path / "not fetched.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "folder.wav").mkdir()

    def prepare(names, seconds=float("nan"), **others):
        utterances = listed([*good, *(tmp_path / name for name in names)], seconds=seconds)
        options = Options(**others)
        return prepare_listed(tmp_path / "data", Listing(tmp_path, utterances), corpus="any", options=options)

    absent, broken = ("gone.wav", "link.wav", "folder.wav"), ("empty.wav", "text.wav")
    with pytest.raises(
        UserError, match=r"expected the listed audio, found .*gone\.wav missing \(3 such\).*--skip-bad-audio"
    ):
        prepare(absent + broken)
    with pytest.raises(UserError, match=r"empty\.wav: is empty .* \(2 such; --skip-bad-audio"):
        prepare(broken)
    assert not (tmp_path / "data").exists()
    for seconds in (float("nan"), SECONDS):
        with caplog.at_level(logging.INFO):
            rows = read_rows(prepare(absent + broken, seconds, skip_bad_audio=True, overwrite=True))
        assert values(itertools.chain(*rows.values()), "audiopath") == set(map(str, good))
        assert "dropped 3 of 9 utterances whose audio is missing, such as" in caplog.text
        assert "dropped 2 of 6 utterances whose audio is unreadable or too short; the first:" in caplog.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seconds": np.inf}, "no duration above 0"),
        ({"seconds": -1.0}, "no duration above 0"),
        ({"seconds": 1.0, "start": -0.5}, "a start that is not 0 or above"),
        ({"seconds": 1.0, "start": 0.5, "end": 0.5}, "an end that is not after its start"),
        ({"seconds": 1.0, "end": np.inf}, "an end that is not after its start"),
    ],
)
def test_times_that_no_manifest_may_have(audio, tmp_path, fields, message):
    utterances = [*listed([audio] * 4), Utterance(audio, "a", "odd", **fields)]
    with pytest.raises(UserError, match=rf"odd has {message} \(1 such\)"):
        prepare_listed(tmp_path / "data", Listing(tmp_path, utterances), corpus="any", options=Options())
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", [b"caf\xe9", b"Icon\r"])
def test_names_that_no_manifest_can_hold(audio, tmp_path, name):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b".wav")
    shutil.copyfile(audio, path)
    with pytest.raises(UserError, match=r"expected UTF-8 without carriage returns, found .*Rename it") as raised:
        prepare_listed(tmp_path / "data", Listing(tmp_path, listed([audio, path])), corpus="any", options=Options())
    assert "\r" not in str(raised.value)
    str(raised.value).encode()


def test_a_header_is_read_once_whatever_the_utterances_of_the_file(audio, tmp_path, monkeypatch):
    read, read_header = [], lengths.read_header
    monkeypatch.setattr(lengths, "read_header", lambda path: read.append(path) or read_header(path))
    other = write_tone(tmp_path / "other.wav", 0.5)
    assert listed_audio.read_seconds([audio, str(other), audio]).tolist() == [SECONDS, 0.5, SECONDS]
    assert sorted(read) == sorted([Path(audio), other])
    read.clear()
    utterances = listed([audio] * 4, start=0.1, end=0.4)
    prepare_listed(tmp_path / "data", Listing(tmp_path, utterances), corpus="any", options=Options())
    assert read == [Path(audio)]


def test_overwrite_makes_anew_what_has_the_same_settings(tmp_path):
    paths = [write_tone(tmp_path / f"{number}.wav", 0.3) for number in range(3)]

    def prepare(**others):
        options = Options(**others)
        return prepare_listed(tmp_path / "data", Listing(tmp_path, listed(paths)), corpus="any", options=options)

    assert values(itertools.chain(*read_rows(prepare()).values()), "seconds") == {"0.3"}
    # As where what was unpacked in part is unpacked again.
    for path in paths:
        write_tone(path, 0.5)
    assert values(itertools.chain(*read_rows(prepare()).values()), "seconds") == {"0.3"}
    assert values(itertools.chain(*read_rows(prepare(overwrite=True)).values()), "seconds") == {"0.5"}


def test_one_process_at_a_time_prepares_a_folder(audio, tmp_path):
    def prepare(name: str, folder: Path = tmp_path / "new/data", **others):
        utterances = [Utterance(audio, name, f"{number}") for number in range(3)]
        return prepare_listed(folder, Listing(tmp_path, utterances), corpus="any", options=Options(**others))

    with (
        prepared_folder.preparation(tmp_path / "new/data", {}, overwrite=True) as needed,
        pytest.raises(UserError, match="another process is preparing it"),
    ):
        assert needed
        prepare("a", overwrite=True)
    assert not (tmp_path / "new").exists()
    # What one has left that was killed.
    (tmp_path / "new/data").mkdir(parents=True)
    (tmp_path / "new/data/.train.csv.0123abcd.part").write_text("audiopath")
    (tmp_path / "new/data/.prepare.lock").write_text("")
    expected = {"train.csv", "dev.csv", "test.csv", "labels.yaml", "prepared.json"}
    assert {path.name for path in prepare("a").iterdir()} == expected


def test_a_file_system_without_locks_will_do(audio, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(
        prepared_folder.FileLock, "acquire", Mock(side_effect=OSError(errno.ENOLCK, "No locks available"))
    )
    prepare_listed(tmp_path / "data", Listing(tmp_path, listed([audio] * 3)), corpus="any", options=Options())
    assert "data: this file system has no locks" in caplog.text
    read_rows(tmp_path / "data")


def test_one_that_was_quicker_is_not_replaced(audio, tmp_path, monkeypatch):
    def prepare(name: str):
        utterances = [Utterance(audio, name, f"{number}") for number in range(3)]
        return prepare_listed(tmp_path / "data", Listing(tmp_path, utterances), corpus="any", options=Options())

    class Quicker(prepared_folder.FileLock):
        """The lock, which is there once another process has ended."""

        def acquire(self, *arguments, **keywords):
            if not (tmp_path / "data/train.csv").exists():
                monkeypatch.undo()
                prepare("quick")
            return super().acquire(*arguments, **keywords)

    monkeypatch.setattr(prepared_folder, "FileLock", Quicker)
    with pytest.raises(UserError, match="already holds"):
        prepare("slow")
    assert values(read_rows(tmp_path / "data")["train"], "class") == {"quick"}


def test_what_was_there_stays_until_the_new_is_complete(audio, tmp_path, monkeypatch):
    def prepare(name: str, **others):
        utterances = [Utterance(audio, name, f"{number}") for number in range(3)]
        options = Options(**others)
        return prepare_listed(tmp_path / "data", Listing(tmp_path, utterances), corpus="any", options=options)

    folder = prepare("old")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(path, columns):
        if "test" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_manifest(path, columns)

    write_manifest = prepared_folder.write_manifest
    with monkeypatch.context() as patched:
        patched.setattr(prepared_folder, "write_manifest", full_disk)
        with pytest.raises(UserError, match=r"data: no space left on the disk"):
            prepare("new", overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # Both forms of a manifest in one folder would be refused by what reads it.
    (folder / "train.csv").rename(folder / "train.parquet")
    with pytest.raises(UserError, match=r"already holds .*train\.parquet"):
        prepare("new")
    assert values(read_rows(prepare("new", overwrite=True))["train"], "class") == {"new"}
    assert not (folder / "train.parquet").exists()


def test_labels_are_those_of_train(audio, tmp_path):
    def prepare(clusters: dict):
        rows = [Utterance(audio, name, f"{name}{number}") for name, number in itertools.product("ab", range(3))]
        options = Options(overwrite=True)
        prepare_listed(tmp_path / "data", Listing(tmp_path, rows, clusters=clusters), corpus="any", options=options)
        return read_labels(tmp_path / "data/labels.yaml").clusters

    assert prepare({"one": ("x",), "two": ("b", "y", "a")}) == {"two": ("b", "a")}
    with pytest.raises(UserError, match=r"expected the classes a, found b\. Add the class to labels.yaml"):
        prepare({"one": ("a",)})


def test_nothing_listed(tmp_path):
    with pytest.raises(UserError, match="expected utterances, found none"):
        prepare_listed(tmp_path / "data", Listing(tmp_path, []), corpus="any", options=Options())
