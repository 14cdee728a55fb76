"""A packed folder is the folder it was made of, and is there whole or not at all."""

import csv
import itertools
import json
import shutil
import tarfile

import numpy as np
import pytest
import soundfile
from helpers.launching import listing
from helpers.synthetic import CLASSES, hum, make_corpus, write_sphere_ulaw
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.data.audio.reading import SAMPLE_RATE, read_audio
from lid_mapmix.data.audio.shards import find_member, read_content
from lid_mapmix.data.export import packing
from lid_mapmix.data.export.packing import ShardWriter, pack
from lid_mapmix.data.labels import read_labels
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from lid_mapmix.utils.errors import UserError

SIZES = {"train": 4, "dev": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder of a training and a dev split; not to be changed."""
    return make_corpus(tmp_path_factory.mktemp("data"), sizes=SIZES, seconds=0.2)


def samples_of(shard):
    """Return key → {extension: bytes} as WebDataset groups members: by what stands before the first dot, in a row."""
    samples, last = {}, None
    with tarfile.open(shard) as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            assert key == last or key not in samples, "members of a sample lie apart"
            samples.setdefault(key, {})[extension] = tar.extractfile(member).read()
            last = key
    return samples


def assert_same_corpus(packed, loose):
    """Compare manifests but for where audio is, and all audio."""
    for split in SIZES:
        one, other = read_manifest(packed / f"{split}.csv"), read_manifest(loose / f"{split}.csv")
        for name in other.columns.keys() - {"audiopath"}:
            np.testing.assert_array_equal(one.columns[name], other.columns[name])
        for index in range(len(other)):
            assert find_member(one.audio_path(index)) is not None
            np.testing.assert_array_equal(read_audio(one.audio_path(index)), read_audio(other.audio_path(index)))


def test_a_packed_folder_is_the_folder(data, tmp_path):
    summary = pack(data, tmp_path / "packed")
    assert (summary.utterances, summary.files, summary.shards) == (20, 20, 2)
    assert summary.audio_bytes == sum(path.stat().st_size for path in data.rglob("*.wav"))
    assert_same_corpus(tmp_path / "packed", data)
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == [
        "dev-000000.tar",
        "dev.csv",
        "labels.yaml",
        "packed.json",
        "train-000000.tar",
        "train.csv",
    ]
    assert read_labels(tmp_path / "packed/labels.yaml").classes == CLASSES
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]


def test_labels_are_kept_in_their_order(data, tmp_path):
    own = shutil.copytree(data, tmp_path / "data")
    (own / "labels.yaml").write_text("y: [ybb-two, ybb-one]\nx: [xaa-two, xaa-one]\n")
    pack(own, tmp_path / "packed")
    assert read_labels(tmp_path / "packed/labels.yaml") == read_labels(own / "labels.yaml")
    (own / "labels.yaml").write_text("y: [ybb-two, ybb-one]\n")
    with pytest.raises(UserError, match="expected the classes ybb-two, ybb-one, found xaa-one, xaa-two"):
        pack(own, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_shards_are_a_webdataset(data, tmp_path):
    pack(data, tmp_path / "packed")
    manifest, packed = read_manifest(data / "train.csv"), read_manifest(tmp_path / "packed/train.csv")
    samples = samples_of(tmp_path / "packed/train-000000.tar")
    assert len(samples) == len(manifest)
    for index, sample in enumerate(samples.values()):
        assert sample.keys() == {"wav", "json"}
        assert sample["wav"] == manifest.audio_path(index).read_bytes() == read_content(packed.audio_path(index))
        assert json.loads(sample["json"]) == {
            "utterances": [
                {
                    "class": manifest.columns["class"][index],
                    "seconds": manifest.columns["seconds"][index],
                    "source": "hum",
                    "id": manifest.columns["id"][index],
                }
            ]
        }


def test_parts_of_one_file_are_packed_once(tmp_path):
    soundfile.write(tmp_path / "a.wav", hum(2.0, 200, 1), SAMPLE_RATE)
    soundfile.write(tmp_path / "b.wav", hum(2.0, 200, 2), SAMPLE_RATE)
    columns = {
        "id": ["one", "zwei, drei", "three"],
        "audiopath": ["b.wav", "a.wav", "b.wav"],
        "class": ["x", "y", "x"],
        "seconds": [0.5, 2.0, 0.7],
        "start": [0.25, np.nan, 1.3],
        "end": [0.75, np.nan, np.nan],
        "room": ["", "hall", ""],
    }
    (tmp_path / "data").mkdir()
    columns["audiopath"] = [f"../{name}" for name in columns["audiopath"]]
    write_manifest(tmp_path / "data/train.csv", columns)
    summary = pack(tmp_path / "data", tmp_path / "packed")
    assert (summary.utterances, summary.files) == (3, 2)
    with (tmp_path / "packed/train.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(columns)
    assert [row[0] for row in rows] == columns["id"]
    assert rows[0][1] == rows[2][1] != rows[1][1]
    assert [row[4:6] for row in rows] == [["0.25", "0.75"], ["", ""], ["1.3", ""]]
    first, second = samples_of(tmp_path / "packed/train-000000.tar").values()
    assert [row["id"] for row in json.loads(first["json"])["utterances"]] == ["one", "three"]
    assert json.loads(second["json"])["utterances"] == [
        {"id": "zwei, drei", "class": "y", "seconds": 2.0, "room": "hall"}
    ]


def test_shards_keep_to_their_size(data, tmp_path):
    summary = pack(data, tmp_path / "packed", shard_bytes=40_000)
    shards = sorted((tmp_path / "packed").glob("train-*.tar"))
    assert [path.name for path in shards] == [f"train-{number:06d}.tar" for number in range(len(shards))]
    assert summary.shards == len(shards) + len(list((tmp_path / "packed").glob("dev-*.tar")))
    sizes = [sum(-(-len(part) // 512) * 512 + 512 for sample in samples_of(path).values() for part in sample.values())
             for path in shards]  # fmt: skip
    assert len(shards) > 2
    assert max(sizes) <= 40_000
    # None is ended before it has to be.
    assert min(one + another for one, another in itertools.pairwise(sizes)) > 40_000
    assert_same_corpus(tmp_path / "packed", data)


def test_a_file_larger_than_a_shard_has_one_of_its_own(data, tmp_path):
    pack(data, tmp_path / "packed", shard_bytes=1000)
    assert len(list((tmp_path / "packed").glob("train-*.tar"))) == 16
    assert_same_corpus(tmp_path / "packed", data)


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=12), limit=st.integers(1, 8000))
def test_the_writer_knows_where_each_part_lies(tmp_path_factory, sizes, limit):
    folder = tmp_path_factory.mktemp("writer")
    contents = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    with ShardWriter(folder, "x", limit) as writer:
        paths = [writer.add(f"{number}", {"bin": content, "txt": b"t"}) for number, content in enumerate(contents)]
    assert len(list(folder.glob("x-*.tar"))) == writer.count
    assert [read_content(folder / path) for path in paths] == contents


FORMS = {
    "pcm16.wav": {"subtype": "PCM_16"},
    "pcm24.wav": {"subtype": "PCM_24"},
    "ulaw.wav": {"subtype": "ULAW"},
    "pcm16.aiff": {"subtype": "PCM_16"},
    "float.wav": {"subtype": "FLOAT"},
    "is.flac": {"subtype": "PCM_16"},
    "lossy.mp3": {"subtype": "MPEG_LAYER_III"},
    "lossy.ogg": {"subtype": "VORBIS"},
}


def folder_of(folder, names):
    write_manifest(
        folder / "train.csv", {"audiopath": names, "class": ["a"] * len(names), "seconds": [0.5] * len(names)}
    )
    return folder


def test_files_of_any_format_are_packed_unchanged(tmp_path):
    for name, form in FORMS.items():
        soundfile.write(tmp_path / name, np.stack([hum(0.5, 200, 1), hum(0.5, 250, 2)], axis=1), SAMPLE_RATE, **form)
    write_sphere_ulaw(tmp_path / "phone.SPH", bytes(range(256)) * 16)
    shutil.copy(tmp_path / "pcm16.wav", tmp_path / "no_extension")
    names = [*FORMS, "phone.SPH", "no_extension"]
    pack(folder_of(tmp_path, names), tmp_path / "packed")
    packed = read_manifest(tmp_path / "packed/train.csv")
    kinds = [next(extension for extension in sample if extension != "json")
             for sample in samples_of(tmp_path / "packed/train-000000.tar").values()]  # fmt: skip
    for index, name in enumerate(names):
        assert read_content(packed.audio_path(index)) == (tmp_path / name).read_bytes()
        assert kinds[index] == {"no_extension": "wav"}.get(name, name.lower().rpartition(".")[2])
        np.testing.assert_array_equal(read_audio(packed.audio_path(index)), read_audio(tmp_path / name))


def test_a_packed_folder_can_be_packed(data, tmp_path):
    pack(data, tmp_path / "plain")
    pack(data, tmp_path / "one", shard_bytes=30_000)
    pack(tmp_path / "one", tmp_path / "two")
    assert_same_corpus(tmp_path / "two", data)
    for name in ("train.csv", "train-000000.tar"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_an_earlier_pack_is_replaced_only_where_asked(data, tmp_path):
    pack(data, tmp_path / "packed")
    before = listing(tmp_path)
    with pytest.raises(UserError, match=r"already holds a pack.*--overwrite"):
        pack(data, tmp_path / "packed")
    assert listing(tmp_path) == before
    pack(data, tmp_path / "packed", shard_bytes=30_000, overwrite=True)
    assert len(list((tmp_path / "packed").glob("train-*.tar"))) > 1
    assert_same_corpus(tmp_path / "packed", data)
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("earlier", [True, False])
def test_what_pack_has_not_made_is_left_alone(data, tmp_path, earlier, overwrite):
    if earlier:
        pack(data, tmp_path / "packed")
    (tmp_path / "packed").mkdir(exist_ok=True)
    (tmp_path / "packed/notes.txt").write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(UserError, match=r"expected files of an earlier pack only, found notes\.txt"):
        pack(data, tmp_path / "packed", overwrite=overwrite)
    assert listing(tmp_path) == before


def test_an_empty_folder_is_filled_and_a_file_is_not(data, tmp_path):
    (tmp_path / "empty").mkdir()
    pack(data, tmp_path / "empty")
    assert_same_corpus(tmp_path / "empty", data)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="expected a folder, found a file"):
        pack(data, tmp_path / "file", overwrite=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("earlier", [True, False])
def test_an_interruption_leaves_what_was_there(data, tmp_path, monkeypatch, earlier, error):
    if earlier:
        pack(data, tmp_path / "packed")
    before = listing(tmp_path)
    calls = []
    original = packing.packed_audio

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 18:
            raise error
        return original(*arguments)

    monkeypatch.setattr(packing, "packed_audio", interrupted)
    with pytest.raises((KeyboardInterrupt, OSError)):
        pack(data, tmp_path / "packed", overwrite=True)
    assert len(calls) == 18
    assert listing(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["packed"] if earlier else [])


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("missing", "no such audio file"),
        ("empty", "0 bytes"),
        ("short", r"expected 0\.50 s, as in .*, found 0\.10 s"),
        ("by extension", "expected audio that is recognised without its extension"),
    ],
)
def test_audio_that_is_broken_is_not_packed(tmp_path, fault, says):
    names = ["a.wav", "b.mp3" if fault == "by extension" else "b.wav"]
    soundfile.write(tmp_path / "a.wav", hum(0.5, 200, 1), SAMPLE_RATE)
    if fault == "empty":
        (tmp_path / "b.wav").touch()
    elif fault == "short":
        soundfile.write(tmp_path / "b.wav", hum(0.1, 200, 1), SAMPLE_RATE)
    elif fault == "by extension":
        soundfile.write(tmp_path / "b.mp3", hum(0.5, 200, 1), SAMPLE_RATE)
        (tmp_path / "b.mp3").write_bytes(bytes(100) + (tmp_path / "b.mp3").read_bytes())
    with pytest.raises(UserError, match=says) as caught:
        pack(folder_of(tmp_path, names), tmp_path / "packed")
    assert str(tmp_path / names[1]) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "packed").exists()


def test_a_folder_without_manifests(tmp_path):
    with pytest.raises(UserError, match=r"expected one of train\.csv, dev\.csv, test\.csv, found none"):
        pack(tmp_path, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == []
