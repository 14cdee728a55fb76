"""What ``-m evaluate`` leaves in a run's folder besides scores: its report and its card, both of the new scores."""

import json
import logging
import shutil

import numpy as np
import pytest
from helpers.launching import assert_same_files, listing, run, train
from helpers.synthetic import make_corpus
from huggingface_hub import ModelCard
from lid_mapmix.apps.report import page
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from lid_mapmix.scoring.files.own import read_scores
from lid_mapmix.utils import files

CARD_NAME, REPORT_NAME = "README.md", "report.html"


@pytest.fixture(scope="module")
def reported(corpus, tmp_path_factory):
    """Return the folder of a complete run that writes reports; not to be changed."""
    folder = tmp_path_factory.mktemp("reported") / "run"
    assert train(corpus, folder, settings={"runner.report": True}) == 0
    return folder


@pytest.fixture
def own_run(reported, tmp_path):
    return shutil.copytree(reported, tmp_path / "copy")


def evaluate(folder, *flags):
    return run("-m", "evaluate", "-e", folder, "--device", "cpu", *flags)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == files.__name__]


@pytest.fixture
def moved(corpus, tmp_path):
    """Return a copy of the corpus of the same name whose test split has lost the last class: three of 12 utterances."""
    copy = shutil.copytree(corpus, tmp_path / "moved" / corpus.name)
    lines = (copy / "test.csv").read_text().splitlines(keepends=True)
    (copy / "test.csv").write_text("".join(lines[:-3]))
    return copy


def test_report_and_card_are_those_of_the_new_scores(own_run, moved, capsys):
    before = (own_run / REPORT_NAME).read_text()
    assert "12 utterances of <strong>test</strong>" in before
    assert evaluate(own_run, "-t", "test", "--data", moved) == 0
    printed = capsys.readouterr().out
    assert f"\n  {CARD_NAME}\n" in printed and printed.endswith(f"\n  {REPORT_NAME}\n")
    page = (own_run / REPORT_NAME).read_text()
    assert "9 utterances of <strong>test</strong>" in page
    assert page.count("<audio") == 9, "it is heard where it lies now"
    card = ModelCard.load(own_run / CARD_NAME)
    accuracy = json.loads((own_run / "test_metrics.json").read_text())["overall"]["acc"]
    found = {(one.dataset_split, one.metric_name): one.metric_value for one in card.data.eval_results}
    assert found["test", "accuracy"] == pytest.approx(accuracy, abs=1e-4)
    assert "| utterances | 12 | 9 |" in card.content
    assert "| test | 9 |" in card.content and "| train | 32 |" in card.content


def test_another_split_has_the_report_and_dev_has_not(own_run, moved):
    shutil.copyfile(moved / "test.csv", moved / "noisy.csv")
    assert evaluate(own_run, "-t", "noisy", "--data", moved) == 0
    page = (own_run / REPORT_NAME).read_bytes()
    assert b"9 utterances of <strong>noisy</strong>" in page
    (own_run / CARD_NAME).unlink()
    assert evaluate(own_run, "-t", "dev", "--data", moved) == 0
    assert (own_run / REPORT_NAME).read_bytes() == page
    assert "| utterances | 12 | 12 |" in (own_run / CARD_NAME).read_text()


def test_what_is_the_users_stays(own_run, moved, capsys, caplog):
    card = (own_run / CARD_NAME).read_text().replace("## Limits", "## My limits")
    (own_run / CARD_NAME).write_text(card)
    (own_run / REPORT_NAME).write_text("<p>mine</p>")
    with caplog.at_level(logging.WARNING):
        assert evaluate(own_run, "--data", moved) == 0
    assert (own_run / CARD_NAME).read_text() == card
    assert f"{CARD_NAME} was edited or written by another program; it is not replaced" in capsys.readouterr().out
    assert (own_run / REPORT_NAME).read_text() == "<p>mine</p>"
    (warning,) = warnings(caplog)
    assert "exists already, and is not a report" in warning


def test_a_report_that_fails_is_said_and_the_scores_stay(own_run, moved, monkeypatch, caplog, capsys):
    def fail(*_):
        raise ValueError("no way")

    monkeypatch.setattr(page, "render", fail)
    with caplog.at_level(logging.WARNING):
        assert evaluate(own_run, "--data", moved) == 0
    assert warnings(caplog) == [f"{own_run / REPORT_NAME} was not written: no way"]
    assert json.loads((own_run / "test_metrics.json").read_text())["overall"]["count"] == 9
    assert REPORT_NAME not in capsys.readouterr().out


def test_the_card_keeps_the_scores_of_its_own_data(own_run, own_corpus, caplog):
    card = (own_run / CARD_NAME).read_bytes()
    with caplog.at_level(logging.WARNING):
        assert evaluate(own_run, "--data", own_corpus) == 0
    assert (own_run / CARD_NAME).read_bytes() == card
    (warning,) = warnings(caplog)
    assert warning.endswith(f"the training data, found those of {own_corpus.name}.")


def test_a_folder_that_holds_no_run_has_scores_only(own_run, tmp_path):
    before = listing(own_run)
    assert evaluate(own_run, "-p", tmp_path / "elsewhere") == 0
    assert listing(own_run) == before
    assert not {CARD_NAME, REPORT_NAME} & {path.name for path in (tmp_path / "elsewhere").iterdir()}


# Classes that the run does not know ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wider(tmp_path_factory):
    """Return a corpus with two classes that the run knows and two that it does not, of two and one test utterances."""
    folder = tmp_path_factory.mktemp("wider")
    classes = ("xaa-two", "aaa-new", "ybb-two", "zcc-new")
    make_corpus(folder, classes=classes, sizes={"train": 1, "dev": 1, "test": 2})
    lines = (folder / "test.csv").read_text().splitlines(keepends=True)
    (folder / "test.csv").write_text("".join(lines[:-1]))
    return folder


def test_known_only_gives_the_scores_of_the_filtered_manifest(own_run, wider, tmp_path, capsys):
    columns = read_manifest(wider / "test.csv").columns
    known = np.array([not name.endswith("-new") for name in columns["class"].tolist()])
    filtered = tmp_path / "filtered" / wider.name
    shutil.copytree(wider / "audio", filtered / "audio")
    write_manifest(filtered / "test.csv", {name: values[known] for name, values in columns.items()})
    found, expected = tmp_path / "found", tmp_path / "expected"
    assert evaluate(own_run, "--data", wider, "--known-only", "-p", found) == 0
    line = "test: 3 utterances of 2 unknown classes are not scored\n"
    assert line in capsys.readouterr().out and line in (found / "log.log").read_text()
    assert evaluate(own_run, "--data", filtered, "-p", expected) == 0
    assert_same_files(found, expected, "test_scores.csv", "test_predict.txt", "test_truth.txt")
    metrics, others = (json.loads((folder / "test_metrics.json").read_text()) for folder in (found, expected))
    assert metrics.pop("unknown_classes") == {"aaa-new": 2, "zcc-new": 1}
    assert metrics == {name: value for name, value in others.items() if name != "limits"}
    scores = read_scores(found / "test_scores.csv")
    assert metrics["overall"]["count"] == len(scores.ids) == 4
    assert metrics["overall"]["acc"] == pytest.approx((scores.predictions == scores.truth).mean())


def test_the_report_says_what_was_not_scored(own_run, wider):
    assert evaluate(own_run, "--data", wider, "--known-only") == 0
    report = (own_run / REPORT_NAME).read_text()
    assert "4 utterances of <strong>test</strong>" in report
    assert "Not scored: utterances of classes that the model does not know: aaa-new (2), zcc-new (1)." in report


def test_without_the_flag_unknown_classes_are_refused_and_the_flag_is_named(own_run, wider, capsys):
    before = listing(own_run)
    assert evaluate(own_run, "--data", wider) == 1
    error = capsys.readouterr().err
    assert "found aaa-new, zcc-new" in error and "-m evaluate --known-only" in error
    assert listing(own_run) == before


def test_known_only_without_a_known_class_is_refused(own_run, tmp_path, capsys):
    other = make_corpus(tmp_path / "other", classes=("zcc-new",), sizes={"test": 1})
    before = listing(own_run)
    assert evaluate(own_run, "--data", other, "--known-only") == 1
    assert "test.csv: expected utterances of known classes, found only others" in capsys.readouterr().err
    assert listing(own_run) == before
