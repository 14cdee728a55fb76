import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.mapmix import label_noise
from lid_mapmix.mapmix.label_noise import estimate_label_noise
from reference.label_noise import posteriors

CLASSES, UTTERANCES, EPOCHS = 6, 900, 8


def recorded(noise, *, accuracy=(0.3, 0.75), seed=0):
    """Simulate labels and predictions: accuracy rises over the epochs, and the class before is the usual error."""
    generator = np.random.default_rng(seed)
    true = generator.integers(CLASSES, size=UTTERANCES)
    is_wrong = generator.random(UTTERANCES) < noise
    labels = np.where(is_wrong, (true + generator.integers(1, CLASSES, size=UTTERANCES)) % CLASSES, true)
    predictions = np.empty((EPOCHS, UTTERANCES), dtype=np.uint8)
    for epoch, rate in enumerate(np.linspace(*accuracy, EPOCHS)):
        others = np.where(generator.random(UTTERANCES) < 0.5, (true - 1) % CLASSES, generator.integers(CLASSES))
        predictions[epoch] = np.where(generator.random(UTTERANCES) < rate, true, others)
    return labels, true, predictions


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 4), st.integers(2, 40))
def test_as_computed_one_by_one(seed, epochs, classes, count):
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=count)
    predictions = generator.integers(classes, size=(epochs, count), dtype=np.uint8)
    is_read = generator.random((epochs, count)) < 0.9
    is_read[:, 0] = True
    found = estimate_label_noise(predictions, is_read, labels, classes)
    expected = np.array(posteriors(predictions.tolist(), is_read.tolist(), labels.tolist(), classes))
    heard = is_read.any(axis=0)
    own = np.where(heard, expected[np.arange(count), labels], np.nan)
    np.testing.assert_allclose(found.right, own, atol=1e-9)
    sums = [expected[heard & (labels == label)].sum(axis=0) for label in range(classes)]
    np.testing.assert_allclose(found.true_classes, sums, atol=1e-9)
    expected[np.arange(count), labels] = -1
    np.testing.assert_allclose(expected[np.arange(count), found.preferred], expected.max(axis=1), atol=1e-9)


def test_the_same_in_chunks(monkeypatch):
    labels, _, predictions = recorded(0.2)
    whole = estimate_label_noise(predictions, np.ones_like(predictions, bool), labels, CLASSES)
    monkeypatch.setattr(label_noise, "_CHUNK_ELEMENTS", 7 * CLASSES)
    parts = estimate_label_noise(predictions, np.ones_like(predictions, bool), labels, CLASSES)
    np.testing.assert_allclose(parts.right, whole.right, atol=1e-9)
    assert parts.preferred.tolist() == whole.preferred.tolist()


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_rate_and_wrong_labels_are_found_where_the_model_holds(noise):
    for seed in range(5):
        labels, true, predictions = recorded(noise, seed=seed)
        found = estimate_label_noise(predictions, np.ones_like(predictions, bool), labels, CLASSES)
        is_wrong = labels != true
        assert 1 - np.nanmean(found.right) == pytest.approx(is_wrong.mean(), abs=0.04)
        if noise == 0:
            assert found.is_wrong.mean() < 0.02
            continue
        hits = found.is_wrong & is_wrong
        assert hits.sum() > 0.8 * is_wrong.sum()
        assert hits.sum() > 0.9 * found.is_wrong.sum()
        assert (found.preferred[hits] == true[hits]).mean() > 0.9


def test_a_class_that_is_learnt_late_has_no_wrong_labels():
    generator = np.random.default_rng(3)
    labels = np.repeat(np.arange(3), 100)
    predictions = np.tile(labels, (6, 1))
    # All of class 2 are taken for 0 or 1 until the last epoch.
    predictions[:5, 200:] = generator.integers(2, size=(5, 100))
    found = estimate_label_noise(predictions, np.ones_like(predictions, bool), labels, 3)
    assert not found.is_wrong.any()


def test_unread_utterances_count_for_nothing():
    labels, _, predictions = recorded(0.2)
    is_read = np.ones_like(predictions, bool)
    is_read[:, :50] = False
    found = estimate_label_noise(predictions, is_read, labels, CLASSES)
    rest = estimate_label_noise(predictions[:, 50:], is_read[:, 50:], labels[50:], CLASSES)
    assert np.isnan(found.right[:50]).all()
    assert not found.is_wrong[:50].any()
    np.testing.assert_allclose(found.right[50:], rest.right, atol=1e-9)
    assert 1 - np.nanmean(found.right) == pytest.approx(1 - rest.right.mean())


def test_regions_have_the_probably_wrong_as_hard():
    labels, _, predictions = recorded(0.3)
    found = estimate_label_noise(predictions, np.ones_like(predictions, bool), labels, CLASSES)
    regions = np.resize(["easy", "ambiguous", "hard", "unread"], UTTERANCES)
    made = found.regions(regions)
    assert set(made[found.is_wrong]) == {"hard"}
    kept = ~found.is_wrong
    assert (made[kept] == np.where(regions == "hard", "ambiguous", regions)[kept]).all()
