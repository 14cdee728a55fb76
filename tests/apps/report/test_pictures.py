"""Pictures and what they are drawn from: places, escapes, curves, latents in the plane."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.apps.report import pictures
from lid_mapmix.apps.report.curves import Curve, last_course, read_curves, thinned
from lid_mapmix.apps.report.pictures import (
    calibration_error,
    chosen_points,
    draw_classes,
    draw_clusters,
    draw_datamap,
    draw_lines,
    draw_reliability,
    project,
)
from lid_mapmix.apps.report.svg import Axis, Frame, dots, number, tag
from lid_mapmix.config.schema import DatamapConfig
from lid_mapmix.mapmix.datamap import measures
from lid_mapmix.mapmix.datamap_files import read_datamap, write_datamap
from lid_mapmix.scoring.metrics import expected_calibration_error, reliability_curve
from lid_mapmix.training.plan import assign_regions

# What XML can hold at all.
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"))


def paths(svg, class_):
    """Return the path data of the marks of a class."""
    elements = ElementTree.fromstring(str(svg)).iter("path")
    return [element.get("d") for element in elements if class_ in element.get("class", "").split()]


@given(TEXT, TEXT)
def test_texts_and_attributes_come_back_as_they_were(text, attribute):
    element = ElementTree.fromstring(str(tag("text", tag("tspan", text), text, class_=attribute, x=None)))
    assert (element[0].text or "", element[0].tail or "") == (text, text)
    assert element.attrib == {"class": attribute}


@given(st.floats(-1000, 1000))
def test_coordinates_are_short_and_near(value):
    assert float(number(value)) == pytest.approx(value, abs=0.0501)
    assert len(number(value)) <= 7 and number(value) != "-0"


def test_a_frame_puts_the_ends_of_its_axes_into_its_corners():
    frame = Frame(Axis("x", 1, 100, is_logarithmic=True), Axis("y", -1, 1), height=200)
    (left, bottom), (middle, half), (right, top) = frame.places([1, 10, 100], [-1, 0, 1]).tolist()
    assert (middle, half) == ((left + right) / 2, (bottom + top) / 2)
    assert 0 < left < right < 440 and 0 < top < bottom < 200
    assert np.isfinite(Frame(Axis("x", 3, 3), Axis("y", 0, 1)).places([3], [0.5])).all()


def test_bars_are_as_high_as_answers_are_right():
    points = [
        {"low": 0.5, "high": 0.6, "confidence": 0.55, "accuracy": 0.25, "count": 1200},
        {"low": 0.9, "high": 1.0, "confidence": 0.95, "accuracy": 1.0, "count": 3},
    ]
    figure = draw_reliability("Before", points)
    rectangles = [
        (element.get("class"), float(element.get("y")), float(element.get("height")))
        for element in ElementTree.fromstring(str(figure.svg)).iter("rect")
    ]
    bottom, top = Frame(Axis("", 0, 1), Axis("", 0, 1)).places([0, 0], [0, 1])[:, 1].tolist()
    shares = [(kind, (bottom - y) / (bottom - top), height / (bottom - top)) for kind, y, height in rectangles]
    expected = [("bar", 0.25, 0.25), ("gap", 0.55, 0.3), ("bar", 0.95, 0.95), ("surplus", 1.0, 0.05)]
    assert [kind for kind, *_ in shares] == [kind for kind, *_ in expected]
    np.testing.assert_allclose([place for _, *place in shares], [place for _, *place in expected], atol=1e-4)
    assert "1,200" in figure.svg
    assert figure.caption.startswith(f"Expected calibration error {(0.3 * 1200 + 0.05 * 3) / 1203:.3f}")


@given(st.integers(0, 2**32 - 1))
def test_the_points_of_a_diagram_have_the_error_of_the_scores(seed):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([0.7] * 4, size=40)
    truth = generator.integers(4, size=40)
    error = calibration_error(reliability_curve(probabilities, truth))
    assert error == pytest.approx(expected_calibration_error(probabilities, truth), abs=1e-12)


def test_lines_have_a_legend_and_marks_of_their_own():
    x = np.array([1.0, 2.0, 4.0])
    series = {"acc": (x, np.array([0.1, 0.2, 0.3])), "a<b": (x, np.array([1.0, 0.5, 0.0]))}
    figure = draw_lines("Scores", series, Axis("seconds", 1, 4), Axis("score", 0, 1), mark=2.0)
    assert [name for _, name in figure.legend] == ["acc", "a<b"]
    assert len({style for style, _ in figure.legend}) == 2
    assert len(paths(figure.svg, "line")) == len(paths(figure.svg, "dots")) == 2
    [mark] = paths(figure.svg, "ideal")
    [(place, _)] = Frame(Axis("", 1, 4), Axis("", 0, 1)).places([2.0], [0]).tolist()
    assert re.findall(r"[ML]([\d.]+) ", mark) == [number(place)] * 2


@pytest.fixture
def make_map(tmp_path):
    def make(count, config):
        generator = np.random.default_rng(0)
        probabilities = generator.beta(0.7, 0.6, size=(4, count))
        measured, gold = measures(probabilities, probabilities > 0.5), np.arange(count) % 3
        regions = assign_regions(config, measured.confidence, measured.variability, gold)
        ids = {"id": np.arange(count).astype(str), "class": gold.astype(str)}
        write_datamap(tmp_path / "map.csv", ids, measured, regions)
        return read_datamap(tmp_path / "map.csv")

    return make


@pytest.mark.parametrize("regions", ["fixed", "quantile"])
def test_every_utterance_of_a_small_map_is_a_dot(make_map, regions):
    config = DatamapConfig(regions=regions)
    datamap = make_map(90, config)
    figure = draw_datamap(datamap, config)
    assert sum(data.count("M") for data in paths(figure.svg, "dots")) == 90
    always_right = paths(figure.svg, "r5")
    assert [data.count("M") for data in always_right] == [np.count_nonzero(datamap.correctness > 0.9)]
    assert len(paths(figure.svg, "ideal")) == 2
    assert f"easy {(datamap.regions == 'easy').sum()} (" in figure.caption


def test_boundaries_of_another_rule_are_not_drawn(make_map):
    datamap = make_map(90, DatamapConfig(regions="quantile"))
    assert not paths(draw_datamap(datamap, DatamapConfig(regions="fixed")).svg, "ideal")
    per_class = DatamapConfig(regions="quantile", per_class=True)
    assert not paths(draw_datamap(make_map(90, per_class), per_class).svg, "ideal")


def test_a_large_map_is_cells_and_stays_small(make_map, monkeypatch):
    monkeypatch.setattr(pictures, "_MOST_DOTS", 5000)
    config = DatamapConfig()
    datamap = make_map(6000, config)
    figure = draw_datamap(datamap, config)
    assert not paths(figure.svg, "dots")
    cells = sum(data.count("M") for data in paths(figure.svg, "cells"))
    occupied = {
        (min(int(variability * 2 * 96), 95), min(int(confidence * 96), 95))
        for variability, confidence in zip(datamap.variability, datamap.confidence, strict=True)
    }
    assert cells == len(occupied)
    assert len(figure.svg) < 300_000


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(-1, 1)), max_size=40))
def test_a_course_ends_as_it_was_last_written(points):
    curve = last_course(points)
    assert (np.diff(curve.steps) > 0).all()
    if points:
        assert (curve.steps[-1], curve.values[-1]) == points[-1]
    # What is kept of each point: it stands unless the same step or one before it was written later.
    kept = [
        (step, value)
        for place, (step, value) in enumerate(points)
        if all(later > step for later, _ in points[place + 1 :])
    ]
    assert list(zip(curve.steps.tolist(), curve.values.tolist(), strict=True)) == kept


@given(st.integers(1, 50), st.integers(1, 20))
def test_a_thinned_curve_has_the_mean_and_the_end_of_the_whole(count, most):
    curve = Curve(np.arange(count) * 3, np.random.default_rng(count).random(count))
    thin = thinned(curve, most)
    assert len(thin.steps) == min(count, most)
    assert thin.steps[-1] == curve.steps[-1]
    if count % most == 0:
        assert thin.values.mean() == pytest.approx(curve.values.mean())


def test_curves_are_those_of_the_log(trained):
    curves = read_curves(trained)
    logged = re.findall(r"^dev at step (\d+): acc ([\d.]+)", (trained / "log.log").read_text(), re.MULTILINE)
    accuracy = curves["dev-acc"]
    assert accuracy.steps.tolist() == [int(step) for step, _ in logged]
    np.testing.assert_allclose(accuracy.values, [float(value) for _, value in logged], atol=1e-4)
    assert len(curves["train-loss"].steps)


def test_no_events_are_no_curves(tmp_path):
    assert read_curves(tmp_path) == {}


def test_groups_that_lie_apart_stay_apart_and_lie_the_same_again():
    generator = np.random.default_rng(0)
    groups = np.repeat([0, 1], 20)
    latents = generator.standard_normal((40, 8)) + 20 * groups[:, None]
    places = project(latents)
    assert places.min() == 0 and places.max() == 1
    np.testing.assert_array_equal(places, project(latents))
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(axis=1)] == groups).all()


@pytest.mark.parametrize("latents", [np.zeros((0, 3)), np.eye(4), np.ones((10, 3))])
def test_there_is_nothing_to_project(latents):
    assert project(latents) is None


def test_latents_of_one_number_are_projected():
    assert project(np.arange(9.0)[:, None]).shape == (9, 2)


def test_a_sample_of_latents_is_drawn_once(monkeypatch):
    assert chosen_points(5, most=5).tolist() == list(range(5))
    chosen = chosen_points(1000, most=50)
    assert len(set(chosen.tolist())) == 50 and (np.diff(chosen) > 0).all()
    assert chosen.tolist() == chosen_points(1000, most=50).tolist()


def test_a_panel_shows_its_classes_over_all(monkeypatch):
    places = np.random.default_rng(0).random((30, 2))
    groups = np.arange(30) % 3
    clusters = draw_clusters(places, groups, ["a", "b", "c"])
    assert sorted(data.count("h0") or data.count("m0") for data in paths(clusters.svg, "dots")) == [10, 10, 10]
    figure = draw_classes("b & c", places, groups, [(1, "b"), (2, "c")])
    root = ElementTree.fromstring(str(figure.svg))
    assert [use.get("href") for use in root.iter("use")] == [f"#{pictures.LATENTS_ID}"]
    assert [name for _, name in figure.legend] == ["b", "c"]
    assert f'id="{pictures.LATENTS_ID}"' in clusters.svg


def test_marks_are_centred():
    [(x, y)] = re.findall(r"M([\d.]+) ([\d.]+)l4.6 4.6m0-4.6l-4.6 4.6", dots(np.array([[10.0, 20.0]]), 2))
    assert (float(x) + 2.3, float(y) + 2.3) == (10, 20)
    assert dots(np.array([[10.04, 20.0]])) == "M10 20h0"
