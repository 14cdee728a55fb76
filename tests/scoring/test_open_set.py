import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring.open_set import (
    Novelty,
    auroc,
    best_threshold,
    fit_novelty,
    open_set_cost,
    read_novelty,
    write_novelty,
)
from lid_mapmix.utils.errors import UserError
from safetensors.numpy import load_file, save_file
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors


def _dev(count=60, dim=8, units=6, classes=4, seed=0):
    """Latents of whole utterances and of those cut to 1 s, their utterances and durations; classes; units."""
    generator = np.random.default_rng(seed)
    truth, unit = np.arange(count) % classes, np.arange(count) // classes % units
    whole = generator.standard_normal((count, dim)) + 3 * np.eye(dim)[truth]
    latents = np.concatenate([whole, whole + generator.standard_normal((count, dim))])
    seconds = np.concatenate([generator.uniform(4, 10, count), np.ones(count)])
    return latents, np.tile(np.arange(count), 2), seconds, truth, unit


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 30))
def test_auroc_is_that_of_scikit_learn(seed, inside, outside):
    values = np.random.default_rng(seed).integers(0, 6, inside + outside) / 5  # with equal scores
    expected = roc_auc_score(np.arange(inside + outside) >= inside, values)
    assert auroc(values[:inside], values[inside:]) == pytest.approx(expected, abs=1e-12)


def test_auroc_of_nothing_is_not_defined():
    assert np.isnan(auroc(np.array([]), np.array([1.0])))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.2, 0.5, 0.9]))
def test_no_threshold_has_a_lower_cost(seed, p_oos):
    generator = np.random.default_rng(seed)
    inside, outside = generator.normal(0, 1, 20).round(1), generator.normal(1, 1, 15).round(1)

    def cost(threshold):
        return (1 - p_oos) * (inside > threshold).mean() + p_oos * (outside <= threshold).mean()

    found = cost(best_threshold(inside, outside, p_oos))
    assert found <= min(map(cost, np.arange(-6, 6, 0.05))) + 1e-12


def test_cost_is_that_of_a_loop_over_trials():
    generator = np.random.default_rng(1)
    truth, answers = generator.integers(-1, 4, 200), generator.integers(-1, 5, 200)  # nothing is of class 4
    costs = []
    for target in range(4):
        rates = {n: np.mean([a == target for a, t in zip(answers, truth, strict=True) if t == n]) for n in range(-1, 4)}
        others = [rates[n] for n in range(4) if n != target]
        costs.append(0.5 * (1 - rates[target]) + 0.3 / 3 * sum(others) + 0.2 * rates[-1])
    assert open_set_cost(answers, truth, 0.2) == pytest.approx(np.mean(costs) / 0.5)


def test_rejecting_everything_costs_1_and_being_right_nothing():
    truth = np.array([0, 1, -1])
    assert open_set_cost(np.full(3, -1), truth) == 1
    assert open_set_cost(truth, truth) == 0
    assert np.isnan(open_set_cost(truth[:2], truth[:2])) and np.isnan(open_set_cost(truth[1:], truth[1:]))


def test_distances_are_those_of_scikit_learn_without_the_own_speaker():
    latents, utterance, seconds, truth, units = _dev()
    novelty = fit_novelty(latents, utterance, seconds, truth, units)
    whole = latents[: len(truth)]
    for row, own in enumerate(utterance):
        others = whole[units != units[own]]
        nearest = NearestNeighbors(n_neighbors=1, metric="cosine").fit(others).kneighbors(latents[row : row + 1])[0]
        assert novelty.distances[row] == pytest.approx(nearest.item(), abs=1e-6)
    assert np.array_equal(novelty.seconds, seconds.astype(np.float32))


def test_utterances_of_the_only_speaker_of_a_class_are_compared():
    latents, utterance, seconds, truth, _ = _dev()
    novelty = fit_novelty(latents, utterance, seconds, truth, truth)
    whole = latents[: len(truth)] / np.linalg.norm(latents[: len(truth)], axis=1, keepdims=True)
    cosines = whole @ whole.T - 2 * np.eye(len(whole))
    assert novelty.distances[: len(whole)] == pytest.approx(1 - cosines.max(axis=1), abs=1e-6)


def test_one_in_twenty_of_dev_is_novel_at_every_duration():
    latents, utterance, seconds, truth, units = _dev(count=400, units=50)
    novelty = fit_novelty(latents, utterance, seconds, truth, units)
    assert (novelty.of_dev > 1).mean() == pytest.approx(0.05, abs=0.02)
    others, _, seconds, *_ = _dev(count=400, seed=1)
    found = novelty(others, seconds)
    for chosen in (seconds == 1, seconds > 1):
        assert (found[chosen] > 1).mean() == pytest.approx(0.05, abs=0.03)


def test_another_direction_is_novel_and_a_known_one_is_not():
    latents, *others = _dev()
    novelty = fit_novelty(latents, *others)
    found = novelty(np.stack([latents[0] * 7, -latents.sum(axis=0)]), np.array([5.0, 5.0]))
    assert found[0] == pytest.approx(0, abs=1e-5) and found[1] > 1


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_utterance_has_no_other_to_be_compared_with(count):
    empty = np.zeros(count, dtype=int)
    assert fit_novelty(np.ones((count, 3)), empty, np.ones(count), empty, empty) is None


def test_file(tmp_path):
    novelty = fit_novelty(*_dev())
    write_novelty(tmp_path / "novelty.safetensors", novelty)
    again = read_novelty(tmp_path / "novelty.safetensors", 8)
    assert again.latents == pytest.approx(novelty.latents, abs=1e-3)
    assert np.array_equal(again.of_dev, novelty.of_dev)
    assert read_novelty(tmp_path / "no.safetensors", 8) is None


@pytest.mark.parametrize(
    "change",
    [
        {"latents": np.ones((2, 7), dtype=np.float16)},
        {"latents": np.full((2, 8), np.nan, dtype=np.float16)},
        {"latents": np.ones((0, 8), dtype=np.float16)},
        {"seconds": np.zeros(120, dtype=np.float32)},
        {"seconds": np.ones(3, dtype=np.float32)},
        {"distances": np.ones((60, 2), dtype=np.float32), "seconds": np.ones((60, 2), dtype=np.float32)},
        {"distances": None},
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, change):
    path = tmp_path / "novelty.safetensors"
    write_novelty(path, fit_novelty(*_dev()))
    tensors = {name: value for name, value in (load_file(path) | change).items() if value is not None}
    save_file(tensors, path, metadata={"format": "lid_mapmix novelty 1"})
    with pytest.raises(UserError, match="expected the latents of dev, found") as found:
        read_novelty(path, 8)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x80\x04K\x01."])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "novelty.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="expected the latents of dev"):
        read_novelty(tmp_path / "novelty.safetensors", 8)
    save_file({"latents": np.ones((1, 8))}, tmp_path / "novelty.safetensors")
    with pytest.raises(UserError, match="another format"):
        read_novelty(tmp_path / "novelty.safetensors", 8)


def test_identical_latents_are_not_novel():
    novelty = Novelty(np.ones((3, 1), np.float32), np.zeros(3, np.float32), np.ones(3, np.float32))
    assert (novelty(np.ones((2, 1)), np.ones(2)) == 0).all()
