from dataclasses import replace

import numpy as np
import pytest
import soundfile
from helpers.synthetic import hum, make_corpus, open_split
from lid_mapmix.config.schema import AugmentConfig
from lid_mapmix.data.augment.augmenter import AudioFolder, Augmenter
from lid_mapmix.data.augment.effects import Codec, through_telephone
from lid_mapmix.data.crops import Crops
from lid_mapmix.training.sampler import NO_PARTNER, Draw
from lid_mapmix.training.train_dataset import TrainDataset
from lid_mapmix.utils.errors import UserError

KEY = (3, 5, 0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a folder of noise, short and long, one of a room, and a split."""
    root = tmp_path_factory.mktemp("augmenter")
    for name, samples in (("noise/b.wav", 900), ("noise/deep/a.flac", 40_000)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, 0.1 * np.random.default_rng(samples).standard_normal(samples), 16_000)
    (root / "noise/README").write_text("not audio")
    (root / "room").mkdir()
    response = np.zeros(2000)
    response[[10, 1500]] = 0.8, 0.4
    soundfile.write(root / "room/one.wav", response, 16_000, subtype="FLOAT")
    split, _ = open_split(make_corpus(root / "data", sizes={"train": 3}, seconds=0.4))
    return root, split


def augmenter(root, seed=7, **settings):
    folders = {name: str(root / path) for name, path in (("noise", "noise"), ("rir", "room")) if settings.pop(name, 0)}
    probabilities = {"noise_probability": 1.0, "rir_probability": 1.0, "codec_probability": 1.0}
    return Augmenter.open(seed, **vars(AugmentConfig(**probabilities | settings | folders)))


def test_nothing_is_done_unless_asked_for(folders):
    assert Augmenter.open(0, **vars(AugmentConfig())) is None


def test_a_folder_is_listed_with_its_lengths(folders):
    listed = AudioFolder.open(str(folders[0] / "noise"), "noise")
    assert [path.name for path in listed.paths] == ["b.wav", "a.flac"]
    assert listed.counts.tolist() == [900, 40_000]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "expected audio"),
        (lambda folder: (folder.mkdir(), (folder / "a.wav").write_bytes(b"")), "is empty"),
        (
            lambda folder: (folder.mkdir(), (folder / "a.wav").write_text("text")),
            "expected audio that libsndfile can read",
        ),
    ],
)
@pytest.mark.parametrize("setting", ["noise", "rir"])
def test_a_folder_that_is_no_use_is_one_line(setting, spoil, named, tmp_path):
    spoil(tmp_path / "given")
    with pytest.raises(UserError, match=named) as caught:
        Augmenter.open(0, **vars(AugmentConfig(**{setting: str(tmp_path / "given")})))
    assert str(caught.value).startswith(f"data.augment.{setting}: {tmp_path / 'given'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [500, 900, 5000, 60_000])
def test_noise_is_a_stretch_of_a_recording_or_a_recording_repeated(count, folders):
    listed = AudioFolder.open(str(folders[0] / "noise"), "noise")
    wholes = [soundfile.read(path, dtype="float32")[0] for path in listed.paths]
    for seed in range(6):
        read = listed.read_looped(count, np.random.default_rng(seed))
        assert read.shape == (count,)
        (whole,) = [whole for whole in wholes if np.isin(read, whole).all()]
        starts = np.flatnonzero(whole == read[0])
        assert any(np.array_equal(np.resize(np.roll(whole, -start), count), read) for start in starts)
        if len(whole) >= count:  # and not wound round its end
            assert any(start + count <= len(whole) for start in starts)


def test_draws_are_keyed(folders):
    root, audio = folders[0], hum(0.3, 200, 1)
    everything = {"noise": True, "rir": True, "codecs": ["ulaw", "gsm"], "speeds": [0.9, 1.0, 1.1]}
    one, other = augmenter(root, **everything), augmenter(root, **everything)
    first = one.augment(audio, 0.9, *KEY)
    one.augment(audio, 1.0, 9, 9, 1)  # what is drawn in between does not matter
    np.testing.assert_array_equal(one.augment(audio, 0.9, *KEY), first)
    np.testing.assert_array_equal(other.augment(audio, 0.9, *KEY), first)
    for key in ((4, 5, 0), (3, 6, 0), (3, 5, 1), (3, 5, 0, 1)):
        assert not np.array_equal(one.augment(audio, 0.9, *key), first)
    assert not np.array_equal(augmenter(root, 8, **everything).augment(audio, 0.9, *KEY), first)


def test_each_speed_and_each_codec_comes_up_as_often(folders):
    made = augmenter(folders[0], speeds=[0.9, 1.0, 1.1], codecs=list(Codec))
    speeds = [made.draw_speed(16_000, epoch, 1, 0) for epoch in range(900)]
    for speed in (0.9, 1.0, 1.1):
        assert np.mean(np.array(speeds) == speed) == pytest.approx(1 / 3, abs=0.06)
    audio = hum(0.05, 200, 1)
    coded = {codec: through_telephone(audio, codec).tobytes() for codec in Codec}
    found = [made.augment(audio, 1.0, epoch, 1, 0).tobytes() for epoch in range(300)]
    assert {codec: found.count(content) > 70 for codec, content in coded.items()} == dict.fromkeys(Codec, True)
    assert sum(found.count(content) for content in coded.values()) == 300


@pytest.mark.parametrize(("kind", "share"), [("noise", 0.3), ("rir", 0.5), ("codec", 0.8)])
def test_a_share_of_the_crops_is_augmented(kind, share, folders):
    asked = {"codecs": [Codec.ULAW]} if kind == "codec" else {kind: True}
    made, audio = replace(augmenter(folders[0], **asked), **{f"{kind}_probability": share}), hum(0.03, 200, 1)
    changed = [not np.array_equal(made.augment(audio, 1.0, epoch, 0, 0), audio) for epoch in range(600)]
    assert np.mean(changed) == pytest.approx(share, abs=0.07)


def test_the_ratio_lies_in_its_range(folders):
    made, audio = augmenter(folders[0], noise=True, noise_snr=[3.0, 9.0]), hum(0.1, 200, 1)
    found = []
    for epoch in range(60):
        added = made.augment(audio, 1.0, epoch, 0, 0).astype(np.float64) - audio
        found.append(10 * np.log10(np.square(audio.astype(np.float64)).sum() / np.square(added).sum()))
    assert min(found) == pytest.approx(3, abs=0.5)
    assert max(found) == pytest.approx(9, abs=0.5)


def training(split, made, seconds=0.2):
    return TrainDataset(split, Crops(split.counts, seconds), 7, augmenter=made)


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 2.0])
@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.4, 0.7])
def test_crops_at_another_speed_are_full_or_whole(seconds, speed, folders):
    root, split = folders
    dataset, samples = training(split, augmenter(root, speeds=[speed]), seconds), round(seconds * 16_000)
    for utterance in range(len(split.counts)):
        for epoch in range(4):
            ((waveform, first, count, _),) = dataset[Draw(utterance, NO_PARTNER, 1.0, epoch)].crops
            assert waveform.shape == (samples,)
            assert abs(count - min(samples, split.counts[utterance] / speed)) <= 2
            assert 0 <= first <= samples - count
            assert waveform[first : first + count].any()
            assert not np.delete(waveform, np.arange(first, first + count)).any()


def test_audio_too_short_to_be_faster_is_not(folders):
    made = augmenter(folders[0], speeds=[2.0])
    assert [made.draw_speed(samples, *KEY) for samples in (400, 799, 800)] == [1.0, 1.0, 2.0]


def test_padding_stays_silent_and_crops_of_a_second_turn_differ(folders):
    root, split = folders
    dataset = training(split, augmenter(root, noise=True, rir=True, codecs=["gsm"]), 0.6)
    ((waveform, first, count, _),) = dataset[Draw(1, NO_PARTNER, 1.0, 0)].crops
    assert count == split.counts[1]
    assert not np.delete(waveform, np.arange(first, first + count)).any()
    ((again, *_),) = dataset[Draw(1, NO_PARTNER, 1.0, 0, repeat=1)].crops
    assert not np.array_equal(waveform, again)


def test_noise_that_breaks_is_not_taken_for_bad_training_audio(folders, tmp_path):
    from lid_mapmix.training.train_dataset import Replacements
    from lid_mapmix.utils.errors import BadAudioError

    samples = np.zeros(16_000, dtype=np.float32)
    samples[::50] = np.nan
    soundfile.write(tmp_path / "noise.wav", samples, 16_000, subtype="FLOAT")
    split, everyone = folders[1], np.arange(12)
    made = Augmenter.open(7, **vars(AugmentConfig(noise=str(tmp_path), noise_probability=1.0)))
    dataset = TrainDataset(
        split,
        Crops(split.counts, 0.2),
        7,
        augmenter=made,
        replacements=Replacements(7, split.target_classes, (everyone, everyone)),
    )
    with pytest.raises(UserError, match=r"noise\.wav: expected finite samples, found NaN") as caught:
        dataset[Draw(1, NO_PARTNER, 1.0, 0)]
    assert not isinstance(caught.value, BadAudioError)
