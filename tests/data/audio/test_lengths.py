"""Lengths that `lid-mapmix check` records, so that training need not read all headers: used, tested, never trusted."""

import os

import numpy as np
import pytest
import soundfile
from helpers.synthetic import hum
from lid_mapmix.apps import cli
from lid_mapmix.data.audio.lengths import TESTED, lengths_path, record_lengths, recorded_lengths
from lid_mapmix.data.audio.reading import SAMPLE_RATE
from lid_mapmix.data.dataset import Split
from lid_mapmix.data.export.packing import pack
from lid_mapmix.data.labels import Labels
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from lid_mapmix.utils.errors import BadAudioError, UserError

ROWS = 2 * TESTED
# Every second header is read to test a record.
IN_TEST, OUT_OF_TEST = 100, 101
LABELS = Labels({"x": ("a", "b")})


def write_wav(path, seconds):
    """Replace one name of a file that has many."""
    path.unlink(missing_ok=True)
    soundfile.write(path, hum(seconds, 200, round(100 * seconds)), SAMPLE_RATE)


def empty(path):
    path.unlink()
    path.touch()


@pytest.fixture
def data(tmp_path):
    """Return a corpus whose files are links to two, of 0.1 and 0.2 s; train has a record, dev is too small for one."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(2):
        write_wav(folder / f"{number}.wav", 0.1 * (number + 1))
    for number in range(2, ROWS + 4):
        os.link(folder / f"{number % 2}.wav", folder / f"{number}.wav")
    for split, rows in (("train", range(ROWS)), ("dev", range(ROWS, ROWS + 4))):
        names = [f"{number}.wav" for number in rows]
        seconds = [0.1 * (number % 2 + 1) for number in rows]
        write_manifest(
            folder / f"{split}.csv", {"audiopath": names, "class": ["ab"[n // 2 % 2] for n in rows], "seconds": seconds}
        )
    return folder


def check(folder, *flags):
    return cli.main(["check", str(folder), *map(str, flags)])


def open_train(folder, **keywords):
    return Split.open(read_manifest(folder / "train.csv"), LABELS, **keywords)


def test_headers_are_not_read_again_and_a_changed_file_is_an_error_when_it_is_read(data):
    read = open_train(data)
    assert read.recorded is None
    assert check(data) == 0
    assert sorted(path.name for path in data.glob("*.npz")) == ["train.lengths.npz"]
    write_wav(data / f"{OUT_OF_TEST}.wav", 0.05)
    known = open_train(data)
    assert known.counts.tolist() == read.counts.tolist()  # so the header of that file was not read
    np.testing.assert_array_equal(known.read(IN_TEST, 400, 800), read.read(IN_TEST, 400, 800))
    expected = r"101\.wav: expected 3200 samples at 16 kHz, as recorded by 'lid-mapmix check', found 800\. .*again\."
    with pytest.raises(BadAudioError, match=expected) as caught:
        known.read(OUT_OF_TEST, 0, 800)
    assert "\n" not in str(caught.value)
    lengths_path(data / "train.csv").unlink()
    with pytest.raises(UserError, match=r"101\.wav: expected 0\.20 s"):
        open_train(data)


@pytest.mark.parametrize("fault", ["audio", "missing", "manifest", "damaged", "of others"])
def test_a_record_that_does_not_hold_is_not_used(data, fault, caplog):
    check(data)
    path, manifest = lengths_path(data / "train.csv"), read_manifest(data / "train.csv")
    if fault == "audio":
        write_wav(data / f"{IN_TEST}.wav", 0.15)
    elif fault == "missing":
        (data / f"{IN_TEST}.wav").unlink()
    elif fault == "manifest":
        write_manifest(data / "train.csv", {**manifest.columns, "class": ["a"] * ROWS})
    elif fault == "damaged":
        path.write_bytes(path.read_bytes()[:100])
    else:
        record_lengths(manifest, np.full(ROWS, 1_000))
    assert recorded_lengths(read_manifest(data / "train.csv")) is None
    assert "train.lengths.npz: expected the length" in caplog.text
    assert "'lid-mapmix check' records" in caplog.text
    if fault == "missing":
        with pytest.raises(UserError, match=r"100\.wav: no such audio file"):
            open_train(data)
        return
    expected = [1_600, 3_200] * TESTED
    expected[IN_TEST] = 2_400 if fault == "audio" else 1_600
    assert open_train(data).counts.tolist() == expected


def test_a_file_with_a_fault_has_no_length_and_is_read_again(data):
    empty(data / f"{OUT_OF_TEST}.wav")
    assert check(data) == 1
    assert recorded_lengths(read_manifest(data / "train.csv"))[OUT_OF_TEST] == 0
    with pytest.raises(UserError, match=r"101\.wav: is empty"):
        open_train(data)
    assert list(open_train(data, skips_bad_audio=True).faults) == [OUT_OF_TEST]
    write_wav(data / f"{OUT_OF_TEST}.wav", 0.25)
    split = open_train(data)
    assert split.counts[OUT_OF_TEST] == 4_000
    assert len(split.read(OUT_OF_TEST, 0, 4_000)) == 4_000


def test_a_fixed_corpus_has_a_record_of_its_own(data, tmp_path):
    empty(data / f"{OUT_OF_TEST}.wav")
    assert check(data, "--fix", "--out", tmp_path / "fixed") == 0
    split = open_train(tmp_path / "fixed")
    assert split.recorded.tolist() == split.counts.tolist()
    assert len(split.counts) == ROWS - 1


def test_a_part_of_a_manifest_has_no_record(data):
    check(data)
    part, others = read_manifest(data / "train.csv").only(["a"])
    assert others == {"b": ROWS // 2}
    assert recorded_lengths(part) is None
    assert len(part) == TESTED


def test_a_record_beside_a_pack_does_not_prevent_another(data, tmp_path):
    pack(data, tmp_path / "packed")
    assert check(tmp_path / "packed") == 0
    split = open_train(tmp_path / "packed")
    assert split.recorded is not None
    assert len(split.read(OUT_OF_TEST, 0, 3_200)) == 3_200
    pack(data, tmp_path / "packed", overwrite=True)
    assert not lengths_path(tmp_path / "packed/train.csv").exists()


def test_a_folder_that_cannot_be_written_is_a_warning(data, caplog):
    lengths_path(data / "train.csv").mkdir()
    assert check(data) == 0
    assert "train.lengths.npz was not written" in caplog.text
    assert open_train(data).recorded is None
