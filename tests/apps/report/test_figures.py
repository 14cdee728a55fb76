"""Figures: what is drawn is what was given, files are whole or absent, SVG of a page has the page's colours."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from lid_mapmix.apps.report import figures
from lid_mapmix.apps.report.figures import (
    draw_lines,
    draw_reliability,
    inline_svg,
)
from lid_mapmix.scoring.metrics import reliability_curve


def curve(seed, count=300):
    generator = np.random.default_rng(seed)
    return reliability_curve(generator.dirichlet(np.full(4, 0.6), count), generator.integers(4, size=count))


@pytest.mark.parametrize("names", [("scores",), ("before", "after")])
def test_points_and_bars_are_those_of_the_curves(names, tmp_path):
    curves = {name: curve(seed) for seed, name in enumerate(names)}
    above, below = draw_reliability(tmp_path / "c.png", curves, dict.fromkeys(names, 0.1234)).axes
    diagonal, *lines = above.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    for line, (name, points) in zip(lines, curves.items(), strict=True):
        assert line.get_label() == f"{name} (ECE 0.123)"
        assert line.get_xydata().tolist() == [[point["confidence"], point["accuracy"]] for point in points]
    heights = [bar.get_height() for bar in below.patches]
    assert heights == [point["count"] for points in curves.values() for point in points]
    for bar, point in zip(below.patches, [point for points in curves.values() for point in points], strict=True):
        assert point["low"] < bar.get_x() and bar.get_x() + bar.get_width() < point["high"]
    assert above.get_title() == "300 utterances"
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_are_whole_or_absent(tmp_path):
    figure = figures.new_figure(tmp_path / "x.png", 1, 1)
    figures.save_figure(figure, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "y.png").mkdir()
    with pytest.raises(IsADirectoryError):
        figures.save_figure(figure, tmp_path / "y.png")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "x.png", tmp_path / "y.png"]


def test_a_line_stands_in_a_page_with_its_colours_and_no_name_of_another():
    x, y = np.array([1.0, 2.0, 4.0]), np.array([0.1, 0.2, 0.3])
    first, again, second = (
        inline_svg(draw_lines({"a<b": (x, y), "acc": (x, 1 - y)}, "seconds", "score", mark=2.0), label)
        for label in ("First & <one>", "First & <one>", "Second")
    )
    assert first == again, "the same bytes each time"
    root = ElementTree.fromstring(str(first))
    assert (root.get("role"), root.get("aria-label")) == ("img", "First & <one>")
    assert {"a<b", "acc", "seconds", "score"} <= {text.text for text in root.iter("text")}
    strokes = set(re.findall(r"stroke: ([^;\"]+)", first))
    assert strokes == {f"var(--{name})" for name in ("ink", "grid", "ideal", "c0", "c1")}
    assert "font-family" not in first and "<style" not in first
    names = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (first, second)]
    assert names[0] and not names[0] & names[1]
    assert set(re.findall(r"#(\w+)", first)) == names[0]


def test_lines_have_a_legend_and_marks_of_their_own():
    x = np.array([1.0, 2.0, 4.0])
    series = {"acc": (x, np.array([0.1, 0.2, 0.3])), "wf1": (x, np.array([1.0, 0.5, 0.0]))}
    figure = draw_lines(series, "seconds", "score", top=1.02, ticks=[1, 2, 4], is_logarithmic=True, mark=2.0)
    mark, *lines = figure.axes[0].lines
    assert mark.get_xdata() == [2, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["acc", "wf1"]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 2
    for line, (x, y) in zip(lines, series.values(), strict=True):
        assert line.get_xydata().tolist() == np.stack([x, y], axis=1).tolist()


def test_one_step_is_a_mark():
    (line,) = draw_lines({"loss": (np.array([3]), np.array([0.5]))}, "steps", "nats", has_marks=False).axes[0].lines
    assert line.get_marker() == "o"
