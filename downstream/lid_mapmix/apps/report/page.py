"""The report as one page: pictures and tables of what was gathered, laid out by page.html and page.css."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...config.schema import DatamapConfig
from ...mapmix.datamap import region_counts
from .clips import CLIP_SECONDS, Clip
from .curves import Curve, thinned
from .gather import Findings
from .missing import Missing, command, evaluate_command
from .pages import style_sheets, template_environment
from .pictures import (
    Figure,
    chosen_points,
    correctness_steps,
    draw_classes,
    draw_clusters,
    draw_datamap,
    draw_lines,
    draw_reliability,
    project,
)
from .svg import Axis, ticks_between
from .tables import Table, confusions, decimals, headline, score_table, slice_tables, truncation_table, versions

GENERATOR = "lid-mapmix report"
STYLE_SHEET = Path(__file__).with_name("page.css")
_LINES = ("acc", "wf1", "c_acc", "ece")


def render(findings: Findings, curves: Mapping[str, Curve], clips: Sequence[Clip], data: Path | None) -> str:
    """Return the page.

    Parameters
    ----------
    findings, curves, clips : of the run.
    data : folder of the audio, named where its audio is not there.
    """
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
        growth=growth(findings),
        datamap=datamap(findings),
        projection=projection(findings),
        training=training(curves),
        truncation=None if isinstance(findings.truncation, Missing) else truncation_table(findings.truncation),
        clips=clips,
        no_intervals=_no_intervals(findings),
        no_audio=_no_audio(findings, clips, data),
        clip_seconds=CLIP_SECONDS,
        versions=versions(),
    )


def reliability(findings: Findings) -> list[Figure]:
    """Return the diagrams before and, where there is a calibration, after it."""
    found = findings.reliability
    figures = [draw_reliability("Before calibration", found.before)]
    if not isinstance(found.after, Missing):
        figures.append(draw_reliability(f"After calibration ({found.kind})", found.after))
    return figures


def growth(findings: Findings) -> list[Figure]:
    """Return scores over the utterances' own durations, and over what they were cut to."""
    figures = []
    if len(slices := findings.metrics.get("by_duration") or {}) > 1:
        counts = [int(scores["count"]) for scores in slices.values()]
        caption = f"{min(counts):,} to {max(counts):,} utterances a duration."
        by_seconds = {float(name): scores for name, scores in slices.items()}
        figures.append(_over_seconds("Over the utterances' duration", by_seconds, caption))
    if not isinstance(findings.truncation, Missing):
        caption = "The same utterances, each from its start on; shorter ones keep their length."
        figures.append(_over_seconds("Over the seconds that are heard", findings.truncation, caption))
    return figures


def datamap(findings: Findings) -> dict[str, Any] | None:
    """Return the picture of the data map, its legend, and its regions class by class."""
    found = findings.datamap
    if isinstance(found, Missing):
        return None
    config = DatamapConfig() if findings.task is None else findings.task.datamap
    # In the order of the clusters; a map of other data may have classes that the scores have not.
    place_of = {name: place for place, name in enumerate(findings.labels.classes)}
    classes = sorted(set(found.classes.tolist()), key=lambda name: (place_of.get(name, len(place_of)), name))
    number_of = {name: number for number, name in enumerate(classes)}
    gold = np.array([number_of[name] for name in found.classes.tolist()], dtype=np.int64)
    counts = region_counts(found.regions, gold, classes)
    rows = [[name, *map(decimals, row.values())] for name, row in counts.items()]
    table = Table("Utterances by region", ["class", *counts["total"]], rows)
    return {"figure": draw_datamap(found.heard(), config), "steps": correctness_steps(), "table": table}


def projection(findings: Findings) -> dict[str, Any] | None:
    """Return the pictures of the latents: one of the clusters, and one of the classes of each."""
    latents = findings.latents
    if isinstance(latents, Missing):
        return None
    chosen = chosen_points(len(latents.rows))
    places = project(latents.values[chosen])
    if places is None:
        return None
    truth, labels = findings.truth[latents.rows[chosen]], findings.labels
    figures, first = [], 0
    for name, members in labels.clusters.items():
        numbered = list(enumerate(members, start=first))
        first += len(members)
        figures.append(draw_classes(name, places, truth, numbered))
    clusters = draw_clusters(places, labels.cluster_indices[truth], list(labels.clusters))
    return {"clusters": clusters, "classes": figures, "shown": len(chosen), "of": len(latents.rows)}


def training(curves: Mapping[str, Curve]) -> list[Figure]:
    """Return the loss and the dev scores over the steps of the training."""
    figures = []
    shown = {name: thinned(curve) for name, curve in curves.items()}
    if (loss := shown.get("train-loss")) is not None:
        top = _top(loss.values.tolist())
        lines = {"train-loss": (loss.steps, loss.values)}
        figures.append(draw_lines("Loss", lines, _steps(loss), Axis("nats", 0, top), has_marks=False))
    dev = {f"dev-{name}": shown[f"dev-{name}"] for name in _LINES if f"dev-{name}" in shown}
    if dev:
        accuracy = curves.get("dev-acc")
        best = None if accuracy is None else int(accuracy.steps[accuracy.values.argmax()])
        caption = "" if best is None else f"Best dev accuracy at step {best:,}, dashed: that checkpoint is scored."
        lines = {name: (curve.steps, curve.values) for name, curve in dev.items()}
        axes = (_steps(*dev.values()), Axis("score", 0, 1))
        figures.append(draw_lines("Scores of dev", lines, *axes, mark=best, caption=caption))
    return figures


def _no_intervals(findings: Findings) -> Missing | None:
    remake = evaluate_command(findings.folder.path, findings.split)
    if not findings.metrics.get("overall"):
        return Missing(f"{findings.split}_metrics.json, which has the scores, is not there.", remake)
    if not findings.metrics.get("intervals"):
        return Missing("These scores were kept without their intervals.", remake)
    return None


def _no_audio(findings: Findings, clips: Sequence[Clip], data: Path | None) -> Missing | None:
    if any(clip.audio for clip in clips):
        return None
    looked = "" if data is None else f" in {data}"
    remake = command("lid-mapmix", "report", findings.folder, "--split", findings.split, "--data", "DIR")
    return Missing(f"The audio of these utterances was not found{looked}.", remake)


def _over_seconds(title: str, by_seconds: Mapping[float, Mapping[str, float]], caption: str) -> Figure:
    seconds = np.array(list(by_seconds))
    # Powers of two apart, lengths crowd at the lower end of a plain axis.
    is_logarithmic = seconds[0] > 0 and seconds[-1] / seconds[0] >= 5  # noqa: PLR2004
    ticks = tuple(seconds.tolist()) if len(seconds) <= 8 else None  # noqa: PLR2004
    horizontal = Axis("seconds", seconds[0], seconds[-1], ticks, is_logarithmic)
    series = {
        name: (seconds, np.array([scores[name] for scores in by_seconds.values()], dtype=np.float64))
        for name in _LINES
        if all(scores.get(name) is not None for scores in by_seconds.values())
    }
    return draw_lines(title, series, horizontal, Axis("score", 0, 1), caption=caption)


def _steps(*curves: Curve) -> Axis:
    return Axis("optimizer steps", 0, max(int(curve.steps[-1]) for curve in curves))


def _top(values: Iterable[float]) -> float:
    """Return the lowest round number above all values."""
    greatest = max(values)
    if not greatest > 0:
        return 1.0
    first, second, *_ = ticks_between(0, greatest)
    step = second - first
    return float(np.ceil(greatest / step) * step)
