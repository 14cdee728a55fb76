"""The Asterisk prompts, on a small copy of Debian's layout."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.layouts import prepare
from lid_mapmix.data.labels import read_labels
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.utils.errors import UserError

SPLITS = ("train", "dev", "test")
VOICES = ("en_US_f_Allison", "es_MX_f_Allison", "fr_CA_f_June", "it_IT_m_Carlo", "ru_RU_f_IvrvoiceRU")


def write_prompt(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(round(8000 * seconds), 0.1), 8000)


@pytest.fixture
def sounds(tmp_path) -> Path:
    folder = tmp_path / "sounds"
    for voice in VOICES:
        for number in range(20):
            write_prompt(folder / voice / f"prompt-{number:02d}.wav", 1 + number / 10)
        write_prompt(folder / voice / "digits" / "1.wav", 1.5)
        write_prompt(folder / voice / "digits" / "2.wav", 0.5)
        # As Debian's ru_RU_f_IvrvoiceRU/is.wav: a header without a sample.
        write_prompt(folder / voice / "is.wav", 0)
        write_prompt(folder / voice / "silence" / "3.wav", 3)
        write_prompt(folder / voice / "tt-monkeys.wav", 16)
        # Debian's alternatives: another way to the same files.
        (folder / voice[:2]).symlink_to(folder / voice)
        (folder / voice[:5]).symlink_to(folder / voice)
    return folder


def prepared(folder: Path) -> dict[str, list[tuple[str, str]]]:
    return {
        split: [
            (str(name), str(id_)) for name, id_ in zip(manifest.columns["class"], manifest.columns["id"], strict=True)
        ]
        for split in SPLITS
        for manifest in [read_manifest(folder / f"{split}.csv")]
    }


def test_prompts_are_listed_once_without_short_ones_silence_and_tones(sounds, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        folder = prepare("asterisk", tmp_path / "data", sounds=sounds)
    assert "dropped 10 of 115 prompts shorter than 1 s" in caplog.text
    rows = [row for split in prepared(folder).values() for row in split]
    assert len(rows) == len(set(rows)) == 5 * 21
    assert not any("silence" in id_ or "monkeys" in id_ or "digits/2" in id_ for _, id_ in rows)
    assert read_labels(folder / "labels.yaml").clusters == {
        "germanic": ("eng",),
        "romance": ("fra", "ita", "spa"),
        "slavic": ("rus",),
    }


def test_every_language_is_in_every_split_and_a_prompt_in_one(sounds, tmp_path):
    splits = prepared(prepare("asterisk", tmp_path / "data", sounds=sounds, dev_fraction=0.2, test_fraction=0.2))
    prompts = {split: {id_.split("/", 1)[1] for _, id_ in rows} for split, rows in splits.items()}
    assert not prompts["train"] & prompts["dev"]
    assert not prompts["train"] & prompts["test"]
    assert not prompts["dev"] & prompts["test"]
    for rows in splits.values():
        assert {name for name, _ in rows} == {"eng", "fra", "ita", "rus", "spa"}


def test_files_stay_in_place_and_speakers_are_named(sounds, tmp_path):
    manifest = read_manifest(prepare("asterisk", tmp_path / "data", sounds=sounds) / "train.csv")
    assert not list((tmp_path / "data").rglob("*.wav"))
    for index in range(len(manifest)):
        path = manifest.audio_path(index)
        assert path.is_relative_to(sounds)
        assert soundfile.info(path).duration == pytest.approx(manifest.columns["seconds"][index], abs=1e-3)
    assert set(manifest.text_column("speaker")) == {"Allison", "June", "Carlo", "IvrvoiceRU"}


def test_the_split_depends_on_the_seed_alone(sounds, tmp_path):
    one = prepared(prepare("asterisk", tmp_path / "one", sounds=sounds))
    assert one == prepared(prepare("asterisk", tmp_path / "two", sounds=sounds))
    assert one != prepared(prepare("asterisk", tmp_path / "three", sounds=sounds, seed=1))


def test_missing_packages_are_named(sounds, tmp_path):
    for name in ("fr", "fr_CA"):
        (sounds / name).unlink()
    (sounds / "fr_CA_f_June").rename(sounds / "unknown")
    with pytest.raises(UserError, match=r"apt-get install asterisk-core-sounds-fr-wav'.*--sounds"):
        prepare("asterisk", tmp_path / "data", sounds=sounds)
    with pytest.raises(UserError, match=r"core-sounds-en-wav .*core-sounds-ru-wav'.*--sounds"):
        prepare("asterisk", tmp_path / "data", sounds=tmp_path / "nowhere")
    assert not (tmp_path / "data").exists()


def test_a_second_run_does_nothing_and_new_prompts_are_noticed(sounds, tmp_path, caplog):
    folder = prepare("asterisk", tmp_path / "data", sounds=sounds)
    before = (folder / "train.csv").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        prepare("asterisk", folder, sounds=sounds)
    assert "nothing to do" in caplog.text
    assert (folder / "train.csv").stat().st_mtime_ns == before
    write_prompt(sounds / "en_US_f_Allison" / "new.wav", 2)
    with pytest.raises(UserError, match="--overwrite"):
        prepare("asterisk", folder, sounds=sounds)
    prepare("asterisk", folder, sounds=sounds, overwrite=True)
    assert ("eng", "en_US_f_Allison/new.wav") in [row for rows in prepared(folder).values() for row in rows]
