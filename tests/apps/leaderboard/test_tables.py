"""leaderboard.html: what it says, that its links lead somewhere, and that a click sorts it in a real browser."""

import csv
import json
import shutil

import pytest
from helpers.browser import CHROMIUM, look
from helpers.latex import read_latex
from helpers.pages import cells, read_page
from lid_mapmix.apps.leaderboard.results import COLUMNS
from lid_mapmix.apps.leaderboard.tables import as_markdown, as_page, rounded, tables_of
from lid_mapmix.apps.report.table_files import as_latex

from .conftest import leaderboard, write_grid

FRAMES = """\
<!doctype html><link rel="icon" href="data:,"><body>
<iframe src="leaderboard.html" style="width:400px;height:2000px;border:0"></iframe>
<iframe src="leaderboard.html" style="width:1440px;height:2000px;border:0"></iframe>
<script>
window.onload = () => {
  const found = [];
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument;
    const column = number => [...page.querySelectorAll("#board tbody tr")].map(row => row.cells[number].textContent);
    const click = number => page.querySelectorAll("#board thead button")[number].click();
    const table = page.querySelector(".scroll");
    const seen = {asked: frame.clientWidth, width: page.documentElement.scrollWidth, columns: []};
    seen.shows_all = table.scrollWidth <= table.clientWidth;
    for (let number = 0; number < 10; number++) {
      click(number);
      const first = column(number);
      const order = page.querySelectorAll("#board thead th")[number].getAttribute("aria-sort");
      click(number);
      const sorted = page.querySelectorAll("#board thead th[aria-sort]").length;
      seen.columns.push({order, first, then: column(number), sorted, upstreams: column(0)});
    }
    found.push(seen);
  }
  fetch("found", {method: "POST", body: JSON.stringify(found)});
};
</script>
"""


def read_board(folder):
    page = read_page((folder / "leaderboard.html").read_text())
    return page, page.one("table", id="board")


def test_the_page_links_the_reports_that_there_are(finished, corpus, tmp_path):
    folder = shutil.copytree(finished[0].parent / "grid", tmp_path / "grid")
    runs = [path.parent for path in (folder / "runs").rglob("dev-best.ckpt")]
    for run in runs[1:]:
        (run / "report.html").touch()
    assert leaderboard(write_grid(tmp_path, corpus), "--no-training", "--samples", 10) == 0
    links = [link.attributes["href"] for link in read_board(folder)[0].all("a")]
    assert len(runs) == 8
    assert sorted(links) == sorted((run / "report.html").relative_to(folder).as_posix() for run in runs[1:])


def test_the_page_shows_the_rows(finished):
    folder = finished[0].parent / "grid"
    page, board = read_board(folder)
    with (folder / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = cells(board)
    assert len(shown) == len(rows) == 4
    for row, line in zip(rows, shown, strict=True):
        assert line[:2] == [row["upstream"], row["variant"]]
        assert line[2] == f"{float(row['acc']):.3f} ± {float(row['acc_sd']):.3f}"
        assert line[8] == f"{float(row['c_primary']):.3f} ± {float(row['c_primary_sd']):.3f}"
    best = [[row["upstream"], name] for row in rows for name in row if name.endswith("_best") and row[name] == "1"]
    assert len(board.all("td", class_="best")) == len(best)
    paper = cells(page.one("table", id="beside"))
    assert sum(line[1].startswith("paper") for line in paper) == 11


def test_a_table_for_a_paper_says_what_the_page_says(finished, tmp_path, capsys):
    tables = {name: tmp_path / f"board.{name}" for name in ("tex", "md")}
    for path in tables.values():
        assert leaderboard(finished[0], "--no-training", "--paper", "--samples", 50, "--table", path) == 0
    folder = finished[0].parent / "grid"
    assert tables["md"].read_text() == (folder / "leaderboard.md").read_text()
    board, beside = tables["tex"].read_text().split("\n\n")
    page, shown = read_board(folder)
    assert [row[:9] for row in read_latex(board + "\n")[1:]] == [row[:9] for row in cells(shown)]
    assert board.count(r"\textbf{") == len(shown.all("td", class_="best"))
    assert len(read_latex(beside)) - 1 == len(cells(page.one("table", id="beside")))
    assert leaderboard(finished[0], "--no-training", "--samples", 50, "--table", tables["tex"]) == 1
    assert "board.tex: exists already" in capsys.readouterr().err
    flags = ["--samples", 50, "--table", tables["tex"], "--overwrite"]
    assert leaderboard(finished[0], "--no-training", *flags) == 0
    assert tables["tex"].read_text() == board + "\n"


def test_what_is_best_is_bold_and_no_name_breaks_a_table():
    scores = {"acc": {"mean": 0.5, "sd": 0.25, "best": True}, "wf1": {"mean": 0.5, "sd": None}}
    row = {
        "upstream": "a|b_c",
        "variant": "50%",
        "runs": 2,
        "complete": 1,
        "scores": scores,
        "parameters": 5,
        "seconds": None,
    }
    (table,) = tables_of([row], paper=False)
    assert read_latex(as_latex(table))[1][:5] == ["a|b_c", "50%", "0.500 ± 0.250", "0.500", "–"]
    assert r"a\textbar{}b\_c & 50\% & \textbf{0.500 $\pm$ 0.250} & 0.500 &" in as_latex(table)
    assert r"| a\|b_c | 50% | **0.500 ± 0.250** | 0.500 | – |" in as_markdown([row], paper=False)


@pytest.mark.parametrize(
    ("count", "text"), [(None, "–"), (125_685, "126 k"), (999, "0.999 k"), (1_000_000, "1 M"), (315_438_720, "315 M")]
)
def test_parameters_are_told_in_thousands_or_millions(count, text):
    assert rounded(count) == text


def test_names_are_text_and_what_failed_is_told(tmp_path):
    name = '<script>hacked=1</script>"'
    run = {"upstream": name, "variant": "v", "data": "d", "seed": 0, "folder": "runs/x", "status": "failed"}
    row = {
        "upstream": name,
        "variant": "v",
        "runs": 1,
        "complete": 0,
        "scores": {},
        "parameters": None,
        "seconds": None,
    }
    content = {"rows": [row], "runs": [run | {"fault": "<b>broken</b>"}], "versions": {}}
    page = read_page(as_page(tmp_path, content, paper=False))
    assert cells(page.one("table", id="board"))[0][:3] == [name, "v", "–"]
    assert len(page.all("script")) == 1 and "hacked" not in page.one("script").text
    assert page.one("li").text == "runs/x: <b>broken</b>"
    assert not page.all("b") and not page.all("table", id="beside")


@pytest.mark.parametrize("suffix", ["html", "csv", "json", "md"])
def test_a_file_of_somebody_else_is_not_written_over(suffix, finished, tmp_path, capsys):
    bench = tmp_path / "bench.yaml"
    bench.write_text(finished[0].read_text().replace(str(finished[0].parent / "grid"), str(tmp_path / "grid")))
    (tmp_path / "grid").mkdir()
    (tmp_path / f"grid/leaderboard.{suffix}").write_text("mine")
    assert leaderboard(bench) == 1
    assert (tmp_path / f"grid/leaderboard.{suffix}").read_text() == "mine"
    assert "expected a file of a leaderboard" in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_click_sorts_the_table(finished, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(finished[0].parent / "grid/leaderboard.html", site)
    found, requests, console = look(site, FRAMES, tmp_path)
    assert not console
    assert requests == {"/frames.html", "/leaderboard.html", "/found"}
    content = json.loads((finished[0].parent / "grid/leaderboard.json").read_text())
    # With the links to the reports, which stand last.
    assert [frame["shows_all"] for frame in found] == [False, True]
    for frame in found:
        assert frame["width"] == frame["asked"], "the page is wider than its window"
        for number, name in enumerate(COLUMNS, start=2):
            column = frame["columns"][number]
            more = name in ("acc", "wf1", "c_acc")
            assert column["order"] == ("descending" if more else "ascending")
            scores = sorted((row["scores"][name] for row in content["rows"]), key=lambda score: score["mean"])
            texts = [f"{score['mean']:.3f} ± {score['sd']:.3f}" for score in scores]
            assert column["first"] == (texts[::-1] if more else texts)
            assert column["then"] == column["first"][::-1]
            assert column["sorted"] == 1
            assert sorted(column["upstreams"]) == ["fbank", "fbank", "mfcc", "mfcc"]
        names = frame["columns"][0]
        assert names["first"] == ["fbank", "fbank", "mfcc", "mfcc"] == names["then"][::-1]
