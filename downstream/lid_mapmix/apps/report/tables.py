"""The tables of the report: scores, slices, who is taken for whom, versions; and tables for the terminal."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from unicodedata import category

if TYPE_CHECKING:
    import numpy as np

    from .gather import Findings

_HEADLINE = ("acc", "wf1", "c_acc", "ece")
# Score → what it is, and whether more is better.
_MEANINGS = {
    "acc": ("accuracy: share of right answers", True),
    "wf1": ("F1 of the classes, weighted by their utterances", True),
    "macro_f1": ("F1 of the classes, each counting the same", True),
    "c_acc": ("cluster accuracy: share of answers in the right cluster", True),
    "ece": ("expected calibration error, 10 bins", False),
    "eer": ("equal error rate, each class against the rest, mean", False),
    "cavg_1": ("NIST Cavg at β = 1; rejecting everything costs 1", False),
    "cavg_9": ("NIST Cavg at β = 9", False),
    "c_primary": ("NIST LRE17: mean of the two", False),
    "c_primary_min": ("the same at the best threshold", False),
    "cavg_argmax": ("Cavg where the most probable class is accepted", False),
    "cllr": ("multiclass log-likelihood-ratio cost, bits", False),
}
_SLICE_COLUMNS = ("acc", "wf1", "c_acc", "ece", "c_primary", "cllr")
_WAYS = {"duration": "nominal duration, in seconds"}
_PACKAGES = (
    "lid-mapmix",
    "s3prl",
    "torch",
    "torchaudio",
    "transformers",
    "numpy",
    "scipy",
    "scikit-learn",
    "soundfile",
)
# Shares of a row from which on a cell is so dark in the light page, or so bright in the dark one, that its number takes
# the other colour: black and white each have a contrast of 4.5 there (WCAG 1.4.3).
_DARK, _BRIGHT = 0.84, 0.62
_ABSENT = "-"
# Unicode's control signs, and its line and paragraph separators.
_STEERING = ("Cc", "Zl", "Zp")


@dataclass(frozen=True)
class Table:
    """A table; the first cells of each row, as many as `names`, name it."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1


@dataclass(frozen=True)
class Confusion:
    """Counts of answers by truth; see :func:`confusion`.

    Attributes
    ----------
    caption : of the table.
    groups : (name, number of its members), in order.
    names : of the rows and columns.
    rows : of cells ``{"count", "share", "is_right", "is_dark", "is_bright"}``, the share being that of the row.
    starts : numbers of the rows at which a group starts.
    """

    caption: str
    groups: Sequence[tuple[str, int]]
    names: Sequence[str]
    rows: Sequence[Sequence[dict[str, Any]]]
    starts: frozenset[int]


def decimals(value: object) -> str:
    """Return a score with 3 decimals, a count with its thousands apart, a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def headline(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the scores that come first, with their intervals."""
    overall, intervals = metrics.get("overall") or {}, metrics.get("intervals") or {}
    return [
        {"name": name, "value": decimals(overall[name]), "interval": _interval(intervals.get(name))}
        | {"meaning": _MEANINGS[name][0]}
        for name in _HEADLINE
        if name in overall
    ]


def score_table(metrics: Mapping[str, Any]) -> Table:
    """Return every score with its interval, and the same after calibration where there is one."""
    overall, intervals = metrics.get("overall") or {}, metrics.get("intervals") or {}
    calibrated = metrics.get("calibrated") or {}
    columns = ["score", "value"]
    columns += ["95 % interval"] if intervals else []
    columns += [f"calibrated ({calibrated.get('kind', '')})"] if calibrated else []
    rows = []
    for name, (meaning, is_more_better) in _MEANINGS.items():
        if name not in overall:
            continue
        cells = [name, decimals(overall[name])]
        cells += [_interval(intervals.get(name)) or "–"] if intervals else []
        cells += [decimals(calibrated["overall"].get(name))] if calibrated else []
        rows.append([*cells, "more" if is_more_better else "less", meaning])
    return Table(f"{overall.get('count', 0):,} utterances", [*columns, "better", "what it is"], rows)


def slice_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Return the scores by duration, source, cluster and whatever else there are slices by."""
    overall = metrics.get("overall") or {}
    tables = []
    for way in (key for key in metrics if key.startswith("by_")):
        slices, name = metrics[way], way.removeprefix("by_")
        # One source is everything once more.
        if len(slices) < 1 + (name == "source"):
            continue
        found = dict.fromkeys(score for scores in slices.values() for score in scores)
        columns = [score for score in _SLICE_COLUMNS if score in found] + [
            score for score in found if score not in overall
        ]
        columns = [*columns, *(["count"] if "count" in found else [])]
        rows = [[part, *(decimals(scores.get(column)) for column in columns)] for part, scores in slices.items()]
        tables.append(Table(f"By {_WAYS.get(name, name)}", [name, *columns], rows))
    return tables


def truncation_table(truncation: Mapping[float, Mapping[str, float]]) -> Table:
    """Return the numbers of the truncation curve."""
    names = [*_SLICE_COLUMNS, "long_enough", "count"]
    rows = [[f"{seconds:g}", *(decimals(scores.get(name)) for name in names)] for seconds, scores in truncation.items()]
    return Table("By the seconds that are heard", ["seconds", *names], rows)


def confusions(findings: "Findings") -> list[Confusion]:
    """Return who is taken for whom: clusters, where there are several of more than one class, and classes."""
    clusters, indices = findings.labels.clusters, findings.labels.cluster_indices
    truth, answers = findings.truth, findings.predictions
    tables = []
    if 1 < len(clusters) < len(indices):
        tables.append(confusion("Clusters", [("", len(clusters))], list(clusters), indices[truth], indices[answers]))
    groups = [(name, len(members)) for name, members in clusters.items()]
    if len(clusters) == len(indices):  # each of one class, whose name would stand there twice
        groups = [("", len(indices))]
    return [*tables, confusion("Classes", groups, findings.labels.classes, truth, answers)]


def confusion(
    caption: str, groups: Sequence[tuple[str, int]], names: Sequence[str], truth: "np.ndarray", answers: "np.ndarray"
) -> Confusion:
    """Count answers by truth.

    Parameters
    ----------
    caption, groups, names : see :class:`Confusion`.
    truth, answers : (N,) int, numbers of names.
    """
    import numpy as np  # noqa: PLC0415 - commands that print a table show their help without it

    size = len(names)
    counts = np.bincount(truth * size + answers, minlength=size * size).reshape(size, size)
    totals = counts.sum(axis=1)
    rows = [
        [
            {"count": count, "share": share, "is_right": row == column, "is_dark": share > _DARK}
            | {"is_bright": share > _BRIGHT}
            for column, count in enumerate(counts[row].tolist())
            for share in [count / max(int(totals[row]), 1)]
        ]
        for row in range(size)
    ]
    starts = np.cumsum([0, *(members for _, members in groups)])[:-1]
    return Confusion(caption, groups, names, rows, frozenset(starts.tolist()))


def versions() -> list[tuple[str, str]]:
    """Return the versions of what is installed, name by name; what is not is left out."""
    found = [("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def _interval(ends: Sequence[float] | None) -> str:
    return "" if not ends else f"{decimals(ends[0])} to {decimals(ends[1])}"


def format_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out scores as text, a line a row, without a newline at the end.

    Parameters
    ----------
    rows : row name → column name → value. Columns stand in the order in which they first occur; a value that a row
        lacks is shown as ``-``, floats with 3 decimals, whole numbers (int) as they are. Line breaks and signs that
        steer a terminal are shown as Python escapes them.
    """
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = [["", *columns]]
    table += [[one_line(name), *(text_cell(row.get(column)) for column in columns)] for name, row in rows.items()]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in table
    )


def text_cell(value: float | str | None) -> str:
    """Return a float with 3 decimals, a whole number (int) or a text as it is, ``-`` where there is none."""
    if value is None:
        return _ABSENT
    return str(value) if isinstance(value, int | str) else f"{round(value, 3) + 0.0:.3f}"  # no -0.000


def one_line(name: str) -> str:
    """Return a text with line breaks and signs that steer a terminal as Python escapes them."""
    return "".join(ascii(sign)[1:-1] if category(sign) in _STEERING else sign for sign in name)
