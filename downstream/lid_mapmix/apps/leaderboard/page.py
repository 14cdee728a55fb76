"""leaderboard.html: the results as one page that opens from disk, with a table that a click sorts."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...utils.run_folder import RunFolder
from ..report.page import STYLE_SHEET, style_sheets, template_environment
from . import tables
from .paper import PAPER_COLUMNS, beside_paper
from .results import COLUMNS

GENERATOR = "lid-mapmix leaderboard"


def render(root: Path, content: Mapping[str, Any], *, paper: bool) -> str:
    """Return the page.

    Parameters
    ----------
    root : folder of the grid, where the page will lie; runs' reports are linked from there.
    content : what `tables.content_of` returns.
    paper : set the rows beside the paper's.
    """
    folder = Path(__file__).parent
    environment = template_environment(folder)
    script = (folder / "leaderboard.js").read_text(encoding="utf-8")
    rows = [_row(root, content, row) for row in content["rows"]]
    # The page's own script and no other one is run: its text is named by its digest.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("leaderboard.html").render(
        generator=GENERATOR,
        css=style_sheets([STYLE_SHEET, folder / "leaderboard.css"]),
        script=Markup(script),
        digest=digest,
        title=root.resolve().name,
        columns=[(title, "more" if is_more_better else "less") for title, is_more_better in COLUMNS.values()],
        rows=rows,
        legend=tables.LEGEND,
        failures=tables.failures(content),
        paper=_paper(content) if paper else [],
        paper_columns=[COLUMNS[name][0] for name in PAPER_COLUMNS],
        versions=list(content["versions"].items()),
        complete=sum(row["complete"] for row in content["rows"]),
        count=len(content["runs"]),
    )


def _row(root: Path, content: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's names, its cells as (text, what to sort by, is best), and its runs as (name, link or "")."""
    cells = []
    for name in COLUMNS:
        score = row["scores"].get(name)
        cells.append((tables.spread(score), None if not score else score["mean"], bool(score and score.get("best"))))
    seconds = row["seconds"]
    cells.append((tables.rounded(row["parameters"]), row["parameters"], False))
    cells.append((tables.duration(seconds), None if seconds is None else seconds["mean"], False))
    members = [run for run in content["runs"] if (run["upstream"], run["variant"]) == (row["upstream"], row["variant"])]
    links = []
    for run in members:
        report = RunFolder(Path(run["folder"])).report.as_posix()
        links.append((f"{run['data']} · {run['seed']}", report if (root / report).is_file() else "", run["status"]))
    return {"upstream": row["upstream"], "variant": row["variant"], "cells": cells, "runs": links}


def _paper(content: Mapping[str, Any]) -> list[tuple[str, str, list[str], bool]]:
    """Return the lines of the table beside the paper: variant, from where, cells, is the paper's."""
    lines = []
    for known, ours in beside_paper(content["rows"]):
        lines.append((known.variant, f"paper, {known.upstream}", [f"{value:.3f}" for value in known.values], True))
        for row in ours:
            cells = [tables.spread(row["scores"].get(name)) for name in PAPER_COLUMNS]
            lines.append((known.variant, f"here, {row['upstream']}", cells, False))
    return lines
