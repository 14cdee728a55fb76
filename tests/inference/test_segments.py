"""Label tracks: Viterbi's algorithm against all sequences, and recordings worked by hand."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.data.labels import Labels
from lid_mapmix.inference.answer import Outcome
from lid_mapmix.inference.segments import find_segments, smooth

LABELS = Labels({"x": ("one", "two"), "y": ("three",)})
HOP, WINDOW = 16_000, 64_000
FRAMES = WINDOW // 512


def score(path, posteriors, weight, change):
    classes = posteriors.shape[1]
    steps = [np.log1p(-change) if a == b else np.log(change / (classes - 1)) for a, b in itertools.pairwise(path)]
    return weight * sum(np.log(posteriors[cell, name]) for cell, name in enumerate(path)) + sum(steps)


@given(st.integers(1, 5), st.integers(2, 3), st.floats(0.1, 1), st.floats(0.01, 0.6), st.integers(0, 10_000))
def test_the_sequence_is_the_best_of_all(cells, classes, weight, change, seed):
    posteriors = np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), size=cells).clip(1e-6)
    change = min(change, 1 - 1 / classes)
    found = score(smooth(posteriors, weight, change), posteriors, weight, change)
    best = max(score(path, posteriors, weight, change) for path in itertools.product(range(classes), repeat=cells))
    np.testing.assert_allclose(found, best, atol=1e-9)


def test_one_class_needs_no_choice():
    assert smooth(np.ones((3, 1)), 1.0, 0.1).tolist() == [0, 0, 0]


def heard(rows, speech=None):
    """Return the windows of a recording, a second apart, and its length."""
    spans = np.array([[number * HOP, WINDOW] for number in range(len(rows))])
    speech = [None] * len(rows) if speech is None else speech
    return (spans, np.array(rows, dtype=np.float64), speech), (len(rows) - 1) * HOP + WINDOW


def sure_of(number):
    return np.eye(3)[number] * 0.94 + 0.02


def test_two_languages_and_a_window_that_errs():
    answers, samples = heard([sure_of(0)] * 20 + [sure_of(1)] + [sure_of(0)] * 20 + [sure_of(2)] * 40)
    segments = find_segments(*answers, LABELS, samples=samples, hop=HOP)
    assert [segment.label for segment in segments] == ["one", "three"]
    assert segments[0].start == 0
    assert segments[0].end == segments[1].start
    assert abs(segments[0].end - 42.5) <= 2  # the middle of the windows that hold both
    assert segments[1].end == samples / 16_000
    assert segments[1].probability > 0.85


def test_silence_in_the_middle_is_no_speech():
    def frames(start):
        seconds = (start + np.arange(FRAMES) * 512) / 16_000
        return (seconds < 20) | (seconds >= 30)

    rows = [sure_of(0)] * 60
    answers, samples = heard(rows, [frames(number * HOP) for number in range(60)])
    segments = find_segments(*answers, LABELS, samples=samples, hop=HOP)
    assert [segment.answer for segment in segments] == ["one", "no speech", "one"]
    assert [segment.start for segment in segments] == [0, 20, 30]
    assert np.isnan(segments[1].probability)


def test_silence_alone():
    answers, samples = heard([sure_of(0)] * 3, [np.zeros(FRAMES, dtype=bool)] * 3)
    (segment,) = find_segments(*answers, LABELS, samples=samples, hop=HOP)
    assert segment.outcome is Outcome.NO_SPEECH
    assert (segment.start, segment.end) == (0, samples / 16_000)


def test_what_is_uncertain_is_rejected_and_joined():
    unsure = [[0.4, 0.35, 0.25]] * 40 + [[0.3, 0.45, 0.25]] * 40
    answers, samples = heard([*unsure, *[sure_of(2)] * 40])
    segments = find_segments(*answers, LABELS, samples=samples, hop=HOP, threshold=0.5)
    assert [segment.answer for segment in segments] == ["none of these", "three"]


def test_segments_cover_a_short_recording():
    answers = np.array([[0, 9_000]]), np.array([sure_of(1)]), [None]
    (segment,) = find_segments(*answers, LABELS, samples=9_000, hop=HOP)
    assert (segment.start, segment.end, segment.label) == (0, 9_000 / 16_000, "two")
