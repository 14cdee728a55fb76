"""Pictures of data maps: drawn for few and many utterances, of the size said, complete or not at all."""

import re
import time

import numpy as np
import pytest
from lid_mapmix.apps.report import datamap_figure as datamap_picture
from lid_mapmix.apps.report.datamap_figure import draw_datamap
from lid_mapmix.apps.report.figures import inline_svg
from lid_mapmix.config.schema import DatamapConfig
from lid_mapmix.mapmix.datamap import measures
from lid_mapmix.training.plan import assign_regions
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

LIMITS = ((0.0, 0.5), (0.0, 1.0))


def example(count, config, *, classes=3, epochs=4, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.beta(0.7, 0.6, size=(epochs, count))
    gold = np.arange(count) % classes
    measured = measures(probabilities, probabilities > 0.5)
    return measured, assign_regions(config, measured.confidence, measured.variability, gold)


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures that are saved."""
    figures = []
    original = Figure.savefig

    def savefig(self, *arguments, **keywords):
        figures.append(self)
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"regions": "quantile"},
        {"regions": "quantile", "per_class": True},
        {"regions": "quantile", "easy_fraction": 0},
    ],
)
@pytest.mark.parametrize("max_points", [1000, 10])
def test_a_map_is_drawn_with_its_histograms(tmp_path, monkeypatch, drawn, settings, max_points):
    monkeypatch.setattr(datamap_picture, "_MAX_POINTS", max_points)
    config = DatamapConfig(**settings)
    measured, regions = example(60, config)
    draw_datamap(tmp_path / "datamap.png", measured, regions, config)
    [figure] = drawn
    main, above, beside, bar = figure.axes
    assert (main.get_xlabel(), main.get_ylabel()) == ("variability", "confidence")
    assert sum(patch.get_height() for patch in above.patches) == 60
    assert sum(patch.get_width() for patch in beside.patches) == 60
    assert main.get_xlim()[1] >= 0.5
    assert main.get_ylim()[0] <= 0 and main.get_ylim()[1] >= 1
    (drawn_points,) = main.collections
    assert isinstance(drawn_points, PathCollection if max_points == 1000 else PolyCollection)
    assert "60 utterances, 4 epochs" in figure.get_suptitle()
    assert f"easy {(regions == 'easy').sum()} (" in figure.get_suptitle()
    assert bar.get_ylabel().startswith("correctness")
    assert imread(tmp_path / "datamap.png").shape[2] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["datamap.png"]


def test_the_often_wrong_lie_on_top(tmp_path, drawn):
    config = DatamapConfig()
    measured, regions = example(60, config)
    draw_datamap(tmp_path / "datamap.png", measured, regions, config)
    values = drawn[0].axes[0].collections[0].get_array()
    assert (np.diff(values) <= 0).all()
    assert len(values) == 60


def test_a_million_utterances_take_seconds(tmp_path):
    config = DatamapConfig()
    measured, regions = example(1_000_000, config, epochs=2)
    start = time.process_time()
    draw_datamap(tmp_path / "datamap.png", measured, regions, config)
    assert time.process_time() - start < 20


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(self, path, **_):
        path.write_bytes(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    config = DatamapConfig()
    measured, regions = example(9, config)
    with pytest.raises(OSError, match="No space"):
        draw_datamap(tmp_path / "datamap.png", measured, regions, config)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rule", ["fixed", "quantile"])
def test_a_page_shows_every_utterance_and_the_boundaries(rule):
    config = DatamapConfig(regions=rule)
    measured, regions = example(90, config)
    figure = draw_datamap(None, measured, regions, config)
    main = figure.axes[0]
    assert len(main.collections[0].get_offsets()) == 90
    assert len(main.lines) == 2
    assert f"easy {(regions == 'easy').sum()} (" in figure.get_suptitle()
    assert inline_svg(figure, "map").count("var(--ideal)") == 2


def test_boundaries_of_another_rule_are_not_drawn():
    config = DatamapConfig(regions="quantile", per_class=True)
    measured, regions = example(90, config)
    assert not draw_datamap(None, measured, regions, config).axes[0].lines
    assert not draw_datamap(None, measured, regions, None).axes[0].lines


def test_a_large_map_is_an_image_in_a_page_and_stays_small():
    config = DatamapConfig()
    measured, regions = example(100_000, config)
    svg = inline_svg(draw_datamap(None, measured, regions, config), "map")
    assert len(re.findall("<image ", svg)) == 2, "of the points, and of the colour bar"
    assert len(svg) < 600_000


def test_a_hexagon_has_the_mean_of_its_points(monkeypatch):
    monkeypatch.setattr(datamap_picture, "_MAX_POINTS", 10)
    config = DatamapConfig()
    measured, regions = example(600, config)
    (cells,) = draw_datamap(None, measured, regions, config).axes[0].collections
    at = cells.get_offsets()
    nearest = [((measured.variability - x) ** 2 / 0.25 + (measured.confidence - y) ** 2).argmin() for x, y in at]
    alone = [number for number, value in enumerate(cells.get_array()) if value not in (0.25, 0.5, 0.75)]
    assert len(alone) > 100
    assert np.mean(cells.get_array()[alone] == measured.correctness[nearest][alone]) > 0.9
