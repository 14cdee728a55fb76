"""The grids that come with the package: they can be read, and are what they say."""

import re
from collections import Counter
from pathlib import Path

from helpers.launching import ROOT
from lid_mapmix.apps.leaderboard import jobs
from lid_mapmix.apps.leaderboard.command import make_leaderboard_parser
from lid_mapmix.apps.leaderboard.grid import read_grid
from lid_mapmix.apps.leaderboard.tables import PAPER
from lid_mapmix.config.sources import upstream_config_names, variant_names
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.data.prepare import mlsuperb

LRE17 = {
    "arabic": ["ara-acm", "ara-apc", "ara-ary", "ara-arz"],
    "english": ["eng-gbr", "eng-usg"],
    "slavic": ["qsl-pol", "qsl-rus"],
    "iberian": ["por-brz", "spa-car", "spa-eur", "spa-lac"],
    "chinese": ["zho-cmn", "zho-nan"],
}


class Listed:
    """In place of a manifest: so many utterances."""

    digest = "of the paper's"

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


def grid_of(name, *flags):
    return read_grid(make_leaderboard_parser().parse_args([str(ROOT / "bench" / name), *flags]))


def test_the_papers_grid_has_its_rows_on_three_sets():
    runs = grid_of("paper.yaml").runs()
    assert Counter(run.data for run in runs) == {"set1": 11, "set2": 11, "set3": 11}
    rows = Counter((run.variant, run.upstream) for run in runs)
    assert Counter(row.variant for row in PAPER) == Counter(variant for variant, _ in rows)
    assert {upstream for variant, upstream in rows if variant != "baseline"} == {"xls_r_300m"}


def test_the_papers_grid_has_its_settings_and_its_steps(monkeypatch):
    utterances, ambiguous = 24_757, 16_306
    corpus = Corpus("data/lre17-set1", LRE17)
    monkeypatch.setattr(corpus, "manifest", lambda split: Listed(utterances))
    monkeypatch.setattr(jobs, "_read_data", lambda name, folder: jobs.Data(name, {}, corpus))
    grid = grid_of("paper.yaml")
    sets, grid.data = len(grid.data), {"set1": "data/lre17-set1"}
    listed = jobs.make_jobs(grid)
    made = {tuple(job.title.split()[:2]): job for job in listed if job.run is not None}
    made |= {tuple(re.split("[- ]", job.title)[:2]): job for job in listed if job.run is None}
    whole, half = -(-utterances // 8) * 50, -(-utterances // 16) * 50
    expected = {("xls_r_300m", variant): whole for variant in ("static", "easy", "hard", "amb_easy", "mapmix")}
    expected |= {("xls_r_300m", f"latent_{name}"): whole for name in ("random", "within", "across")}
    expected |= {(upstream, "baseline"): half for upstream in ("wav2vec2", "hubert", "xls_r_300m")}
    maps = {("xls_r_300m", "datamap"): whole // 10}
    assert {kind: job.steps for kind, job in made.items()} == expected | maps
    easy, mapmix = made["xls_r_300m", "easy"], made["xls_r_300m", "mapmix"]
    assert made["xls_r_300m", "amb_easy"].datamap is made["xls_r_300m", "hard"].datamap is easy.datamap
    thresholds = ("regions", "easy_confidence", "easy_variability", "hard_confidence", "hard_variability", "epochs")
    for job, confidence in ((easy, 0.65), (mapmix, 0.6)):
        datamap = job.datamap.settings["downstream_expert"]["datamap"]
        assert [datamap[name] for name in thresholds] == ["fixed", confidence, 0.3, 0.3, 0.2, 5]
    # What the file itself says of them.
    anchored = -(-ambiguous // 8) * 50
    hours = {
        "xls_r_300m": sets * (half + 6 * whole + 2 * anchored + 2 * whole // 10) / 3600,
        "base": sets * 2 * half / 3600,
    }
    said = (ROOT / "bench/paper.yaml").read_text()
    for number in (half, whole, anchored, whole // 10, round(hours["xls_r_300m"]), round(hours["base"])):
        assert re.search(rf"\b{number:,}\b", said), number


def test_the_grid_of_ml_superb_is_frozen_and_names_its_data_as_its_commands_do():
    grid = grid_of("mlsuperb.yaml")
    assert len(grid.runs()) == 24
    assert set(grid.variants) <= set(variant_names())
    assert set(grid.upstreams) <= set(upstream_config_names()) and all(one.frozen for one in grid.upstreams.values())
    assert "--out data/mlsuperb-$set --set $set" in (ROOT / "bench/mlsuperb.yaml").read_text()
    assert set(grid.data.values()) == {f"data/mlsuperb-{name}" for name in mlsuperb.SETS}


def test_the_deprecated_key_of_the_folder_is_read_and_named(tmp_path, capsys):
    (tmp_path / "grid.yaml").write_text("{upstreams: [fbank], variants: [static], data: [x], seeds: [0], into: there}")
    options = make_leaderboard_parser().parse_args([str(tmp_path / "grid.yaml")])
    assert read_grid(options).folder == Path("there")
    assert capsys.readouterr().err == f"{tmp_path / 'grid.yaml'}: into is deprecated; use out\n"


def test_the_demo_grid_is_three_by_three_by_two():
    grid = grid_of("demo.yaml")
    assert len(grid.runs()) == 18
    assert set(grid.variants) <= set(variant_names())
    model = grid.upstreams["small_wav2vec2"]
    assert model.made_by.split() == ["python", "bench/small_wav2vec2.py", model.weights]
    assert model.made_by in (ROOT / "Makefile").read_text()
    chosen = grid_of("demo.yaml", "--upstreams", "mfcc,fbank", "--seeds", "1", "--variants", "mapmix").runs()
    assert [(run.upstream, run.variant, run.seed) for run in chosen] == [("mfcc", "mapmix", 1), ("fbank", "mapmix", 1)]
