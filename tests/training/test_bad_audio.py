import csv

import numpy as np
import pytest
import soundfile
from helpers.synthetic import make_corpus
from lid_mapmix.data.crops import Crops
from lid_mapmix.data.dataset import Split
from lid_mapmix.data.labels import labels_from_manifest
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.mapmix.mixup import MixSpace
from lid_mapmix.training import bad_audio
from lid_mapmix.training.bad_audio import BadAudio
from lid_mapmix.training.sampler import NO_PARTNER, Draw
from lid_mapmix.training.train_dataset import Fault, Replacements, TrainDataset
from lid_mapmix.utils.errors import BadAudioError, UserError
from lid_mapmix.utils.run_folder import RunFolder

# Of four classes of three, 0 has no file, 4 no samples that are numbers, and of the last class 9 and 10 are empty.
MISSING, NAN, EMPTY = 0, 4, (9, 10)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = make_corpus(tmp_path_factory.mktemp("bad"), sizes={"train": 3}, seconds=0.2)
    manifest = read_manifest(folder / "train.csv")
    manifest.audio_path(MISSING).unlink()
    soundfile.write(manifest.audio_path(NAN), np.full(6400, np.nan, dtype=np.float32), 16_000, subtype="FLOAT")
    for number in EMPTY:
        manifest.audio_path(number).write_bytes(b"")
    return Split.open(manifest, labels_from_manifest(manifest), skips_bad_audio=True)


def training(split, *pools, mix_space=MixSpace.NONE):
    everyone = np.arange(12)
    replacements = Replacements(7, split.target_classes, pools or (everyone, everyone))
    return TrainDataset(split, Crops(split.counts, 0.1), 7, mix_space, replacements=replacements)


def test_headers_are_noted_and_the_rest_is_read_when_it_is_heard(split):
    assert list(split.faults) == [MISSING, *EMPTY]
    assert "no such audio file" in split.faults[MISSING]
    with pytest.raises(BadAudioError, match="no such audio file"):
        split.read(MISSING, 0, 100)
    with pytest.raises(BadAudioError, match="NaN"):
        split.read(NAN, 0, 100)


@pytest.mark.parametrize("utterance", [MISSING, NAN, *EMPTY])
def test_another_of_its_class_stands_in(utterance, split):
    dataset, found = training(split), set()
    for epoch in range(20):
        item = dataset[Draw(utterance, NO_PARTNER, 1.0, epoch)]
        found.add(item.anchor)
        assert item.faults[0] == (utterance, item.faults[0].reason)
        assert item.crops[0].waveform.any()
        waveforms, batch = dataset.collate([item])
        assert waveforms.shape == (1, 1600)
        assert (batch.drawn.tolist(), batch.anchor.tolist()) == ([utterance], [item.anchor])
        assert batch.anchor_classes.tolist() == [split.target_classes[utterance]]
        assert batch.faults == item.faults
        again = training(split)[Draw(utterance, NO_PARTNER, 1.0, epoch)]
        assert again.anchor == item.anchor
        np.testing.assert_array_equal(again.crops[0].waveform, item.crops[0].waveform)
        own_turn = dataset[Draw(item.anchor, NO_PARTNER, 1.0, epoch)]
        assert not np.array_equal(own_turn.crops[0].waveform, item.crops[0].waveform)
    sound = set(range(12)) - {MISSING, NAN, *EMPTY}
    assert found == {other for other in sound if split.target_classes[other] == split.target_classes[utterance]}


@pytest.mark.parametrize("mix_space", [MixSpace.LATENT, MixSpace.INPUT])
def test_partners_have_replacements_too(mix_space, split):
    dataset = training(split, mix_space=mix_space)
    item = dataset[Draw(MISSING, NAN, 0.5, 3)]
    assert (split.target_classes[item.anchor], split.target_classes[item.partner]) == (0, 1)
    assert {fault.utterance for fault in item.faults} == {MISSING, NAN}
    _, batch = dataset.collate([item])
    assert batch.partner_classes.tolist() == [1]


def test_the_pool_comes_first_and_the_class_after_it(split):
    everyone = np.arange(12)
    for epoch in range(10):
        assert training(split, np.array([0, 1]), everyone)[Draw(MISSING, NO_PARTNER, 1.0, epoch)].anchor == 1
        assert training(split, everyone, np.array([4, 5]))[Draw(3, NAN, 1.0, epoch)].partner == 5
    # Where the pool has nobody else of the class, the class outside it has.
    assert training(split, np.array([0, 3]), everyone)[Draw(MISSING, NO_PARTNER, 1.0, 0)].anchor in (1, 2)


def test_sound_audio_is_as_without_replacements(split):
    plain = TrainDataset(split, Crops(split.counts, 0.1), 7)
    for utterance in (1, 2, 3):
        drawn = Draw(utterance, NO_PARTNER, 1.0, 5)
        one, other = plain[drawn], training(split)[drawn]
        np.testing.assert_array_equal(one.crops[0].waveform, other.crops[0].waveform)
        assert other.faults == []
    with pytest.raises(BadAudioError, match="NaN"):
        plain[Draw(NAN, NO_PARTNER, 1.0, 5)]


def test_a_class_of_which_nothing_is_left_is_one_line(split, tmp_path):
    lost = Split(split.manifest, split.target_classes, split.starts, split.counts, split.faults | {11: "x: is gone."})
    with pytest.raises(UserError, match="No other utterance of its class ybb-two can replace it") as caught:
        training(lost)[Draw(9, NO_PARTNER, 1.0, 0)]
    assert not isinstance(caught.value, BadAudioError)
    with pytest.raises(UserError, match=r"expected readable audio for class ybb-two, found none\. .*The first fault: "):
        BadAudio(RunFolder(tmp_path), lost, 1.0, print)


def rows_of(folder):
    with (folder / "bad_audio.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_met_is_told_once_and_kept_in_this_order(split, tmp_path):
    lines = []
    found = BadAudio(RunFolder(tmp_path), split, 0.5, lines.append)
    assert list(tmp_path.iterdir()) == []
    found.reset()
    assert [line.split(": ")[1].split(" is skipped ")[1] for line in lines] == [f"({n} of 12)" for n in (1, 2, 3)]
    for epoch in range(2):
        found.add(epoch, [Fault(NAN, "b.wav: holds NaN."), Fault(MISSING, "again")])
    assert lines[3:] == [f"epoch 0: {split.manifest.columns['id'][NAN]} is skipped (4 of 12): b.wav: holds NaN."]
    rows = rows_of(tmp_path)
    assert [row["id"] for row in rows] == split.manifest.columns["id"][[MISSING, *EMPTY, NAN]].tolist()
    assert [row["epoch"] for row in rows] == ["", "", "", "0"]
    assert rows[3] | {"fault": "b.wav: holds NaN.", "class": "xaa-two"} == rows[3]
    # A run that goes on knows them, and tells none again.
    resumed = BadAudio(RunFolder(tmp_path), split, 0.5, lines.append)
    resumed.resume()
    resumed.add(1, [Fault(NAN, "again")])
    assert (len(lines), rows_of(tmp_path)) == (4, rows)
    BadAudio(RunFolder(tmp_path), split, 0.5, lines.append).reset()
    assert len(rows_of(tmp_path)) == 3


def test_each_fault_adds_a_row_and_writes_nothing_anew(split, tmp_path, monkeypatch):
    """Thousands of faults, each met in a step of its own, took the square of their number."""
    found = BadAudio(RunFolder(tmp_path), split, 1.0, lambda line: None)
    found.reset()
    monkeypatch.setattr(bad_audio, "write_text", None)
    before, place = (tmp_path / "bad_audio.csv").read_bytes(), (tmp_path / "bad_audio.csv").stat().st_ino
    for utterance in (NAN, 1, 7):
        found.add(0, [Fault(utterance, "x.wav: holds, it seems, NaN.")])
        after = (tmp_path / "bad_audio.csv").read_bytes()
        assert after.startswith(before)
        assert after[len(before) :].count(b"\n") == 1
        before = after
    assert (tmp_path / "bad_audio.csv").stat().st_ino == place
    assert [row["fault"] for row in rows_of(tmp_path)[3:]] == ["x.wav: holds, it seems, NaN."] * 3


@pytest.mark.parametrize("left", [0, 7, 90, -4])
def test_a_row_that_a_run_was_killed_in_is_written_again(left, split, tmp_path):
    found = BadAudio(RunFolder(tmp_path), split, 0.5, lambda line: None)
    found.reset()
    found.add(0, [Fault(NAN, "b.wav: holds NaN.")])
    whole = (tmp_path / "bad_audio.csv").read_bytes()
    (tmp_path / "bad_audio.csv").write_bytes(whole[:left])
    resumed = BadAudio(RunFolder(tmp_path), split, 0.5, lambda line: None)
    resumed.resume()
    resumed.add(0, [Fault(NAN, "b.wav: holds NaN.")])
    assert (tmp_path / "bad_audio.csv").read_bytes() == whole


def test_thousands_of_headers_are_some_lines_and_a_count(split, tmp_path, monkeypatch):
    monkeypatch.setattr(bad_audio, "_MAX_LINES", 1)
    lines = []
    BadAudio(RunFolder(tmp_path), split, 0.5, lines.append).reset()
    assert lines[1:] == [f"headers: 2 more are skipped; {tmp_path / 'bad_audio.csv'} lists all of them"]
    assert len(rows_of(tmp_path)) == 3


def test_the_limit(split, tmp_path):
    with pytest.raises(
        UserError, match=r"the audio of 3 of 12 utterances is bad, more than data.max_bad_fraction \(0.2\)"
    ):
        BadAudio(RunFolder(tmp_path), split, 0.2, print)
    found = BadAudio(RunFolder(tmp_path), split, 0.25, lambda line: None)
    found.reset()
    with pytest.raises(UserError, match="the audio of 4 of 12") as caught:
        found.add(0, [Fault(NAN, "b.wav: holds NaN.")])
    assert "\n" not in str(caught.value)
    assert len(rows_of(tmp_path)) == 4
    with pytest.raises(UserError, match="the audio of 4 of 12"):
        BadAudio(RunFolder(tmp_path), split, 0.25, print).resume()
