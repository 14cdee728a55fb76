"""The grids that come with the package: they can be read, and are what they say."""

from collections import Counter

from launching import ROOT
from lid_mapmix.apps.leaderboard.arguments import make_leaderboard_parser
from lid_mapmix.apps.leaderboard.grid import read_grid
from lid_mapmix.apps.leaderboard.paper import PAPER
from lid_mapmix.layers import variant_names


def grid_of(name, *flags):
    return read_grid(make_leaderboard_parser().parse_args([str(ROOT / "bench" / name), *flags]))


def test_the_papers_grid_has_its_rows_on_three_sets():
    runs = grid_of("paper.yaml").runs()
    assert Counter(run.data for run in runs) == {"set1": 11, "set2": 11, "set3": 11}
    rows = Counter((run.variant, run.upstream) for run in runs)
    assert Counter(row.variant for row in PAPER) == Counter(variant for variant, _ in rows)
    assert {upstream for variant, upstream in rows if variant != "baseline"} == {"xls_r_300m"}


def test_the_demo_grid_is_three_by_three_by_two():
    grid = grid_of("demo.yaml")
    assert len(grid.runs()) == 18
    assert set(grid.variants) <= set(variant_names())
    chosen = grid_of("demo.yaml", "--upstreams", "mfcc,fbank", "--seeds", "1", "--variants", "mapmix").runs()
    assert [(run.upstream, run.variant, run.seed) for run in chosen] == [("mfcc", "mapmix", 1), ("fbank", "mapmix", 1)]
