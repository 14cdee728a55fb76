import io
import statistics

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.mapmix.online import RunningDynamics

UTTERANCES, CLASSES = 7, 3


def softmax_rows(generator, count):
    rows = generator.random((count, CLASSES)).astype(np.float32)
    return rows / rows.sum(axis=1, keepdims=True)


def observed(generator, steps):
    """Return running dynamics after some steps, and what each utterance was answered."""
    gold = np.arange(UTTERANCES) % CLASSES
    dynamics, answers = RunningDynamics(UTTERANCES, CLASSES), {number: [] for number in range(UTTERANCES)}
    for _ in range(steps):
        # The last utterance never comes; others come twice in a step, as partners do.
        indices = generator.integers(0, UTTERANCES - 1, 5)
        rows = softmax_rows(generator, 5)
        dynamics.add(indices, gold[indices], rows)
        for index, row in zip(indices.tolist(), rows, strict=True):
            answers[index].append(row.astype(np.float64))
    return dynamics, answers, gold


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 12))
def test_means_are_those_of_all_observations(seed, steps):
    dynamics, answers, gold = observed(np.random.default_rng(seed), steps)
    likeness = np.zeros((CLASSES, CLASSES))
    for number, rows in answers.items():
        probabilities = [float(row[gold[number]]) for row in rows]
        # Who was never heard is not hard to learn: nothing is known of them.
        expected = (statistics.fmean(probabilities), statistics.pstdev(probabilities)) if rows else (np.nan, np.nan)
        np.testing.assert_allclose(
            (dynamics.confidence[number], dynamics.variability[number]), expected, rtol=1e-6, atol=1e-7
        )
        likeness[gold[number]] += np.sum(rows, axis=0) if rows else 0
    np.testing.assert_allclose(dynamics.likeness, likeness, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 2**32))
def test_a_checkpoint_takes_everything_along(seed):
    generator = np.random.default_rng(seed)
    dynamics, *_ = observed(generator, 4)
    file = io.BytesIO()
    torch.save(dynamics.state(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed, *_ = observed(generator, 2)
    resumed.restore(state)
    indices, rows = np.array([1, 1, 5]), softmax_rows(generator, 3)
    for each in (dynamics, resumed):
        each.add(indices, indices % CLASSES, rows)
    assert all((dynamics.state()[name] == value).all() for name, value in resumed.state().items())
