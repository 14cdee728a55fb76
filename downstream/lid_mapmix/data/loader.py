"""The loader for S3PRL's runner: workers, position within the epoch, keyed random state."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from ..utils.errors import UserError
from ..utils.randomness import keyed_seed
from .crops import KeptFeatures


class Batches(Protocol):
    """Lists of keys of a dataset, as a list or drawn one by one."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[list]: ...


class _Reporting(Dataset):
    """A dataset that returns user errors as values.

    A DataLoader wraps an error of a worker in a text with the worker's traceback; a value keeps its single line.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.dataset[key]
        except UserError as error:
            return error


class _Collate:
    """Collate a batch, or return the first user error in it."""

    def __init__(self, collate: Callable[[list], Any]) -> None:
        self.collate = collate

    def __call__(self, items: list) -> Any:
        return next((item for item in items if isinstance(item, UserError)), None) or self.collate(items)


class TaskLoader:
    """Iterate over (waveforms, batch), starting at any batch of an epoch.

    Before each batch, torch's global generators, which dropout and SpecAugment in upstreams use, are seeded from
    the seed, the epoch and the number of the batch: a step does not depend on evaluations before it or on where
    a run was interrupted.
    """

    def __init__(
        self,
        dataset: Dataset,
        batches: Batches,
        *,
        workers: int,
        seed: int | None = None,
        epoch: int = 0,
        first_batch: int = 0,
        process: int = 0,
        kept: KeptFeatures | None = None,
    ) -> None:
        """Set up the loader.

        Parameters
        ----------
        dataset : with a ``collate`` method.
        batches : the remaining batches of this epoch.
        workers : processes that read audio; 0 reads in this process.
        seed, epoch : key the random state of each step; without a seed it is not set, as in evaluation.
        first_batch : number within the epoch of the first of `batches`.
        process : rank of this process; each has its own random state.
        kept : told the numbers of each batch.
        """
        self.position = first_batch
        self.epoch = epoch
        self._seed = seed
        self._kept = kept
        # Rank 0 draws the same as a single process.
        self._process = (process,) if process else ()
        self._loader = DataLoader(
            _Reporting(dataset),
            batch_sampler=batches,
            collate_fn=_Collate(dataset.collate),  # type: ignore[attr-defined]
            num_workers=min(workers, len(batches)),
            # Without its own generator, the loader would draw its workers' seeds from the global one.
            generator=torch.Generator().manual_seed(0),
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for loaded in self._loader:
            if isinstance(loaded, UserError):
                raise loaded
            if self._seed is not None:
                torch.manual_seed(keyed_seed(self._seed, "step", self.epoch, self.position, *self._process))
            # The runner saves between two batches; this number of completed batches is what it saves.
            self.position += 1
            if self._kept is not None:
                self._kept.announce(loaded[1].waveforms.slot.tolist())
            yield loaded
