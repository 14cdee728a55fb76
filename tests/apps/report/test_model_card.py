"""Model cards: front matter that the hub reads, the run's own scores, and a user's edits that stay."""

import json
import shutil

import pytest
from helpers.launching import train
from huggingface_hub import ModelCard
from lid_mapmix.apps.report.model_card import card_text, is_unedited, language_codes, read_facts, try_card
from lid_mapmix.config.settings import task_of_run
from lid_mapmix.config.upstreams import read_upstream
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.utils import files
from lid_mapmix.utils.run_folder import RunFolder

CARD_NAME = "README.md"


def write_card(path):
    folder = RunFolder(path)
    task = task_of_run(folder)
    try_card(folder, Corpus(task.data.directory, task.labels))


def test_a_run_leaves_a_card_with_its_scores(trained):
    card = ModelCard.load(trained / CARD_NAME)
    overall = json.loads((trained / "test_metrics.json").read_text())["overall"]
    found = {(result.dataset_split, result.metric_name): result.metric_value for result in card.data.eval_results}
    assert found["test", "accuracy"] == pytest.approx(overall["acc"], abs=1e-4)
    assert found["test", "weighted F1"] == pytest.approx(overall["wf1"], abs=1e-4)
    assert ("dev", "accuracy") in found
    assert card.data.pipeline_tag == "audio-classification"
    assert card.data.language == ["xaa", "ybb"]
    assert f"| accuracy | {found['dev', 'accuracy']:.3f} | {overall['acc']:.3f} |" in card.content
    assert "| train | 32 |" in card.content
    assert "xaa-one 8" in card.content
    assert "`mapmix`" in card.content
    assert is_unedited((trained / CARD_NAME).read_text())


def test_an_edited_card_stays(own_run, capsys):
    path = own_run / CARD_NAME
    edited = path.read_text().replace("## Limits", "## My limits")
    path.write_text(edited)
    write_card(own_run)
    assert path.read_text() == edited
    assert "it is not replaced" in capsys.readouterr().out


def test_a_card_of_somebody_else_stays(own_run):
    (own_run / CARD_NAME).write_text("# Thesis\n")
    write_card(own_run)
    assert (own_run / CARD_NAME).read_text() == "# Thesis\n"


def test_a_card_that_is_ours_is_brought_up_to_date(own_run):
    before = (own_run / CARD_NAME).read_text()
    (own_run / "test_metrics.json").unlink()
    write_card(own_run)
    after = (own_run / CARD_NAME).read_text()
    assert after != before
    assert "split: test" not in after


def test_names_stand_for_themselves(own_run):
    facts = read_facts(own_run / "dev-best.ckpt", "dialects")
    odd = facts.__class__(**{**vars(facts), "clusters": {"<script>": ["a|b", "*c*"]}, "sources": ["[x](y)"]})
    text = card_text(odd)
    assert "| \\<script\\> | a\\|b, \\*c\\* |" in text
    assert "\\[x\\](y)" in text


@pytest.mark.parametrize(
    ("upstream", "base_model", "licence", "says"),
    [
        ("xls_r_300m", "facebook/wav2vec2-xls-r-300m", "mit", "is built: MIT (fairseq)"),
        ("mms_1b", "facebook/mms-1b", "cc-by-nc-4.0", "is built: CC BY-NC 4.0"),
        ("wavlm_large", "microsoft/wavlm-large", "cc-by-sa-3.0", "is built: CC BY-SA 3.0"),
        ("mhubert_147", "utter-project/mHuBERT-147", "cc-by-nc-sa-4.0", "is built: CC BY-NC-SA 4.0"),
        ("unispeech_sat_large", "microsoft/unispeech-sat-large", None, "is not known to lid_mapmix"),
        ("hf_auto", None, None, "is not known to lid_mapmix"),
        ("fbank", None, None, None),
    ],
)
def test_a_card_names_the_model_and_the_licence_that_it_is_built_on(trained, upstream, base_model, licence, says):
    facts = read_facts(trained / "dev-best.ckpt", "dialects")
    card = ModelCard(card_text(facts.__class__(**{**vars(facts), "base": read_upstream(upstream)}), "alice/dialects"))
    assert (card.data.base_model, card.data.license) == (base_model, licence)
    assert ("icence of the upstream's weights" in card.content) is bool(says)
    assert (says or "") in card.content.replace("\\(", "(").replace("\\)", ")")
    assert (card.data.library_name, card.data.pipeline_tag) == ("lid_mapmix", "audio-classification")


@pytest.mark.parametrize(
    ("classes", "codes"),
    [
        (["eng-gbr", "eng-usg", "spa-eur"], ["eng", "spa"]),
        (["qsl-pol", "qsl-rus"], []),  # private use
        (["en", "Deutsch", "Bavarian-east"], ["en"]),
    ],
)
def test_language_codes(classes, codes):
    assert language_codes(classes) == codes


def test_a_run_without_a_test_split_and_then_without_data(own_corpus, tmp_path):
    (own_corpus / "test.csv").unlink()
    (own_corpus / "audio" / "test").rename(tmp_path / "elsewhere")
    assert train(own_corpus, tmp_path / "run", "-v", "baseline", settings={"runner.total_steps": 4}) == 0
    content = (tmp_path / "run" / CARD_NAME).read_text()
    assert "split: dev" in content
    assert "split: test" not in content
    assert "| dev | 12 |" in content
    shutil.rmtree(own_corpus)
    write_card(tmp_path / "run")
    assert "Its statistics are unknown" in (tmp_path / "run" / CARD_NAME).read_text()


def test_the_error_after_calibration_is_on_the_card(own_run):
    path = own_run / "test_metrics.json"
    content = json.loads(path.read_text())
    content["calibrated"] = {"kind": "temperature", "overall": {"ece": 0.0421}}
    path.write_text(json.dumps(content))
    write_card(own_run)
    results = ModelCard.load(own_run / CARD_NAME).data.eval_results
    assert [
        result.metric_value
        for result in results
        if result.metric_name == "expected calibration error after calibration"
    ] == [0.0421]


def test_a_card_that_fails_leaves_the_run_as_it_is(own_run, caplog):
    before = (own_run / CARD_NAME).read_text()
    (own_run / "test_metrics.json").write_text("{")
    write_card(own_run)
    assert (own_run / CARD_NAME).read_text() == before
    (warning,) = [record.getMessage() for record in caplog.records if record.name == files.__name__]
    assert warning.startswith(f"{own_run / CARD_NAME} was not written: ")
