import numpy as np
import pytest
from lid_mapmix.mapmix.dynamics import EpochRecorder
from lid_mapmix.utils.errors import UserError


def test_state_of_other_data_is_refused():
    state = EpochRecorder(24, 4).state()
    with pytest.raises(UserError, match="Resume with the manifest"):
        EpochRecorder(23, 4).restore(state)


@pytest.mark.parametrize(
    ("indices", "target_classes", "probabilities", "message"),
    [
        ([3], [0], np.ones((1, 2)), "indices from 0 to 2"),
        ([-1], [0], np.ones((1, 2)), "indices from 0"),
        ([0], [2], np.ones((1, 2)), "target_classes from 0 to 1"),
        ([0], [0, 1], np.ones((1, 2)), "expected target_classes"),
        ([0], [0], np.ones((1, 3)), "expected target_classes"),
        ([0, 1, 2, 0], [0] * 4, np.ones((4, 2)), "at most 3 utterances"),
    ],
)
def test_faults_of_the_caller(indices, target_classes, probabilities, message):
    recorder = EpochRecorder(3, 2)
    with pytest.raises(ValueError, match=message):
        recorder.add(indices, target_classes, probabilities)
    assert recorder.count == 0


def test_an_empty_batch_is_nothing():
    recorder = EpochRecorder(3, 2)
    recorder.add(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.float32))
    assert recorder.count == 0
