"""The tables of the report: scores, slices, confusion matrices, versions; and tables for the terminal."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ...utils.one_line import one_line

if TYPE_CHECKING:
    import numpy as np

    from .gather import Findings

_HEADLINE = ("acc", "wf1", "c_acc", "ece")
# Score → definition, and whether higher is better.
_MEANINGS = {
    "acc": ("accuracy: fraction of correct predictions", True),
    "wf1": ("F1, averaged over classes with weights by utterances", True),
    "macro_f1": ("F1, averaged over the classes that occur", True),
    "c_acc": ("cluster accuracy: fraction of predictions in the correct cluster", True),
    "log_loss": ("mean negative logarithm of the true class's probability, nats", False),
    "brier": ("Brier score: squared error of the probabilities, 0 to 2", False),
    "ece": ("expected calibration error, 10 bins; in brackets that of a calibrated system of this size", False),
    "eer": ("equal error rate, mean over classes, one versus rest", False),
    "eer_pooled": ("equal error rate of all trials pooled", False),
    "cavg_1": ("NIST Cavg at β = 1; 1 for rejecting everything", False),
    "cavg_9": ("NIST Cavg at β = 9", False),
    "c_primary": ("NIST LRE17 primary cost: mean of cavg_1 and cavg_9", False),
    "c_primary_min": ("c_primary at the best threshold, one for all classes", False),
    "c_primary_min_class": ("c_primary at the best threshold of each class", False),
    "cavg_argmax": ("Cavg of accepting the most probable class", False),
    "cllr": ("multiclass log-likelihood-ratio cost, bits: cllr_min + cllr_cal", False),
    "cllr_min": ("discrimination: cllr after the best affine calibration of these utterances", False),
    "cllr_cal": ("calibration loss", False),
}
_SLICE_COLUMNS = ("acc", "wf1", "c_acc", "log_loss", "ece", "c_primary", "cllr")
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
_ABSENT = "-"


@dataclass(frozen=True)
class Table:
    """A table; the first `names` cells of each row are its heading."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix; see :func:`confusion`."""

    caption: str  # of the table
    groups: Sequence[tuple[str, int]]  # (name, number of members), in order
    names: Sequence[str]  # of rows and columns
    rows: Sequence[Sequence[tuple[int, float]]]  # count of each cell, and its fraction of the row
    starts: frozenset[int]  # numbers of the rows where a group starts


def decimals(value: object) -> str:
    """Format a score with 3 decimals, a count with thousands separators, a missing value as a dash."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def headline(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the main scores with their confidence intervals."""
    overall, intervals = metrics.get("overall") or {}, metrics.get("intervals") or {}
    noise = f"{noise_text(overall)} if calibrated" if "ece_floor" in overall else ""
    return [
        {"name": name, "value": decimals(overall[name])}
        | {"interval": noise if noise and name == "ece" else _interval(intervals.get(name))}
        | {"meaning": _MEANINGS[name][0]}
        for name in _HEADLINE
        if name in overall
    ]


def score_table(metrics: Mapping[str, Any]) -> Table:
    """Return every score with its confidence interval and, if there is a calibration, after calibration."""
    overall, intervals = metrics.get("overall") or {}, metrics.get("intervals") or {}
    calibrated = metrics.get("calibrated") or {}
    columns = ["score", "value"]
    columns += ["95 % confidence interval"] if intervals else []
    columns += [f"calibrated ({calibrated.get('kind', '')})"] if calibrated else []
    rows = []
    for name, (meaning, is_higher_better) in _MEANINGS.items():
        if name not in overall:
            continue
        cells = [name, _value(overall, name)]
        cells += [_interval(intervals.get(name)) or "–"] if intervals else []
        cells += [_value(calibrated["overall"], name)] if calibrated else []
        rows.append([*cells, "higher" if is_higher_better else "lower", meaning])
    drawn = f"; intervals by resamples of {metrics['drawn']}" if "drawn" in metrics else ""
    return Table(f"{overall.get('count', 0):,} utterances{drawn}", [*columns, "better", "definition"], rows)


def slice_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Return the scores by duration, source, cluster and all other slices."""
    overall = metrics.get("overall") or {}
    tables = []
    for way in (key for key in metrics if key.startswith("by_")):
        slices, name = metrics[way], way.removeprefix("by_")
        # With a single source the slice is the whole split.
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
    """Return the table of the truncation curve."""
    names = [*_SLICE_COLUMNS, "long_enough", "count"]
    rows = [[f"{seconds:g}", *(decimals(scores.get(name)) for name in names)] for seconds, scores in truncation.items()]
    return Table("By duration kept, in seconds", ["seconds", *names], rows)


def confusions(findings: "Findings") -> list[Confusion]:
    """Return the confusion matrices: of clusters (if there are several, not all of one class), and of classes."""
    clusters, indices = findings.labels.clusters, findings.labels.cluster_indices
    truth, answers = findings.truth, findings.predictions
    tables = []
    if 1 < len(clusters) < len(indices):
        tables.append(confusion("Clusters", [("", len(clusters))], list(clusters), indices[truth], indices[answers]))
    groups = [(name, len(members)) for name, members in clusters.items()]
    if len(clusters) == len(indices):  # clusters of one class each: their names are those of the classes
        groups = [("", len(indices))]
    return [*tables, confusion("Classes", groups, findings.labels.classes, truth, answers)]


def confusion(
    caption: str, groups: Sequence[tuple[str, int]], names: Sequence[str], truth: "np.ndarray", answers: "np.ndarray"
) -> Confusion:
    """Count predictions by true class.

    `caption`, `groups`, `names`: see :class:`Confusion`. `truth`, `answers`: (N,) int, true and predicted class, as
    indices of `names`.
    """
    import numpy as np  # noqa: PLC0415 - the help of commands that print tables does not need it

    size = len(names)
    counts = np.bincount(truth * size + answers, minlength=size * size).reshape(size, size)
    rows = [[(count, count / max(sum(row), 1)) for count in row] for row in counts.tolist()]
    starts = np.cumsum([0, *(members for _, members in groups)])[:-1]
    return Confusion(caption, groups, names, rows, frozenset(starts.tolist()))


def versions() -> list[tuple[str, str]]:
    """Return (name, version) of Python and of the installed packages."""
    found = [("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def noise_text(scores: Mapping[str, Any]) -> str:
    """Return the calibration error of a calibrated system of this size: mean ± standard deviation."""
    return f"{scores['ece_floor']:.3f} ± {scores['ece_floor_sd']:.3f}"


def _value(scores: Mapping[str, Any], name: str) -> str:
    is_noisy = name == "ece" and "ece_floor" in scores
    return decimals(scores.get(name)) + (f" ({noise_text(scores)})" if is_noisy else "")


def _interval(ends: Sequence[float] | None) -> str:
    return "" if not ends else f"{decimals(ends[0])} to {decimals(ends[1])}"


def format_table(rows: Mapping[str, Mapping[str, float | str]]) -> str:
    """Format scores as text, one line per row, without a trailing newline.

    `rows`: row name → column name → value. Columns are in the order of their first occurrence; missing values are shown
    as ``-``, floats with 3 decimals. Line breaks and control characters in names are escaped as in Python.
    """
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = [["", *columns]]
    table += [[one_line(name), *(text_cell(row.get(column)) for column in columns)] for name, row in rows.items()]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in table
    )


def text_cell(value: float | str | None) -> str:
    """Return a float with 3 decimals, an integer or a text unchanged, ``-`` for None."""
    if value is None:
        return _ABSENT
    return str(value) if isinstance(value, int | str) else f"{round(value, 3) + 0.0:.3f}"  # no -0.000
