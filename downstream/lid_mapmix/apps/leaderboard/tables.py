"""The results as leaderboard.json, .csv, .md and .html, optionally next to those of the paper.

The page opens from disk; its table can be sorted (leaderboard.html, .css, .js). The results of the paper are on LRE
2017 (arXiv 2302.08229, tables 1 and 2).
"""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...utils.files import write_text
from ...utils.run_folder import RunFolder
from ..report import table_files
from ..report.page import STYLE_SHEET, style_sheets, template_environment
from ..report.tables import Table, versions
from .comparison import MIN_RUNS
from .results import COLUMNS, RunResult
from .state import Status, duration

_NAME = "leaderboard"
CONTENT_NAME = f"{_NAME}.json"
_GENERATOR = "lid-mapmix leaderboard"
FORMAT = f"{_GENERATOR} 2"
_CSV_HEAD = "upstream,variant,runs,complete"
# Text that identifies each file as one of a leaderboard, in the order in which they are written.
_MARKS = {
    "json": f'"format": "{_GENERATOR}',
    "csv": _CSV_HEAD,
    "md": "| upstream | variant |",
    "html": f'content="{_GENERATOR}"',
}
_LEGEND = (
    "Test split: mean ± standard deviation over data and seeds. cal.: after the calibration fitted on dev. Log "
    "loss in nats. Bold: better than every other row, p < 0.05 each, by a test over utterances and over runs with the "
    f"same data and seed; nothing is bold with fewer than {MIN_RUNS} such runs, nor is ECE, which does not compare "
    "calibration. Time: one run including its data map."
)
_PAPER_LEGEND = "Paper: means over three training sets of LRE 2017 (arXiv 2302.08229, tables 1 and 2)."
_PAPER_COLUMNS = ("acc", "wf1", "c_acc", "ece")


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper: upstream, variant, means over its three training sets in the order of `_PAPER_COLUMNS`."""

    upstream: str
    variant: str
    values: tuple[float, float, float, float]


_XLSR = "XLSR"
PAPER = (
    PaperRow("wav2vec 2.0", "baseline", (0.522, 0.481, 0.904, 0.271)),
    PaperRow("HuBERT", "baseline", (0.541, 0.505, 0.900, 0.231)),
    PaperRow(_XLSR, "baseline", (0.632, 0.601, 0.959, 0.158)),
    PaperRow(_XLSR, "static", (0.564, 0.529, 0.842, 0.112)),
    PaperRow(_XLSR, "latent_random", (0.658, 0.638, 0.945, 0.108)),
    PaperRow(_XLSR, "latent_within", (0.646, 0.614, 0.945, 0.127)),
    PaperRow(_XLSR, "latent_across", (0.655, 0.641, 0.949, 0.105)),
    PaperRow(_XLSR, "easy", (0.657, 0.631, 0.948, 0.107)),
    PaperRow(_XLSR, "hard", (0.636, 0.605, 0.943, 0.132)),
    PaperRow(_XLSR, "amb_easy", (0.658, 0.644, 0.945, 0.101)),
    PaperRow(_XLSR, "mapmix", (0.677, 0.658, 0.958, 0.067)),
)


def content_of(results: Sequence[RunResult], rows: Sequence[dict[str, Any]], samples: int) -> dict[str, Any]:
    """Return the content of leaderboard.json: rows, runs, versions. `rows`: result of `results.summarize`."""
    return {
        "format": FORMAT,
        "samples": samples,
        "versions": dict(versions()),
        "rows": list(rows),
        "runs": [
            {
                **asdict(result.run),
                "folder": result.run.folder.as_posix(),
                "status": result.state.status.value,
                "fault": result.state.fault,
                "scores": dict(result.scores),
                "seconds": result.seconds,
                "parameters": result.parameters,
                "trained": result.trained,
                "manifests": result.state.request.get("manifests", {}),
                "versions": dict(result.state.versions),
                "map_command": result.map_command,
                "command": result.state.command,
            }
            for result in results
        ],
    }


def foreign_files(root: Path) -> list[Path]:
    """List existing files with the names of the tables that no leaderboard has written."""
    paths = {root / f"{_NAME}.{suffix}": mark for suffix, mark in _MARKS.items()}
    return [
        path
        for path, mark in paths.items()
        if path.exists() and not (path.is_file() and mark in path.read_text(encoding="utf-8", errors="replace"))
    ]


def write_tables(root: Path, content: Mapping[str, Any], *, paper: bool) -> list[Path]:
    """Write leaderboard.json, .csv, .md and .html, each complete or not at all, and return their paths.

    `content`: result of `content_of`. `paper`: show the rows next to those of the paper.
    """
    texts = {
        "json": json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "csv": _as_csv(content["rows"]),
        "md": as_markdown(content["rows"], paper=paper),
        "html": as_page(root, content, paper=paper),
    }
    paths = []
    for suffix, text in texts.items():
        paths.append(root / f"{_NAME}.{suffix}")
        write_text(paths[-1], text)
    return paths


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV: mean, standard deviation and 1 for best per column; unknown values are empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{name}{suffix}" for name in COLUMNS for suffix in ("", "_sd", "_best")]
    writer.writerow([*_CSV_HEAD.split(","), *names, "parameters", "trained", "seconds", "seconds_sd"])
    for row in rows:
        cells: list[Any] = [row["upstream"], row["variant"], row["runs"], row["complete"]]
        for name in COLUMNS:
            score = row["scores"].get(name, {})
            cells += [score.get("mean"), score.get("sd"), int(score.get("best", False)) if score else None]
        seconds = row["seconds"] or {}
        writer.writerow([*cells, row["parameters"], row["trained"], seconds.get("mean"), seconds.get("sd")])
    return file.getvalue()


def as_markdown(rows: Sequence[Mapping[str, Any]], *, paper: bool) -> str:
    """Return the rows as a Markdown table; with `paper` also a table with the rows of the paper."""
    return "\n".join(map(table_files.as_markdown, tables_of(rows, paper=paper)))


def tables_of(rows: Sequence[Mapping[str, Any]], *, paper: bool) -> list[Table]:
    """Return the table of the rows; with `paper` also a table with the rows of the paper."""
    head = ["upstream", "variant", *(title for title, _ in COLUMNS.values()), "parameters", "time", "runs"]
    lines = [
        [
            *(row["upstream"], row["variant"]),
            *(table_files.Bold(text) if is_best else text for text, _, is_best in _cells(row)),
            str(row["runs"]) if row["complete"] == row["runs"] else f"{row['complete']} of {row['runs']}",
        ]
        for row in rows
    ]
    tables = [Table(_LEGEND, head, lines, names=2)]
    if paper:
        titles = [COLUMNS[name][0] for name in _PAPER_COLUMNS]
        beside = [
            [variant if is_paper else "", origin, *values] for variant, origin, values, is_paper in _beside_paper(rows)
        ]
        tables.append(Table(_PAPER_LEGEND, ["variant", "source", *titles], beside, names=2))
    return tables


def _cells(row: Mapping[str, Any]) -> list[tuple[str, float | None, bool]]:
    """Return text, number and whether it is best, per score, and of the number of parameters and the time."""
    scores = [row["scores"].get(name) or {} for name in COLUMNS]
    seconds = row["seconds"] or {}
    return [
        *((_spread(score), score.get("mean"), score.get("best", False)) for score in scores),
        (rounded(row["parameters"]), row["parameters"], False),
        (duration(seconds["mean"]) if seconds else "–", seconds.get("mean"), False),
    ]


def _spread(score: Mapping[str, Any] | None) -> str:
    """Return mean ± standard deviation with three decimals."""
    if not score:
        return "–"
    return f"{score['mean']:.3f}" + (f" ± {score['sd']:.3f}" if score["sd"] is not None else "")


def rounded(count: int | None) -> str:
    """Format a number of parameters in thousands (k) or millions (M)."""
    if count is None:
        return "–"
    return f"{count / 1e6:.3g} M" if count >= 1e6 else f"{count / 1e3:.3g} k"  # noqa: PLR2004


def failures(content: Mapping[str, Any]) -> list[str]:
    """List the failed runs with their errors."""
    return [f"{run['folder']}: {run['fault']}" for run in content["runs"] if run["status"] == Status.FAILED.value]


def as_page(root: Path, content: Mapping[str, Any], *, paper: bool) -> str:
    """Return the HTML page.

    `root`: folder of the grid and of the page; links to the reports of runs are relative to it. `content`: result of
    `content_of`. `paper`: show the rows next to those of the paper.
    """
    folder = Path(__file__).parent
    environment = template_environment(folder)
    script = (folder / "leaderboard.js").read_text(encoding="utf-8")
    # The content security policy allows this script only, by its digest.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("leaderboard.html").render(
        generator=_GENERATOR,
        css=style_sheets([STYLE_SHEET, folder / "leaderboard.css"]),
        script=Markup(script),
        digest=digest,
        title=root.resolve().name,
        columns=[(title, "higher" if is_higher_better else "lower") for title, is_higher_better in COLUMNS.values()],
        rows=[_row(root, content, row) for row in content["rows"]],
        legend=_LEGEND,
        failures=failures(content),
        paper=_beside_paper(content["rows"]) if paper else [],
        paper_columns=[COLUMNS[name][0] for name in _PAPER_COLUMNS],
        content=content,
    )


def _row(root: Path, content: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of a row, its `_cells`, and runs (name, link or "", status)."""
    members = [run for run in content["runs"] if (run["upstream"], run["variant"]) == (row["upstream"], row["variant"])]
    links = []
    for run in members:
        report = RunFolder(Path(run["folder"])).report.as_posix()
        links.append((f"{run['data']} · {run['seed']}", report if (root / report).is_file() else "", run["status"]))
    return {"upstream": row["upstream"], "variant": row["variant"], "cells": _cells(row), "runs": links}


def _beside_paper(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[str], bool]]:
    """Return the rows of the paper in their order, each followed by the rows of the leaderboard with that variant.

    Upstreams named wav2vec2… and hubert… follow the paper's wav2vec 2.0 and HuBERT, all others its XLSR.

    Returns per row (variant, origin and upstream, values of the columns, whether it is a row of the paper).
    """
    lines = []
    for known in PAPER:
        lines.append((known.variant, f"paper, {known.upstream}", [f"{value:.3f}" for value in known.values], True))
        for row in rows:
            if row["variant"] == known.variant and _paper_upstream(row["upstream"]) == known.upstream:
                cells = [_spread(row["scores"].get(name)) for name in _PAPER_COLUMNS]
                lines.append((known.variant, f"this, {row['upstream']}", cells, False))
    return lines


def _paper_upstream(upstream: str) -> str:
    return next(
        (name for start, name in (("wav2vec2", "wav2vec 2.0"), ("hubert", "HuBERT")) if upstream.startswith(start)),
        _XLSR,
    )
