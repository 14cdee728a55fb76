"""Datasets of Hugging Face, in the layouts of the Hub and of save_to_disk, written with pyarrow."""

import io
import itertools
import json
import logging
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import soundfile
from helpers.layouts import contents, prepare, read_rows, values, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.data.audio.reading import read_audio
from lid_mapmix.utils.errors import UserError
from pyarrow import ipc, parquet

NAMES = ["ara-apc", "ara-arz"]
FEATURES = {"audio": {"_type": "Audio"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
AUDIO = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def tone(seconds: float = 0.3, form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(round(16_000 * seconds)) / 9), 16_000, format=form)
    return file.getvalue()


def make_rows(prefix: str, count: int = 8, form: str = "WAV") -> list[dict]:
    """Return rows of which each class and each of four speakers has some."""
    return [
        {
            "audio": {"bytes": tone(form=form), "path": f"{prefix}{number}.{form.lower()}"},
            "label": number % 2,
            "speaker_id": f"{prefix}{number // 2}",
            "id": f"{prefix}{number}",
        }
        for number in range(count)
    ]


def make_table(rows: list[dict], *, features: dict | None = FEATURES, **types: pyarrow.DataType) -> pyarrow.Table:
    types = {"audio": AUDIO, "label": pyarrow.int64()} | types
    arrays = {name: pyarrow.array([row[name] for row in rows], types.get(name)) for name in rows[0]}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    return pyarrow.table(arrays).replace_schema_metadata(metadata)


def write_parquet(path: Path, table: pyarrow.Table, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, **options)
    return path


def write_saved(folder: Path, table: pyarrow.Table) -> Path:
    """Write a dataset as save_to_disk does, in two files, with a cache and a file of an earlier dataset beside them."""
    folder.mkdir(parents=True)
    names, half = [f"data-0000{number}-of-00002.arrow" for number in range(2)], len(table) // 2
    for name, part in zip(
        [*names, "cache-1.arrow", "data-00000-of-00001.arrow"], [table[:half], table[half:], table, table], strict=True
    ):
        with ipc.new_stream(str(folder / name), part.schema) as stream:
            stream.write_table(part, max_chunksize=3)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.fixture
def hub(tmp_path) -> Path:
    root = tmp_path / "dialects"
    for number, split in enumerate(("train", "train", "validation", "test")):
        name = f"data/{split}-0000{number}-of-00002-0a1b2c3d.parquet"
        write_parquet(root / name, make_table(make_rows(f"{split}{number}-", form="FLAC" if number else "WAV")))
    (root / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    return root


def test_parquet_files_of_the_hub(hub, tmp_path):
    assert cli.main(["prepare", "huggingface", str(hub), "--out", str(tmp_path / "data")]) == 0
    rows = read_rows(tmp_path / "data")
    assert {split: len(some) for split, some in rows.items()} == {"train": 16, "dev": 8, "test": 8}
    for some in rows.values():
        assert values(some, "class") == set(NAMES)
        assert values(some, "seconds") == {"0.3"}
    one = rows["dev"][3]
    assert (one["id"], one["class"], one["speaker"]) == ("validation2-3", "ara-arz", "validation2-1")
    assert one["audiopath"].startswith("shards/audio-000000.tar#")
    audio = read_audio(tmp_path / "data" / one["audiopath"])
    assert np.array_equal(audio, soundfile.read(io.BytesIO(tone(form="FLAC")), dtype="float32")[0])
    # The same again is nothing to do, and a moved folder is complete.
    before = contents(tmp_path / "data")
    assert contents(prepare("huggingface", hub, tmp_path / "data")) == before
    (tmp_path / "data").rename(tmp_path / "moved")
    assert len(read_rows(tmp_path / "moved")["train"]) == 16
    with pytest.raises(UserError, match="made from other settings"):
        prepare("huggingface", hub, tmp_path / "moved", label="id")
    prepare("huggingface", hub, tmp_path / "moved", overwrite=True, skip_bad_audio=True)
    assert sorted(path.name for path in (tmp_path / "moved/shards").iterdir()) == ["audio-000000.tar"]


def test_datasets_saved_to_disk(tmp_path):
    root = tmp_path / "saved"
    for split in ("train", "test"):
        write_saved(root / split, make_table(make_rows(f"{split}-")))
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    rows = read_rows(prepare("huggingface", root, tmp_path / "data", dev_fraction=0.3))
    assert len(rows["test"]) == 8
    assert len(rows["train"]) + len(rows["dev"]) == 8  # without dev, train is divided
    # One dataset without splits.
    write_saved(tmp_path / "one", make_table(make_rows("one-", 12)))
    rows = read_rows(prepare("huggingface", tmp_path / "one", tmp_path / "other"))
    assert {split for split, some in rows.items() if values(some, "class") == set(NAMES)} == {"train", "dev", "test"}
    assert sum(map(len, rows.values())) == 12


def test_columns_and_splits_are_named(tmp_path, caplog):
    root = tmp_path / "hub"
    for split in ("train", "dev", "dev_dialect", "extra"):
        rows = [
            {"speech": row["audio"]["bytes"], "tongue": f" {NAMES[row['label']]}", "id": 1} for row in make_rows(split)
        ]
        write_parquet(root / f"data/{split}-00000-of-00001.parquet", make_table(rows, features=None))
    flags = {"label": "tongue"}
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("huggingface", root, tmp_path / "data", **flags))
    assert "left out the splits dev_dialect, extra" in caplog.text
    # The ids are not unique.
    assert rows["dev"][7]["id"] == "data/dev-00000-of-00001.parquet#7"
    assert values(rows["dev"], "class") == set(NAMES)
    with pytest.raises(UserError, match=r"expected unique ids, found 1 16 times"):
        prepare("huggingface", root, tmp_path / "other", id="id", **flags)
    with pytest.raises(
        UserError, match=r"expected the column label or dialect or .*, found speech, tongue, id. Name it by"
    ):
        prepare("huggingface", root, tmp_path / "other")
    with pytest.raises(UserError, match=r"expected the column voice, found speech, tongue, id. Name it by --speaker"):
        prepare("huggingface", root, tmp_path / "other", speaker="voice", **flags)


def test_rows_without_a_label_are_left_out(tmp_path, caplog):
    for split in ("train", "dev", "test"):
        rows = make_rows(f"{split}-", 10)
        rows[0]["label"], rows[1]["label"] = None, -1
        write_parquet(tmp_path / f"hub/{split}.parquet", make_table(rows))
    with caplog.at_level(logging.INFO):
        found = read_rows(prepare("huggingface", tmp_path / "hub", tmp_path / "data"))
    assert "left out 6 rows without a label" in caplog.text
    assert [len(some) for some in found.values()] == [8, 8, 8]
    rows[2]["label"] = 2
    write_parquet(tmp_path / "hub/dev.parquet", make_table(rows))
    with pytest.raises(UserError, match=r"dev.parquet: expected a complete .*KeyError: 2"):
        prepare("huggingface", tmp_path / "hub", tmp_path / "other")
    write_parquet(tmp_path / "hub/dev.parquet", make_table([row | {"label": [1.0]} for row in rows], label=None))
    with pytest.raises(UserError, match=r"expected text or whole numbers as --label, found \[1.0\]"):
        prepare("huggingface", tmp_path / "hub", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_bytes_that_are_no_audio(tmp_path, caplog):
    for split in ("train", "dev", "test"):
        rows = make_rows(f"{split}-", 10)
        rows[4]["audio"], rows[5]["audio"]["bytes"], rows[6]["audio"]["bytes"] = None, b"no audio", tone()[:-100]
        write_parquet(tmp_path / f"hub/{split}/0000.parquet", make_table(rows))
    with pytest.raises(UserError, match=r"dev/0000.parquet#4: expected audio in .*, found none"):
        prepare("huggingface", tmp_path / "hub", tmp_path / "data")
    assert not (tmp_path / "data").exists()
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("huggingface", tmp_path / "hub", tmp_path / "data", skip_bad_audio=True))
    assert "dropped 9 of 30 rows without readable audio; the first: " in caplog.text
    assert [len(some) for some in rows.values()] == [7, 7, 7]


@pytest.mark.parametrize("audio", [1, [0.1, 0.2], {"bytes": "text", "path": "a.wav"}, {"bytes": None, "path": 1}])
def test_audio_of_another_type_is_refused(audio, tmp_path):
    for split in ("train", "dev"):
        rows = [row | {"audio": audio} for row in make_rows(f"{split}-", 4)]
        write_parquet(tmp_path / f"hub/{split}.parquet", make_table(rows, audio=None))
    with pytest.raises(UserError, match=r"dev.parquet#0: expected bytes or a path as --audio, found "):
        prepare("huggingface", tmp_path / "hub", tmp_path / "data", skip_bad_audio=True)
    assert not (tmp_path / "data").exists()


def test_what_fails_after_its_audio_was_written_keeps_the_earlier_preparation(hub, tmp_path):
    out = prepare("huggingface", hub, tmp_path / "data")
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for split in ("train", "dev"):
        rows = [row | {"audio": {"bytes": tone(0.001), "path": "a.wav"}} for row in make_rows(f"{split}-", 4)]
        write_parquet(tmp_path / f"short/{split}.parquet", make_table(rows))
    with pytest.raises(UserError):
        prepare("huggingface", tmp_path / "short", out, overwrite=True)
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("copies", [False, True])
def test_audio_beside_the_files(copies, tmp_path):
    root = tmp_path / "hub"
    for split in ("train", "dev", "test"):
        rows = [row | {"audio": f"wav/{row['audio']['path']}"} for row in make_rows(f"{split}-", 4)]
        for row in rows:
            write_tone(root / row["audio"], 0.2)
        write_parquet(root / f"{split}.parquet", make_table(rows, audio=pyarrow.string()))
    found = read_rows(prepare("huggingface", root, tmp_path / "data", copy_audio=copies))
    first = found["train"][0]["audiopath"]
    assert first.startswith("shards/audio-000000.tar#") if copies else first == str(root / "wav/train-0.wav")
    assert (tmp_path / "data/shards").exists() == copies


@pytest.mark.parametrize(
    "name",
    [
        "../secret.wav",
        "/etc/hostname",
        "https://example.org/a.wav",
        "wav/../../secret.wav",
        "link.wav",
        "a\0b",
        "x" * 300,
    ],
)
def test_audio_outside_the_folder_is_not_read(name, tmp_path):
    write_tone(tmp_path / "secret.wav")
    for split in ("train", "dev"):
        rows = [row | {"audio": {"bytes": None, "path": name}} for row in make_rows(f"{split}-", 4)]
        write_parquet(tmp_path / f"hub/{split}.parquet", make_table(rows))
    (tmp_path / "hub/link.wav").symlink_to(tmp_path / "secret.wav")
    with pytest.raises(UserError, match=r"dev.parquet#0: expected audio in .*hub, found .*\. Put it there"):
        prepare("huggingface", tmp_path / "hub", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_damaged_and_other_files(hub, tmp_path):
    def refused(message: str, folder: Path = hub) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("huggingface", folder, tmp_path / "data")
        assert "\n" not in str(raised.value)

    path = next(iter(hub.glob("data/valid*")))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused("validation-.*parquet: expected a complete file of a dataset, found other content")
    # What the footer says is there, and the audio is not.
    path.write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
    refused("validation-.*parquet: expected a complete file of a dataset, found other content")
    for path in hub.glob("data/train*"):
        path.unlink()
    refused("expected Parquet files or a dataset of save_to_disk with train, found README.md, data/")
    saved = write_saved(tmp_path / "saved", make_table(make_rows("x")))
    (saved / "data-00001-of-00002.arrow").write_bytes(b"\xff\xff\xff\xff\x10")
    refused("data-00001-of-00002.arrow: expected a complete file of a dataset, found other content", saved)
    table = make_table(make_rows("x"), features=None)
    (saved / "data-00001-of-00002.arrow").unlink()
    write_parquet(saved / "train.parquet", table.replace_schema_metadata({"huggingface": "{"}))
    refused("train.parquet: expected a complete file of a dataset, found other content .*JSONDecodeError", saved)
    assert not (tmp_path / "data").exists()


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    rows = [row | {"audio": {"bytes": tone(10.0), "path": ""}} for row in make_rows("x", 16)]
    peaks = []
    for copies in (1, 4):
        for split, number in itertools.product(("train", "dev"), range(copies)):
            some = [row | {"id": f"{split}{number}-{row['id']}", "speaker_id": f"{split}"} for row in rows]
            write_parquet(tmp_path / f"hub/{split}-{number}.parquet", make_table(some), row_group_size=4)
        tracemalloc.start()
        before = pyarrow.default_memory_pool().max_memory()
        prepare("huggingface", tmp_path / "hub", tmp_path / f"data{copies}")
        peaks.append(tracemalloc.get_traced_memory()[1] + pyarrow.default_memory_pool().max_memory() - before)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2e6
