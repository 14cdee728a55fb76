"""Reading a corpus with threads."""

import time

import pytest
from lid_mapmix.data.audio.lengths import in_threads


def test_an_interruption_waits_for_the_file_at_hand_only():
    """Ctrl-C waited for the 64 files of each job that had begun, which may be hours of audio."""
    read = []

    def work(files):
        for file in files:
            read.append(file)
            if file == 3:
                raise KeyboardInterrupt
            time.sleep(0.02)

    with pytest.raises(KeyboardInterrupt):
        in_threads(work, 200, 2, "files")
    assert len(read) < 20
