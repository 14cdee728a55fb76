"""The report as an HTML page: figures and tables, laid out by page.html and page.css."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...config.schema import DatamapConfig
from ...mapmix.datamap import region_counts
from ...mapmix.datamap_files import DataMap
from ...training.plan import assign_regions
from .clips import CLIP_SECONDS, Clip
from .command import GENERATOR
from .datamap_figure import draw_datamap
from .figures import draw_lines, draw_reliability, draw_truncation, inline_svg
from .gather import Curve, Findings, Missing, command, evaluate_command, thinned
from .tables import Table, confusions, decimals, headline, score_table, slice_tables, truncation_table, versions

logger = logging.getLogger(__name__)
STYLE_SHEET = Path(__file__).with_name("page.css")
_LINES = ("acc", "wf1", "c_acc", "ece")
# Values in datamap.csv are rounded, which can change the region of a few utterances.
_SAME_REGIONS = 0.999


@dataclass(frozen=True)
class Figure:
    """A figure of the page."""

    title: str  # text above it
    svg: Markup  # the figure; empty if it could not be drawn
    caption: str  # text below it


def template_environment(folder: Path) -> Environment:
    """Return the Jinja environment of a page: text is escaped, unknown names are errors."""
    return Environment(
        loader=FileSystemLoader([folder, STYLE_SHEET.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style_sheets(paths: Sequence[Path]) -> Markup:
    """Return the concatenated style sheets; they are trusted and not escaped."""
    return Markup("\n".join(path.read_text(encoding="utf-8") for path in paths))


def render(findings: Findings, curves: Mapping[str, Curve], clips: Sequence[Clip], data: Path | None) -> str:
    """Return the page. `data`: data folder, named if its audio is missing."""
    environment = template_environment(STYLE_SHEET.parent)
    environment.tests["missing"] = lambda value: isinstance(value, Missing)
    return environment.get_template("page.html").render(
        generator=GENERATOR,
        css=style_sheets([STYLE_SHEET]),
        run=findings.folder.path.resolve().name,
        findings=findings,
        headline=headline(findings.metrics),
        scores=score_table(findings.metrics),
        slices=slice_tables(findings.metrics),
        confusions=confusions(findings),
        reliability=reliability(findings),
        by_duration=by_duration(findings),
        datamap=datamap(findings),
        training=training(curves),
        truncation=None if isinstance(findings.truncation, Missing) else truncation_table(findings.truncation),
        clips=clips,
        no_intervals=_no_intervals(findings),
        no_audio=_no_audio(findings, clips, data),
        clip_seconds=CLIP_SECONDS,
        versions=versions(),
    )


def reliability(findings: Findings) -> Figure:
    """Return the reliability diagram before and, if there is a calibration, after calibration."""
    found = findings.reliability
    curves = {"before calibration": found.before}
    if not isinstance(found.after, Missing):
        curves[f"after calibration, {found.kind}"] = found.after
    errors = {name: calibration_error(points) for name, points in curves.items()}
    spoken = "; ".join(
        f"{name}: calibration error {errors[name]:.3f}, "
        + ", ".join(f"confidence {point['confidence']:.2f} accuracy {point['accuracy']:.2f}" for point in points)
        for name, points in curves.items()
    )
    return _figure("Reliability diagram", spoken, lambda: draw_reliability(None, curves, errors))


def calibration_error(points: Sequence[Mapping[str, float]]) -> float:
    """Return the expected calibration error of the points of a reliability diagram."""
    count = sum(point["count"] for point in points)
    return sum(abs(point["confidence"] - point["accuracy"]) * point["count"] for point in points) / count


def by_duration(findings: Findings) -> list[Figure]:
    """Return figures of scores by nominal duration, and by duration kept."""
    figures = []
    if len(slices := findings.metrics.get("by_duration") or {}) > 1:
        counts = [int(scores["count"]) for scores in slices.values()]
        by_seconds = {float(name): scores for name, scores in slices.items()}
        caption = f"{min(counts):,} to {max(counts):,} utterances per duration."
        figures.append(_over_seconds("By nominal duration", by_seconds, caption))
    if not isinstance(findings.truncation, Missing):
        truncation = {f"{seconds:g}": scores for seconds, scores in findings.truncation.items()}
        accuracies = ", ".join(
            f"{scores.get('acc', float('nan')):.3g} at {name} s" for name, scores in truncation.items()
        )
        draw = partial(draw_truncation, None, findings.split, truncation)
        figures.append(_figure("By duration kept", f"accuracy {accuracies}", draw))
    return figures


def _over_seconds(title: str, by_seconds: Mapping[float, Mapping[str, float]], caption: str) -> Figure:
    seconds = np.array(list(by_seconds))
    # Durations that are powers of two need a logarithmic axis.
    is_logarithmic = seconds[0] > 0 and seconds[-1] / seconds[0] >= 5  # noqa: PLR2004
    ticks = seconds.tolist() if len(seconds) <= 8 else None  # noqa: PLR2004
    series = {
        name: (seconds, np.array([scores[name] for scores in by_seconds.values()], dtype=np.float64))
        for name in _LINES
        if all(scores.get(name) is not None for scores in by_seconds.values())
    }
    axes = {"top": 1.02, "ticks": ticks, "is_logarithmic": is_logarithmic}
    return _lines(title, series, "seconds", "score", caption=caption, **axes)


def datamap(findings: Findings) -> dict[str, Any] | None:
    """Return the figure of the data map, and the table of its regions per class."""
    found = findings.datamap
    if isinstance(found, Missing):
        return None
    # In the order of the clusters; a data map of other data may have classes that the scores lack.
    place_of = {name: place for place, name in enumerate(findings.labels.classes)}
    classes = sorted(set(found.classes.tolist()), key=lambda name: (place_of.get(name, len(place_of)), name))
    number_of = {name: number for number, name in enumerate(classes)}
    targets = np.array([number_of[name] for name in found.classes.tolist()], dtype=np.int64)
    counts = region_counts(found.regions, targets, classes)
    rows = [[name, *map(decimals, row.values())] for name, row in counts.items()]
    table = Table("Utterances by region", ["class", *counts["total"]], rows)
    return {
        "figure": _figure("Training utterances", "data map", lambda: _draw_map(findings, found.read_utterances())),
        "table": table,
    }


def _draw_map(findings: Findings, found: DataMap) -> Any:
    config = DatamapConfig() if findings.task is None else findings.task.datamap
    targets = np.unique(found.classes, return_inverse=True)[1]
    regions = assign_regions(config, found.confidence, found.variability, targets)
    # A data map with regions by another rule has other boundaries.
    is_same = (regions == found.regions).mean() > _SAME_REGIONS
    return draw_datamap(None, found, found.regions, config if is_same else None)


def training(curves: Mapping[str, Curve]) -> list[Figure]:
    """Return figures of the loss and the dev scores over the training steps."""
    figures = []
    shown = {name: (thin.steps, thin.values) for name, curve in curves.items() for thin in [thinned(curve)]}
    if (loss := shown.get("train-loss")) is not None:
        figures.append(_lines("Loss", {"train-loss": loss}, "optimizer steps", "nats", has_marks=False))
    dev = {f"dev-{name}": shown[f"dev-{name}"] for name in _LINES if f"dev-{name}" in shown}
    if dev:
        accuracy = curves.get("dev-acc")
        best = None if accuracy is None else int(accuracy.steps[accuracy.values.argmax()])
        caption = "" if best is None else f"Dashed: best dev accuracy, at step {best:,}; that checkpoint is evaluated."
        figures.append(_lines("Dev scores", dev, "optimizer steps", "score", caption=caption, top=1.02, mark=best))
    return figures


def _figure(title: str, spoken: str, draw: Callable[[], Any], caption: str = "") -> Figure:
    """Return a figure; its caption is the given one, else its title, or the error if it cannot be drawn."""
    try:
        figure = draw()
        caption = caption or figure.get_suptitle().replace("\n", "; ")
        figure.suptitle("")
        label = f"{title}: {spoken}"
        return Figure(title, inline_svg(figure, f"{label}; {caption}" if caption else label), caption)
    # A failed figure must not fail the page.
    except Exception as error:  # noqa: BLE001
        logger.warning("the figure %r could not be drawn: %s", title, error)
        return Figure(title, Markup(""), f"This figure could not be drawn: {error}")


def _lines(
    title: str, series: Mapping[str, tuple[np.ndarray, np.ndarray]], *axes: str, caption: str = "", **options: Any
) -> Figure:
    spoken = "; ".join(f"{name} from {y[0]:.3g} to {y[-1]:.3g}" for name, (_, y) in series.items())
    return _figure(title, spoken, lambda: draw_lines(series, *axes, **options), caption=caption)


def _no_intervals(findings: Findings) -> Missing | None:
    remake = evaluate_command(findings.folder.path, findings.split)
    if not findings.metrics.get("overall"):
        return Missing(f"{findings.split}_metrics.json, which has the scores, was not found.", remake)
    if not findings.metrics.get("intervals"):
        return Missing("These scores were saved without confidence intervals.", remake)
    return None


def _no_audio(findings: Findings, clips: Sequence[Clip], data: Path | None) -> Missing | None:
    if any(clip.audio for clip in clips):
        return None
    looked = "" if data is None else f" in {data}"
    remake = command("lid-mapmix", "report", findings.folder, "--split", findings.split, "--data", "DIR")
    return Missing(f"The audio of these utterances was not found{looked}.", remake)
