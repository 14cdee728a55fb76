import numpy as np
import pytest
from lid_mapmix.apps.report import figures as pictures
from lid_mapmix.apps.report import reliability_figure as reliability_picture
from lid_mapmix.scoring.metrics import reliability_curve


@pytest.fixture
def drawn(monkeypatch):
    """Return a list to which each figure is added in place of being written."""
    figures = []
    monkeypatch.setattr(reliability_picture, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def curve(seed, count=300):
    generator = np.random.default_rng(seed)
    return reliability_curve(generator.dirichlet(np.full(4, 0.6), count), generator.integers(4, size=count))


@pytest.mark.parametrize("names", [("scores",), ("before", "after")])
def test_points_and_bars_are_those_of_the_curves(names, drawn, tmp_path):
    curves = {name: curve(seed) for seed, name in enumerate(names)}
    reliability_picture.draw_reliability(tmp_path / "c.png", curves, dict.fromkeys(names, 0.1234))
    above, below = drawn[0].axes
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


def test_pictures_are_whole_or_absent(tmp_path):
    figure = pictures.new_figure("x.png", 1, 1)
    pictures.save_figure(figure, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "y.png").mkdir()
    with pytest.raises(IsADirectoryError):
        pictures.save_figure(figure, tmp_path / "y.png")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "x.png", tmp_path / "y.png"]
