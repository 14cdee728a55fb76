"""``lid-mapmix report``: its faults in one line, what it refuses to write over, and the report that a run leaves."""

import logging
import sys

import pytest
from helpers.launching import overrides, run, run_python
from lid_mapmix.apps import cli
from lid_mapmix.apps.report import page
from lid_mapmix.utils import files


def fault_of(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def report(*arguments):
    return cli.main(["report", *map(str, arguments)])


def test_a_run_leaves_a_report_and_names_it(corpus, tmp_path, capsys):
    flags = ["-u", "fbank", "-v", "baseline", "--data", corpus, "-p", tmp_path / "run", "--device", "cpu"]
    assert run(*flags, "-o", overrides({"downstream_expert.epochs": 1, "runner.report": True})) == 0
    assert capsys.readouterr().out.endswith("\n  report.html\n")
    assert "12 utterances of <strong>test</strong>" in (tmp_path / "run/report.html").read_text()


def test_a_run_can_be_without_report_and_figure(corpus, tmp_path, capsys):
    flags = ["-u", "fbank", "-v", "datamap", "--data", corpus, "-p", tmp_path / "run", "--device", "cpu"]
    assert run(*flags, "-o", overrides({"downstream_expert.datamap.epochs": 1, "runner.report": False})) == 0
    assert "report.html" not in capsys.readouterr().out
    assert (tmp_path / "run/datamap.csv").is_file()
    assert not list((tmp_path / "run").glob("*.png")) + list((tmp_path / "run").glob("*.html"))


def test_a_report_that_fails_leaves_the_run_as_it_is(corpus, tmp_path, monkeypatch, caplog, capsys):
    def fail(*_):
        raise ValueError("no\nway")

    monkeypatch.setattr(page, "render", fail)
    flags = ["-u", "fbank", "-v", "baseline", "--data", corpus, "-p", tmp_path / "run", "--device", "cpu"]
    with caplog.at_level(logging.WARNING):
        assert run(*flags, "-o", overrides({"downstream_expert.epochs": 1, "runner.report": True})) == 0
    warnings = [record.getMessage() for record in caplog.records if record.name == files.__name__]
    assert warnings == [f"{tmp_path / 'run/report.html'} was not written: no way"]
    assert (tmp_path / "run/test_metrics.json").is_file()
    assert "report.html" not in capsys.readouterr().out


def test_a_new_run_takes_the_old_report_away(own_run, corpus):
    (own_run / "report.html").write_text("of the run before")
    flags = ["-u", "fbank", "-v", "baseline", "--data", corpus, "-p", own_run, "--device", "cpu", "--overwrite"]
    assert run(*flags, "-o", overrides({"runner.total_steps": "many"})) == 1
    assert (own_run / "report.html").read_text() == "of the run before", "nothing was begun"
    assert run(*flags, "-o", overrides({"downstream_expert.epochs": 1, "optimizer.lr": 1e30})) == 1
    assert not (own_run / "report.html").exists()


def test_test_goes_before_dev(own_run, capsys):
    assert report(own_run) == 0
    assert capsys.readouterr().out.startswith(f"{own_run / 'report.html'}: test of {own_run}")
    (own_run / "test_scores.csv").unlink()
    assert report(own_run) == 0
    assert ": dev of " in capsys.readouterr().out


def test_faults_are_one_line(own_run, tmp_path, capsys):
    assert report(tmp_path / "none") == 1
    assert "none: no such folder" in fault_of(capsys)
    assert report(own_run, "--split", "eval") == 1
    assert f"-m evaluate -t eval -e {own_run}'" in fault_of(capsys)
    (own_run / "empty").mkdir()
    assert report(own_run / "empty") == 1
    assert "expected test_scores.csv, found none" in fault_of(capsys)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("test_scores.csv", "id,class", "expected the columns"),
        ("test_metrics.json", "{", "expected JSON"),
        ("test_metrics.json", "[1]", "expected an object, found list"),
        ("test_truncation.json", '{"seconds": {"long": {}}}', "expected scores by duration"),
        ("test_truncation.json", '{"seconds": {"1": 2}}', "expected scores by duration"),
        ("datamap/datamap.csv", "id\n1\n", "expected a data map"),
        (
            "config_9999.yaml",
            "{runner: {}, optimizer: {name: AdamW}, downstream_expert: {epoch: 1}}",
            "unknown key downstream_expert.epoch",
        ),
    ],
)
def test_a_damaged_file_is_named_and_no_page_is_left(own_run, capsys, name, content, fault):
    if name == "calibration.json":
        metrics = own_run / "test_metrics.json"
        metrics.write_text(metrics.read_text().replace('"reliability"', '"other"'))
    (own_run / "report.html").unlink(missing_ok=True)
    (own_run / name).write_text(content)
    assert report(own_run) == 1
    assert fault in fault_of(capsys)
    assert not (own_run / "report.html").exists()


def test_only_a_report_is_written_over(own_run, tmp_path, capsys):
    notes = tmp_path / "notes.html"
    notes.write_text("<p>mine</p>")
    assert report(own_run, "--out", notes) == 1
    assert "notes.html: exists already, and is not a report" in fault_of(capsys)
    assert notes.read_text() == "<p>mine</p>"
    assert report(own_run, "--out", tmp_path) == 1
    assert "found a folder" in fault_of(capsys)
    assert report(own_run, "--out", tmp_path / "page.html") == 0
    assert report(own_run, "--out", tmp_path / "page.html") == 0


def test_help_is_there_without_torch():
    code = "import sys; from lid_mapmix.apps import cli\ntry: cli.main(['report', '--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy', 'jinja2', 'matplotlib'} & set(sys.modules), sorted(sys.modules)"
    process = run_python("-c", code, path=[*sys.path])
    assert process.returncode == 0, process.stderr
    assert "lid-mapmix report result/downstream/first --split dev" in process.stdout
