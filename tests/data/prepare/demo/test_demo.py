"""The demo corpus: what it promises about splits, speakers and texts, made small."""

import csv
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from babel import Locale
from lid_mapmix.data.labels import read_labels
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.data.prepare.demo import espeak, planning
from lid_mapmix.data.prepare.demo.demo import CLUSTERS, SPEAKERS
from lid_mapmix.data.prepare.demo.making import make_demo
from lid_mapmix.data.prepare.demo.planning import Kind, Phrase, render
from lid_mapmix.utils.errors import UserError

SPLITS = ("train", "dev", "test")
SMALL = {"utterances": 7, "clusters": ("vietnamese", "english"), "seed": 3, "processes": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return make_demo(tmp_path_factory.mktemp("demo") / "corpus", **SMALL)


def texts(corpus: Path) -> dict[str, str]:
    with (corpus / "texts.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["text"] for row in csv.DictReader(file)}


def test_the_catalogue_is_large_enough_and_its_speakers_are_disjoint():
    names = [dialect.name for members in CLUSTERS.values() for dialect in members]
    assert len(names) == len(set(names)) >= 14
    assert len(CLUSTERS) >= 5
    assert all(len(members) >= 2 for members in CLUSTERS.values())
    for one, other in itertools.combinations(SPEAKERS.values(), 2):
        assert not set(one) & set(other)


def test_every_voice_and_speaker_of_the_catalogue_exists():
    languages = [dialect.language for members in CLUSTERS.values() for dialect in members]
    speakers = [speaker for members in SPEAKERS.values() for speaker in members]
    for number in range(max(len(languages), len(speakers))):
        voice = espeak.Voice(languages[number % len(languages)], speakers[number % len(speakers)])
        assert len(espeak.synthesise("12", voice, 0)) > 0.1 * espeak.SAMPLE_RATE


def test_each_split_has_each_dialect_and_labels_name_the_clusters(corpus):
    labels = read_labels(corpus / "labels.yaml")
    assert list(labels.clusters) == ["english", "vietnamese"]
    counts = {}
    for split in SPLITS:
        manifest = read_manifest(corpus / f"{split}.csv")
        names, numbers = np.unique(manifest.columns["class"], return_counts=True)
        assert sorted(names) == sorted(labels.classes)
        assert len(set(numbers)) == 1
        counts[split] = int(numbers[0])
    assert sum(counts.values()) == 7
    assert counts == {"train": 4, "dev": 1, "test": 2}


def test_files_are_as_the_manifest_says(corpus):
    for split in SPLITS:
        manifest = read_manifest(corpus / f"{split}.csv")
        for index in range(len(manifest)):
            samples, rate = soundfile.read(manifest.audio_path(index), dtype="float64", always_2d=True)
            assert rate == 16_000
            assert samples.shape[1] == 1
            assert manifest.columns["seconds"][index] == pytest.approx(len(samples) / rate, abs=5.1e-4)
            assert 4 <= len(samples) / rate <= 10
            assert 0.005 < samples.std() < 0.2


def test_speakers_and_texts_of_the_splits_are_disjoint(corpus):
    text_of = texts(corpus)
    speakers, phrases = {}, {}
    for split in SPLITS:
        manifest = read_manifest(corpus / f"{split}.csv")
        speakers[split] = set(manifest.text_column("speaker"))
        phrases[split] = {
            phrase for name in manifest.columns["id"] for phrase in text_of[str(name)].removesuffix(".").split(". ")
        }
    for one, other in itertools.combinations(SPLITS, 2):
        assert not speakers[one] & speakers[other]
        assert not phrases[one] & phrases[other]


def test_vocabularies_of_the_splits_are_disjoint():
    sayable = {(kind, f"term {number}") for kind in Kind if kind is not Kind.DATE for number in range(20)}
    vocabularies = planning._vocabularies("english", sayable, 0)
    for one, other in itertools.combinations(vocabularies.values(), 2):
        assert not set(one.numbers) & set(other.numbers)
        assert not set(one.dates) & set(other.dates)
        assert all(one.terms[kind] and not set(one.terms[kind]) & set(other.terms[kind]) for kind in one.terms)


def test_dialects_of_a_cluster_say_the_same_things(corpus):
    text_of = texts(corpus)
    # One language and one locale: the same words; and files that differ all the same.
    northern = {name: text for name, text in text_of.items() if name.startswith("vie-nor")}
    assert len(northern) == 7
    for name, text in northern.items():
        other_name = name.replace("vie-nor", "vie-sou")
        assert text_of[other_name] == text
        one = soundfile.read(corpus / "audio" / "vie-nor" / f"{name}.wav")[0]
        assert not np.array_equal(one, soundfile.read(corpus / "audio" / "vie-sou" / f"{other_name}.wav")[0])


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_dialects_of_a_cluster_sound_different(cluster):
    phrases = (Phrase(Kind.MEASURE, ("length-kilometer",), 279), Phrase(Kind.TERRITORIES, ("JP", "DE", "GB"), 0))
    pronunciations = []
    for dialect in CLUSTERS[cluster]:
        locale = Locale.parse(dialect.locale)
        spoken = espeak.phonemes([render(phrase, locale) for phrase in phrases], dialect.language)
        pronunciations.append(tuple(spoken))
    assert len(set(pronunciations)) == len(pronunciations)


def test_the_same_seed_gives_the_same_bytes_whatever_the_processes(corpus, tmp_path):
    again = make_demo(tmp_path / "again", **{**SMALL, "processes": 2})
    files = sorted(path.relative_to(corpus) for path in corpus.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for file in files:
        assert (corpus / file).read_bytes() == (again / file).read_bytes(), file


def test_other_clusters_and_counts_do_not_change_an_utterance_and_another_seed_does(corpus, tmp_path):
    one_cluster = {**SMALL, "utterances": 5, "clusters": ("vietnamese",)}
    alone = make_demo(tmp_path / "alone", **one_cluster)
    other_seed = make_demo(tmp_path / "seed", **{**one_cluster, "seed": 4})
    file = next(path.relative_to(corpus) for path in sorted((corpus / "audio" / "vie-sou").glob("*train-0000*")))
    assert (corpus / file).read_bytes() == (alone / file).read_bytes()
    assert (corpus / file).read_bytes() != (other_seed / file).read_bytes()


def test_speech_does_not_depend_on_what_was_said_before():
    voice = espeak.Voice("en-029", "f2", 160, 60)
    first = espeak.synthesise("Tuesday, 24 March.", voice, 5)
    espeak.synthesise("martes, 24 de marzo.", espeak.Voice("es", "m1"), 1)
    np.testing.assert_array_equal(first, espeak.synthesise("Tuesday, 24 March.", voice, 5))


def test_words_in_another_language_are_left_out():
    assert "(en)" in espeak.phonemes(["794 kilômét"], "vi")[0]
    vietnamese = CLUSTERS["vietnamese"][1]
    assert (Kind.MEASURE, "length-kilometer") not in planning.sayable_terms(vietnamese)


def test_a_second_run_does_nothing(corpus):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    assert make_demo(corpus, **SMALL) == corpus
    assert before == {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}


def test_other_settings_do_not_replace_a_corpus_unless_asked(corpus):
    with pytest.raises(UserError, match="--overwrite"):
        make_demo(corpus, **{**SMALL, "seed": 9})


def test_an_interrupted_run_leaves_no_manifest_and_can_be_repeated(tmp_path, monkeypatch):
    settings = {"utterances": 5, "clusters": ("armenian",), "processes": 1}
    spoken = []

    def interrupt(text, voice, seed):
        if len(spoken) == 3:
            raise KeyboardInterrupt
        spoken.append(text)
        return np.ones(5 * espeak.SAMPLE_RATE, dtype=np.int16)

    with monkeypatch.context() as patch:
        patch.setattr(espeak, "synthesise", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_demo(tmp_path, **settings)
    assert not list(tmp_path.glob("*.csv"))
    make_demo(tmp_path, **settings)
    assert len(read_manifest(tmp_path / "train.csv")) == 2 * 3


def test_too_few_utterances(tmp_path):
    with pytest.raises(UserError, match="--utterances 3"):
        make_demo(tmp_path, utterances=3)


def test_without_babel_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "lid_mapmix.data.prepare.demo.planning")
    monkeypatch.delattr(sys.modules["lid_mapmix.data.prepare.demo"], "planning")
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(UserError, match="pip install babel espeakng-loader"):
        make_demo(tmp_path / "data", utterances=5)
    assert not (tmp_path / "data").exists()


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="expected a folder, found a file"):
        make_demo(tmp_path / "file", utterances=5, clusters=("armenian",))


def test_an_unknown_voice_says_so():
    with pytest.raises(UserError, match="has no voice tlh"):
        espeak.phonemes(["Qapla'"], "tlh")


def test_languages_use_their_own_words():
    price = Phrase(Kind.PRICE, ("JPY",), 93)
    assert render(price, Locale.parse("en_GB")) == "93 Japanese yen"
    assert render(price, Locale.parse("pl")) == "93 jeny japońskie"
    # Where a locale has only CLDR's short form of a measure, that one is taken.
    assert render(Phrase(Kind.MEASURE, ("length-kilometer",), 8), Locale.parse("zh_Hans")) == "8公里"
