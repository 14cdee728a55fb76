"""SPLIT_truncation.png: scores over how much of each utterance was heard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .figures import new_figure, save_figure

_UPWARDS = {"acc": "accuracy", "macro_f1": "macro F1", "c_acc": "cluster accuracy"}
_DOWNWARDS = {"ece": "calibration error", "c_primary": "C_primary", "eer": "EER"}
_MARKERS = ("o", "s", "^")


def draw_truncation(path: Path, split: str, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the scores that are better when higher above those that are better when lower; complete or not at all.

    Parameters
    ----------
    path : the PNG to write.
    split : its name.
    scores : duration in seconds, as text → scores, of which None are left out.

    Raises
    ------
    UserError : matplotlib is not installed.
    """
    figure = new_figure(path.name, 7.0, 6.6)
    above, below = figure.subplots(2, 1, sharex=True)
    seconds = [float(name) for name in scores]
    for axes, shown in ((above, _UPWARDS), (below, _DOWNWARDS)):
        for marker, (key, label) in zip(_MARKERS, shown.items(), strict=True):
            values = [float("nan") if row[key] is None else row[key] for row in scores.values()]
            (line,) = axes.plot(seconds, values, marker=marker, markersize=4, linewidth=1.2, label=label)
            hollow = [number for number, row in enumerate(scores.values()) if not row["long_enough"]]
            if hollow:  # nobody lasts so long: what is scored are the full lengths
                at = [seconds[number] for number in hollow], [values[number] for number in hollow]
                axes.plot(*at, marker, color=line.get_color(), markersize=4, markerfacecolor="white")
        axes.legend(fontsize=8)
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
    above.set_ylim(top=1.02)
    below.set_xscale("log")
    below.set_xticks(seconds, [f"{name} s\n{row['long_enough']:,}" for name, row in scores.items()], fontsize=8)
    below.minorticks_off()
    below.set_xlabel("heard of each utterance, from its start; below it, how many last so long", fontsize=9)
    above.set_ylabel("higher is better", fontsize=9)
    below.set_ylabel("lower is better", fontsize=9)
    count = next(iter(scores.values()))["count"]
    figure.suptitle(f"{split.replace('$', chr(92) + '$')}: {count:,} utterances, shorter ones in their full length")
    save_figure(figure, path)
