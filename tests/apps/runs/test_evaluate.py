"""What ``-m evaluate`` leaves in a run's folder besides scores: its report and its card, both of the new scores."""

import json
import logging
import shutil

import pytest
from helpers.launching import listing, run
from huggingface_hub import ModelCard
from lid_mapmix.apps.report import page
from lid_mapmix.utils import files

CARD_NAME, REPORT_NAME = "README.md", "report.html"


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
