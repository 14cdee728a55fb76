"""What torch computes with one thread, so that it does not depend on how many there are."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, as it does in the workers of a DataLoader.

    With more, a convolution adds up in another order, and the last bits of what is resampled in the main process
    (``data.workers`` 0) would be others than in a worker, and others on another machine.
    """
    count = torch.get_num_threads()
    if count == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
