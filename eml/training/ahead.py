"""The next batch, fetched while the device computes the one before it."""

from collections.abc import Generator, Iterator

from torch import Tensor

Batch = tuple[Tensor, Tensor]
"""pixels (B, 3, H, W) and rows (B,)."""


class AheadBatches(Iterator[Batch]):
    """Batches in pinned memory, of which the next can be fetched before its turn.

    Only pinned memory is copied to a CUDA device beside this process. To fetch a batch may take as long as its images
    take to read; while the device computes, nothing waits for that. An error in fetching is raised when the batch's
    turn has come, so that the step before it is finished.

    Args:
        batches: Pixels and rows, in order.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._fetched: Batch | Exception | None = None

    def fetch(self) -> None:
        """Fetch the next batch, unless that is done."""
        if self._fetched is not None:
            return
        try:
            pixels, rows = next(self._batches)
            self._fetched = (pixels.pin_memory(), rows)
        except Exception as error:  # StopIteration too
            self._fetched = error

    def close(self) -> None:
        """End the source of the batches, with the processes that read them."""
        if isinstance(self._batches, Generator):
            self._batches.close()

    def __next__(self) -> Batch:
        self.fetch()
        fetched, self._fetched = self._fetched, None
        if isinstance(fetched, Exception):
            raise fetched
        assert fetched is not None, "fetch leaves a batch or an error"
        return fetched
