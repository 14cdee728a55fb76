import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.data.audio.reading import SAMPLE_RATE
from lid_mapmix.data.windows import centre_windows, sliding_windows, truncated_windows, window_batches
from reference.windows import sliding

COUNTS = st.lists(st.integers(400, 20 * SAMPLE_RATE), min_size=1, max_size=12)


@given(counts=COUNTS, window=st.floats(0.025, 8), overlap=st.floats(0.05, 1))
def test_sliding_windows(counts, window, overlap):
    hop = window * overlap
    windows = sliding_windows(np.array(counts), window, hop)
    size = round(window * SAMPLE_RATE)
    expected = [
        (number, *part)
        for number, count in enumerate(counts)
        for part in sliding(count, size, round(hop * SAMPLE_RATE))
    ]
    assert [tuple(row) for row in windows.tolist()] == expected
    for number, count in enumerate(counts):
        parts = windows[windows[:, 0] == number][:, 1:]
        starts, ends = parts[:, 0], parts.sum(axis=1)
        assert (parts[:, 1] == min(count, size)).all()
        assert starts[0] == 0
        assert ends[-1] == count
        assert (starts[1:] <= ends[:-1]).all(), "a gap"
        assert (np.diff(starts) > 0).all(), "a window twice"


def test_sliding_windows_of_the_paper_by_hand():
    counts = SAMPLE_RATE * np.array([3, 6, 7, 12, 13])
    found = [(number, start / SAMPLE_RATE, size / SAMPLE_RATE) for number, start, size in sliding_windows(counts, 6, 3)]
    assert found == [
        *[(0, 0, 3), (1, 0, 6), (2, 0, 6), (2, 1, 6)],
        *[(3, 0, 6), (3, 3, 6), (3, 6, 6), (4, 0, 6), (4, 3, 6), (4, 6, 6), (4, 7, 6)],
    ]


@given(counts=COUNTS, seconds=st.lists(st.floats(0.025, 25), min_size=1, max_size=4))
def test_truncated_windows_are_those_of_shorter_utterances(counts, seconds):
    counts = np.array(counts)
    windows, members = truncated_windows(counts, seconds, 6, 3)
    assert len({tuple(row) for row in windows.tolist()}) == len(windows), "a window twice"
    assert len(members) == len(seconds)
    for each, numbers in zip(seconds, members, strict=True):
        cut = sliding_windows(np.minimum(counts, round(each * SAMPLE_RATE)), 6, 3)
        assert windows[numbers].tolist() == cut.tolist()
    assert set(np.concatenate(members).tolist()) == set(range(len(windows)))


def test_truncated_windows_share_those_that_are_the_same():
    windows, members = truncated_windows(SAMPLE_RATE * np.array([12]), [3, 9, 12], 6, 3)
    assert (windows[:, 1:] / SAMPLE_RATE).tolist() == [[0, 3], [0, 6], [3, 6], [6, 6]]
    assert [numbers.tolist() for numbers in members] == [[0], [1, 2], [1, 2, 3]]


@given(counts=COUNTS, crop=st.floats(0.025, 20))
def test_centre_windows(counts, crop):
    size = round(crop * SAMPLE_RATE)
    for number, (utterance, start, count) in enumerate(centre_windows(np.array(counts), crop).tolist()):
        assert utterance == number
        assert count == min(counts[number], size)
        before, after = start, counts[number] - start - count
        assert 0 <= after - before <= 1


@given(
    sizes=st.lists(st.sampled_from([16_000, 48_000, 96_000]) | st.integers(400, 96_000), min_size=1, max_size=60),
    seconds=st.floats(0.5, 30),
    mix_lengths=st.booleans(),
)
def test_window_batches(sizes, seconds, mix_lengths):
    sizes = np.array(sizes)
    batches = window_batches(sizes, seconds, mix_lengths=mix_lengths)
    assert sorted(number for batch in batches for number in batch) == list(range(len(sizes)))
    for batch in batches:
        lengths = sizes[batch]
        assert len(batch) == 1 or len(batch) * lengths.max() <= seconds * SAMPLE_RATE
        assert mix_lengths or len(set(lengths.tolist())) == 1
    # No batch could have taken the first window of the next.
    for batch, following in itertools.pairwise(batches):
        first = sizes[following[0]]
        full = (len(batch) + 1) * max(first, sizes[batch].max()) > seconds * SAMPLE_RATE
        assert full or (not mix_lengths and first != sizes[batch[-1]])


def test_window_batches_by_hand():
    sizes = SAMPLE_RATE * np.array([6, 3, 6, 6, 3])
    assert window_batches(sizes, 12, mix_lengths=False) == [[1, 4], [0, 2], [3]]
    assert window_batches(sizes, 18, mix_lengths=True) == [[1, 4, 0], [2, 3]]
