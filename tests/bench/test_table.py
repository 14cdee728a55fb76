"""The tables of the registered experiment, from scores that the test makes; and the wrong labels it plants."""

import csv
import sys

import numpy as np
import pytest
import yaml
from helpers.launching import ROOT
from scipy.stats import ttest_rel

sys.path.insert(0, str(ROOT / "bench"))
import table
from suspects import swap_labels


@pytest.mark.parametrize("within", [False, True])
def test_as_many_labels_are_swapped_as_asked(within):
    clusters = np.array([0, 0, 0, 1, 1])
    true = np.repeat(np.arange(5), 40)
    swapped = swap_labels(true, 5, 0.2, 3, clusters if within else None)
    is_wrong = swapped != true
    assert is_wrong.sum() == 40
    same = clusters[swapped[is_wrong]] == clusters[true[is_wrong]]
    assert same.all() if within else not same.all()
    assert (swap_labels(true, 5, 0.2, 3, clusters if within else None) == swapped).all()


def test_differences_are_paired_by_seed(tmp_path):
    generator = np.random.default_rng(0)
    regime = table.Regime("Some data", 70, 0.2, False, [0, 1, 2, 3], {})
    scores = {row: generator.random((4, len(table._SCORES))).round(4) for row in ("latent_random", "mapmix")}
    path = tmp_path / "scores.csv"
    for row, values in scores.items():
        for seed in (3, 1, 2, 0):
            named = dict(zip(table._SCORES, values[seed].tolist(), strict=True))
            table._append(path, {"regime": "some", "row": row, "seed": seed, **named})
    table._append(path, {"regime": "some", "row": "mapmix", "seed": 9, **named})  # without its pair
    with path.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 9
    lines = table._table("some", regime, table._read(path)).splitlines()
    assert lines[0] == "**Some data** (some, 4 of 4 seeds)"
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    assert cells[:2] == ["mapmix", f"{scores['mapmix'][:, 0].mean():.3f}"]
    result = ttest_rel(scores["mapmix"][:, 0] * 100, scores["latent_random"][:, 0] * 100)
    low, high = result.confidence_interval()
    assert cells[-2] == f"{(low + high) / 2:+.1f} ± {(high - low) / 2:.1f}"


def test_the_experiment_is_one_of_the_rows_and_regimes_that_are_registered():
    content = yaml.safe_load((ROOT / "bench/demo_table.yaml").read_text())
    regimes = {name: table.Regime(**values) for name, values in content["regimes"].items()}
    assert len(regimes) == 14
    assert {name: len(regime.seeds) for name, regime in regimes.items() if len(regime.seeds) != 5} == {
        "more-uniform-20": 10
    }
    assert {(one.utterances, one.noise, one.within and one.noise > 0) for one in regimes.values()} == {
        (size, noise, within) for size in (12, 70) for noise in (0, 0.1, 0.2, 0.3) for within in (False, noise > 0)
    }
    for row in table._read(ROOT / "bench/demo_table.csv"):
        assert row["regime"] in regimes
        assert row["row"] in {*content["rows"], "suspects"}
