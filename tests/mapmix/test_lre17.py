import numpy as np
import pytest
from lid_mapmix.mapmix.targets import confidence_matrix, lre17_class_similarity
from lid_mapmix.utils.errors import UserError

# docs/method.md, "LRE17 labels and clusters", in order.
CLUSTERS = {
    "arabic": ("ara-acm", "ara-apc", "ara-ary", "ara-arz"),
    "english": ("eng-gbr", "eng-usg"),
    "slavic": ("qsl-pol", "qsl-rus"),
    "iberian": ("por-brz", "spa-car", "spa-eur", "spa-lac"),
    "chinese": ("zho-cmn", "zho-nan"),
}
CLASSES = tuple(name for members in CLUSTERS.values() for name in members)
CLUSTER_INDICES = np.repeat(range(5), [len(members) for members in CLUSTERS.values()])


def test_the_rows_are_the_papers_rescaled():
    matrix = confidence_matrix(lre17_class_similarity(CLASSES), CLUSTER_INDICES)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(np.diag(matrix), 0.75)
    assert (matrix[CLUSTER_INDICES[:, None] != CLUSTER_INDICES] == 0).all()
    # Printed rounded, ara-acm's sum to 0.25000001: rescaling is all that happens.
    np.testing.assert_allclose(matrix[0, :4], [0.75, 0.13139856, 0.06841516, 0.05018629], atol=1e-7)
    np.testing.assert_allclose(matrix[9, 8:12], [0.03007011, 0.75, 0.06198897, 0.15794092], atol=1e-7)
    assert matrix[4, 5] == matrix[13, 12] == 0.25


def test_class_similarity_follows_the_order_of_the_classes():
    turned = lre17_class_similarity(CLASSES[::-1])
    np.testing.assert_array_equal(turned, lre17_class_similarity(CLASSES)[::-1, ::-1])


def test_other_classes_are_refused():
    with pytest.raises(UserError, match=r"expected the classes of LRE17 \(.*\), found fra-fra"):
        lre17_class_similarity(["eng-gbr", "fra-fra"])
