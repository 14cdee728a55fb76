"""The results as leaderboard.json, .csv and .md."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...utils.files import replace_when_complete, write_text
from ..report.tables import versions
from .paper import PAPER_COLUMNS, beside_paper
from .results import COLUMNS, RunResult
from .state import Status

FORMAT = "lid-mapmix leaderboard 1"
NAME = "leaderboard"
CSV_HEAD = "upstream,variant,runs,complete"
LEGEND = (
    "Mean ± standard deviation over data and seeds, of the test split. ECE cal. is after one temperature, fitted on "
    "dev. Bold: better than every other row, p < 0.05 each, by a paired bootstrap over utterances and over the runs of "
    "the same data and seed. Time is of a run with its data map."
)


def content_of(results: Sequence[RunResult], rows: Sequence[dict[str, Any]], samples: int) -> dict[str, Any]:
    """Return what leaderboard.json holds: rows, runs, versions.

    Parameters
    ----------
    results : of all runs.
    rows : what `results.summarize` returns.
    samples : resamples of the test.
    """
    return {
        "format": FORMAT,
        "samples": samples,
        "versions": dict(versions()),
        "rows": list(rows),
        "runs": [
            {
                "upstream": result.run.upstream,
                "variant": result.run.variant,
                "data": result.run.data,
                "seed": result.run.seed,
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


def write_tables(root: Path, content: Mapping[str, Any], *, paper: bool) -> list[Path]:
    """Write leaderboard.json, .csv and .md, each complete or not at all, and return their paths."""
    rows = content["rows"]
    texts = {
        "json": json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "csv": as_csv(rows),
        "md": as_markdown(rows, paper=paper),
    }
    for suffix, text in texts.items():
        if suffix == "csv":
            with replace_when_complete(root / f"{NAME}.csv") as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
        else:
            write_text(root / f"{NAME}.{suffix}", text)
    return [root / f"{NAME}.{suffix}" for suffix in texts]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV: of each column mean, standard deviation, and 1 where it is best; empty where unknown."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{name}{suffix}" for name in COLUMNS for suffix in ("", "_sd", "_best")]
    writer.writerow([*CSV_HEAD.split(","), *names, "parameters", "trained", "seconds", "seconds_sd"])
    for row in rows:
        cells: list[Any] = [row["upstream"], row["variant"], row["runs"], row["complete"]]
        for name in COLUMNS:
            score = row["scores"].get(name, {})
            cells += [score.get("mean"), score.get("sd"), int(score.get("best", False)) if score else None]
        seconds = row["seconds"] or {}
        writer.writerow([*cells, row["parameters"], row["trained"], seconds.get("mean"), seconds.get("sd")])
    return file.getvalue()


def as_markdown(rows: Sequence[Mapping[str, Any]], *, paper: bool) -> str:
    """Return the rows, and where `paper` asks for it the paper's with them, as Markdown tables."""
    head = ["upstream", "variant", *(title for title, _ in COLUMNS.values()), "parameters", "time", "runs"]
    lines = [f"| {' | '.join(head)} |", "|---|---" + "|---:" * (len(head) - 2) + "|"]
    for row in rows:
        cells = [row["upstream"], row["variant"], *(_bold(row["scores"].get(name)) for name in COLUMNS)]
        cells += [rounded(row["parameters"]), duration(row["seconds"]), runs(row)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", LEGEND]
    if paper:
        lines += ["", *_paper_lines(rows)]
    return "\n".join(lines) + "\n"


def _paper_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    titles = [COLUMNS[name][0] for name in PAPER_COLUMNS]
    lines = [f"| variant | from | {' | '.join(titles)} |", "|---|---" + "|---:" * len(titles) + "|"]
    for known, ours in beside_paper(rows):
        values = " | ".join(f"{value:.3f}" for value in known.values)
        lines.append(f"| {known.variant} | paper, {known.upstream} | {values} |")
        for row in ours:
            cells = " | ".join(spread(row["scores"].get(name)) for name in PAPER_COLUMNS)
            lines.append(f"| | here, {row['upstream']} | {cells} |")
    return [
        *lines,
        "",
        "The paper's are means over three training sets of LRE 2017 (arXiv 2302.08229, tables 1 and 2).",
    ]


def spread(score: Mapping[str, Any] | None) -> str:
    """Return mean ± standard deviation with three decimals."""
    if not score:
        return "–"
    return f"{score['mean']:.3f}" + (f" ± {score['sd']:.3f}" if score["sd"] is not None else "")


def rounded(count: int | None) -> str:
    """Return a number of parameters in thousands or millions."""
    if count is None:
        return "–"
    return f"{count / 1e6:.3g} M" if count >= 1e6 else f"{count / 1e3:.3g} k"  # noqa: PLR2004


def duration(seconds: Mapping[str, Any] | None) -> str:
    """Return a mean time in a unit that suits it."""
    if not seconds:
        return "–"
    mean = seconds["mean"]
    if mean < 90:  # noqa: PLR2004
        return f"{mean:.0f} s"
    return f"{mean / 60:.0f} min" if mean < 5400 else f"{mean / 3600:.1f} h"  # noqa: PLR2004


def runs(row: Mapping[str, Any]) -> str:
    """Return how many runs there are, and of how many where some are not complete."""
    return str(row["runs"]) if row["complete"] == row["runs"] else f"{row['complete']} of {row['runs']}"


def failures(content: Mapping[str, Any]) -> list[str]:
    """List the runs that failed, with what they said."""
    return [f"{run['folder']}: {run['fault']}" for run in content["runs"] if run["status"] == Status.FAILED.value]


def _bold(score: Mapping[str, Any] | None) -> str:
    text = spread(score)
    return f"**{text}**" if score and score.get("best") else text
