import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lid_mapmix.mapmix import targets as labels
from reference.confidence import confidence_rows

PAPER_CLUSTERS = np.array([0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 4, 4])


@st.composite
def class_similarity_and_clusters(draw):
    count = draw(st.integers(1, 8))
    clusters = draw(hnp.arrays(np.int64, count, elements=st.integers(0, 3)))
    values = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))
    return draw(hnp.arrays(np.float64, (count, count), elements=values)), clusters


def test_confidence_rows_worked_by_hand():
    class_similarity = np.array([[9, 3, 1, 7], [0, 9, 0, 7], [0, 5, 9, 7], [1, 1, 1, 0]])
    expected = [
        [0.75, 0.1875, 0.0625, 0],  # a quarter, shared three to one
        [0.125, 0.75, 0.125, 0],  # nothing to go by: evenly
        [0, 0.25, 0.75, 0],
        [0, 0, 0, 1],  # alone in its cluster
    ]
    np.testing.assert_allclose(labels.confidence_matrix(class_similarity, np.array([0, 0, 0, 1])), expected, atol=1e-15)


def test_estimated_weights_worked_by_hand():
    class_similarity = np.array([[6, 3, 1, 7], [3, 2, 1, 7], [0, 0, 0, 7], [1, 1, 1, 0]])
    expected = [
        [0.6, 0.3, 0.1, 0],
        [0.375, 0.5, 0.125, 0],  # a third by its similarity, which is below one half
        [0, 0, 1, 0],  # nothing in the cluster
        [0, 0, 0, 1],
    ]
    found = labels.confidence_matrix(class_similarity, np.array([0, 0, 0, 1]), None)
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_uniform_rows_worked_by_hand():
    expected = [[0.6, 0.2, 0, 0.2], [0.2, 0.6, 0, 0.2], [0, 0, 1, 0], [0.2, 0.2, 0, 0.6]]
    np.testing.assert_allclose(
        labels.confidence_matrix(np.ones((4, 4)), np.array([4, 4, 0, 4]), 0.6), expected, atol=1e-15
    )


def test_rows_of_the_paper_are_reproduced_from_its_own_off_diagonals():
    # Arabic as printed; the pairs must come out at .25 each way whatever the class_similarity.
    arabic = np.array(
        [
            [0, 0.13139856, 0.06841516, 0.05018629],
            [0.1090087, 0, 0.07234471, 0.06864659],
            [0.08757757, 0.08694835, 0, 0.07547408],
            [0.08027083, 0.08976811, 0.07996106, 0],
        ]
    )
    class_similarity = np.full((14, 14), 0.01)
    class_similarity[:4, :4] = arabic
    matrix = labels.confidence_matrix(class_similarity, PAPER_CLUSTERS)
    np.testing.assert_allclose(matrix[:4, :4] - 0.75 * np.eye(4), arabic, atol=2e-8)
    np.testing.assert_allclose(matrix[[4, 5, 6, 7, 12, 13], [5, 4, 7, 6, 13, 12]], 0.25)


@given(class_similarity_and_clusters(), st.floats(0.05, 1))
def test_rows_are_distributions_within_the_cluster(drawn, share):
    class_similarity, clusters = drawn
    matrix = labels.confidence_matrix(class_similarity, clusters, share)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert (matrix >= 0).all()
    assert (matrix[clusters[:, None] != clusters[None, :]] == 0).all()
    alone = (clusters[:, None] == clusters[None, :]).sum(axis=1) == 1
    assert (np.diag(matrix) == np.where(alone, 1.0, share)).all()
    np.testing.assert_allclose(matrix, confidence_rows(class_similarity, clusters, share), atol=1e-12)


@given(class_similarity_and_clusters(), st.randoms(use_true_random=False))
def test_rows_follow_a_permutation_of_the_classes(drawn, random):
    class_similarity, clusters = drawn
    order = list(range(len(clusters)))
    random.shuffle(order)
    np.testing.assert_allclose(
        labels.confidence_matrix(class_similarity[np.ix_(order, order)], clusters[order]),
        labels.confidence_matrix(class_similarity, clusters)[np.ix_(order, order)],
        atol=1e-12,
    )


def test_tiny_and_huge_class_similarity_keeps_its_proportions():
    for scale in (1e-320, 1e308):
        matrix = labels.confidence_matrix(np.full((3, 3), scale), np.zeros(3))
        np.testing.assert_allclose(matrix, labels.confidence_matrix(np.ones((3, 3)), np.zeros(3)))


def test_choices_are_spelt_as_in_the_yaml():
    assert [*labels.Targets] == ["one_hot", "confidence", "smoothed"]
    assert [*labels.ClassSimilarity] == ["estimated", "uniform", "given", "lre17"]
