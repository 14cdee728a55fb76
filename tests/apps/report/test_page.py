"""The whole page, from the folder of a real run: names escaped, numbers those of the files, gaps named."""

import base64
import csv
import dataclasses
import io
import itertools
import json
import re
import shutil

import numpy as np
import pytest
import soundfile
import yaml
from helpers.pages import cells, read_page
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.apps import cli
from lid_mapmix.apps.report import clips
from lid_mapmix.apps.report import page as page_module
from lid_mapmix.apps.report.gather import gather
from lid_mapmix.apps.report.page import calibration_error, datamap
from lid_mapmix.apps.report.tables import confusions
from lid_mapmix.config.schema import DatamapConfig
from lid_mapmix.data.audio.reading import read_audio
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.data.labels import Labels
from lid_mapmix.scoring.files.own import read_scores
from lid_mapmix.scoring.metrics import expected_calibration_error, reliability_curve
from lid_mapmix.utils.run_folder import RunFolder
from sklearn.metrics import confusion_matrix

SECTIONS = ("scores", "confusion", "reliability", "slices", "datamap", "training", "worst", "settings")
ACTIVE = {"script", "iframe", "object", "embed", "form", "base"}
# Those that the names hold.
FOREIGN = {"b", "img"}


def report(*arguments):
    return cli.main(["report", *map(str, arguments)])


def page_of(folder, *arguments):
    assert report(folder, *arguments) == 0
    return read_page((folder / "report.html").read_text(encoding="utf-8"))


def section(page, name):
    return page.one("section", **{"aria-labelledby": name})


@pytest.fixture(scope="module")
def page(hostile_run):
    return page_of(hostile_run)


def test_names_are_text_and_nothing_else(page, hostile_corpus):
    assert not {element.name for element in page.all()} & (ACTIVE | FOREIGN)
    assert not [element for element in page.all() if any(name.startswith("on") for name in element.attributes)]
    ids = {row["audiopath"] for row in csv.DictReader((hostile_corpus / "test.csv").open(newline=""))}
    assert {clip.text.strip() for clip in page.all("p", class_="name")} == ids
    classes = {row["class"] for row in csv.DictReader((hostile_corpus / "test.csv").open(newline=""))}
    matrix = section(page, "confusion").all("table")[1]
    assert {row[0] for row in cells(matrix)} == classes
    assert page.one("h1").text == "<b>hostile & run"


def test_nothing_is_fetched(page, hostile_run):
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy.startswith("default-src 'none';")
    for element in page.all():
        for name in ("src", "href"):
            address = element.attributes.get(name, "#")
            assert address.startswith(("#", "data:")), address[:80]
    styles = page.one("style").text
    assert "url(" not in styles and "@import" not in styles
    assert (hostile_run / "report.html").stat().st_size < 10e6


def test_it_can_be_read_without_seeing_and_without_a_mouse(page):
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    targets = {
        element.attributes["href"][1:] for element in page.all() if element.attributes.get("href", "")[:1] == "#"
    }
    assert targets <= set(ids)
    assert [link.attributes["href"] for link in page.one("nav").all("a")] == [f"#{name}" for name in SECTIONS]
    levels = [int(element.name[1]) for element in page.all() if re.fullmatch(r"h\d", element.name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in itertools.pairwise(levels))
    for svg in page.all("svg"):
        assert svg.attributes.get("aria-hidden") == "true" or (svg.attributes["role"], svg.attributes["aria-label"])
    assert len(page.all("svg", role="img")) == 5
    for region in page.all("div", class_="scroll"):
        assert region.attributes["tabindex"] == "0" and region.attributes["aria-label"]
    assert all(audio.attributes["aria-label"] and "controls" in audio.attributes for audio in page.all("audio"))
    assert page.one("html").attributes["lang"] == "en"


def test_scores_are_those_of_the_metrics(page, hostile_run):
    overall = json.loads((hostile_run / "test_metrics.json").read_text())["overall"]
    rows = {row[0]: row[1:] for row in cells(section(page, "scores").one("table"))}
    noise = f"{overall['ece_floor']:.3f} ± {overall['ece_floor_sd']:.3f}"
    assert rows["ece"][:2] == [f"{overall['ece']:.3f} ({noise})", "–"]
    del rows["ece"]
    assert {name: row[0] for name, row in rows.items()} == {name: f"{overall[name]:.3f}" for name in rows}
    assert rows["acc"][1] == "0.125 to 0.875"
    assert rows["wf1"][1] == "–"
    first = section(page, "scores").all("dd")[0]
    assert first.one(class_="value").text == f"{overall['acc']:.3f}"
    assert first.one(class_="interval").text == "0.125 to 0.875"
    assert section(page, "scores").all("dd")[3].one(class_="interval").text == f"{noise} if calibrated"


def test_the_confusion_matrix_counts_every_utterance(page, hostile_run):
    scores = read_scores(hostile_run / "test_scores.csv")
    clusters, classes = section(page, "confusion").all("table")
    expected = confusion_matrix(scores.truth, scores.predictions, labels=scores.classes)
    rows = cells(classes)
    assert [[int(cell or 0) for cell in row[1:-1]] for row in rows] == expected.tolist()
    recalls = expected.diagonal() / expected.sum(axis=1)
    assert [row[-1] for row in rows] == [f"{100 * recall:.0f} %" for recall in recalls]
    blocks = expected.reshape(2, 2, 2, 2).sum(axis=(1, 3))
    assert [[int(cell or 0) for cell in row[1:-1]] for row in cells(clusters)] == blocks.tolist()
    assert [header.attributes["colspan"] for header in classes.all("th", scope="colgroup")] == ["2", "2"]


def test_slices_and_truncation_are_tables_too(page, hostile_run):
    metrics = json.loads((hostile_run / "test_metrics.json").read_text())
    tables = {table.one("caption").text: cells(table) for table in section(page, "slices").all("table")}
    kept = next(rows for caption, rows in tables.items() if "duration kept" in caption)
    assert [row[0] for row in kept] == ["0.5", "10"]
    assert [row[1] for row in kept] == ["0.250", f"{metrics['overall']['acc']:.3f}"]
    by_cluster = {row[0]: row[1] for row in tables["By cluster"]}
    assert by_cluster == {name: f"{scores['acc']:.3f}" for name, scores in metrics["by_cluster"].items()}
    assert "By source" not in tables  # there is one


def test_settings_and_versions_are_whole(page, hostile_run):
    text = {pre.parent.attributes["aria-label"]: pre.text for pre in page.all("pre")}
    for pattern in ("config_*.yaml", "args_*.yaml"):
        [path] = hostile_run.glob(pattern)
        assert text[path.name] == path.read_text()
    named = [element.text for element in section(page, "settings").all("dt")]
    assert {"python", "torch", "s3prl"} <= set(named)


def test_the_worst_come_first_and_sound_as_they_are(page, hostile_run, hostile_corpus):
    scores = read_scores(hostile_run / "test_scores.csv")
    of_truth = scores.log_probabilities[np.arange(12), scores.truth_indices]
    names = [clip.text.strip() for clip in page.all("p", class_="name")]
    assert names == scores.ids[np.argsort(of_truth, kind="stable")].tolist()
    source = page.all("audio")[0].attributes["src"]
    kind, encoded = source.split(",", 1)
    assert kind == "data:audio/flac;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)))
    assert rate == 16_000
    np.testing.assert_allclose(samples, read_audio(hostile_corpus / names[0]), atol=1 / 2**15)


def test_long_utterances_are_cut(own_hostile_run, monkeypatch):
    monkeypatch.setattr(clips, "CLIP_SECONDS", 0.25)
    findings = gather(RunFolder(own_hostile_run), "test")
    manifest = Corpus(str(findings.data_directory), findings.labels.clusters).manifest("test")
    found = clips.worst_clips(findings, manifest, count=3)
    assert [clip.is_cut for clip in found] == [True] * 3
    for clip in found:
        file = io.BytesIO(base64.b64decode(clip.audio.split(",", 1)[1]))
        assert soundfile.info(file).frames == 4000


def test_what_is_absent_names_the_command_that_makes_it(own_hostile_run, tmp_path):
    for name in ("test_truncation.json", "test_metrics.json", "dev_scores.csv"):
        (own_hostile_run / name).unlink()
    for path in [*own_hostile_run.glob("events.*"), *own_hostile_run.glob("calibration.json")]:
        path.unlink()
    for path in own_hostile_run.glob("*.yaml"):
        settings = yaml.safe_load(path.read_text())
        (settings.get("downstream_expert") or {}).get("mapmix", {})["datamap"] = str(tmp_path / "gone/datamap.csv")
        path.write_text(yaml.safe_dump(settings))
    page = page_of(own_hostile_run, "--data", tmp_path)
    commands = {name: [code.text for code in section(page, name).all("code")] for name in SECTIONS}
    evaluate = f"python run_downstream.py -m evaluate -t {{}} -e {own_hostile_run}"
    assert commands["scores"] == [evaluate.format("test")]
    assert commands["reliability"] == [evaluate.format("dev")]
    assert commands["slices"] == [f"lid-mapmix truncation {own_hostile_run} --split test"]
    assert commands["datamap"] == [f"lid-mapmix datamap {tmp_path / 'gone'}"]
    assert commands["worst"] == [f"lid-mapmix report {own_hostile_run} --split test --data DIR"]
    assert "no TensorBoard events" in section(page, "training").text
    assert not page.all("audio")
    # What the scores alone say is there all the same.
    assert len(page.all("svg", role="img")) == 1
    assert len(section(page, "confusion").all("table")) == 2


def test_a_folder_with_scores_alone_has_a_report(hostile_run, tmp_path):
    shutil.copy(hostile_run / "test_scores.csv", tmp_path)
    page = page_of(tmp_path)
    assert "not known" in section(page, "datamap").text
    assert "config_*.yaml" in section(page, "settings").text
    assert len(section(page, "confusion").all("th", scope="colgroup")) == 2, "clusters are told by the classes' names"


def test_the_same_run_gives_the_same_bytes(own_hostile_run):
    assert report(own_hostile_run) == 0
    first = (own_hostile_run / "report.html").read_bytes()
    assert report(own_hostile_run, "--out", own_hostile_run / "again/page.html") == 0
    assert (own_hostile_run / "again/page.html").read_bytes() == first


def test_another_split_and_moved_data(own_hostile_run, hostile_corpus, tmp_path):
    moved = shutil.copytree(hostile_corpus, tmp_path / "moved")
    page = page_of(own_hostile_run, "--split", "dev", "--data", moved)
    assert "12 utterances of dev" in page.one("header").text
    assert len(page.all("audio")) == 12
    # Fitted on dev, it would flatter dev.
    assert (own_hostile_run / "calibration.json").is_file()
    assert "There is no calibration" in section(page, "reliability").text


def test_clusters_of_one_class_are_not_named_twice(hostile_run):
    """A matrix of a hundred of them would be nothing but the lines between groups."""
    findings = gather(RunFolder(hostile_run), "test")
    alone = Labels({name: (name,) for name in findings.labels.classes})
    (matrix,) = confusions(dataclasses.replace(findings, labels=alone))
    assert matrix.groups == [("", len(alone.classes))]
    assert matrix.starts == {0}


@given(st.integers(0, 2**32 - 1))
def test_the_points_of_a_diagram_have_the_error_of_the_scores(seed):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([0.7] * 4, size=40)
    truth = generator.integers(4, size=40)
    error = calibration_error(reliability_curve(probabilities, truth))
    assert error == pytest.approx(expected_calibration_error(probabilities, truth), abs=1e-12)


def test_boundaries_of_a_map_that_another_rule_made_are_not_drawn(own_hostile_run):
    findings = gather(RunFolder(own_hostile_run), "test")
    assert datamap(findings)["figure"].svg.count("var(--ideal)") == 2
    rule = {"regions": "fixed", "easy_confidence": 1.0, "hard_confidence": 0.0}
    task = dataclasses.replace(findings.task, datamap=DatamapConfig(**rule))
    assert "var(--ideal)" not in datamap(dataclasses.replace(findings, task=task))["figure"].svg


def test_a_figure_that_fails_costs_no_page(own_hostile_run, monkeypatch, caplog):
    def fail(*_):
        raise ValueError("no <way>")

    monkeypatch.setattr(page_module, "draw_datamap", fail)
    page = page_of(own_hostile_run)
    assert len(page.all("svg", role="img")) == 4
    assert "This figure could not be drawn: no <way>" in section(page, "datamap").text
    assert "'Training utterances' could not be drawn: no <way>" in caplog.text
