"""The batches of a training run, from image files or caches."""

import re
import shlex
from collections.abc import Iterator
from functools import cached_property

from torch import Tensor

from eml.distributed.sharded_network import is_sharded
from eml.images.loading import EpochBatches, ImageDataset, batches
from eml.images.packed.rereading import rereading
from eml.images.source import ImageSource
from eml.inference.images import table_images
from eml.storage import is_remote
from eml.training.ahead import AheadBatches
from eml.training.build import RunParts
from eml.training.caches import planned_caches
from eml.training.events import Caching, Note, Observer
from eml.training.process_checks import check_parts

_IN_PARQUET = re.compile(r"\.parquet(?=/)", re.IGNORECASE)


class TrainingBatches:
    """The batches of a run.

    Attributes:
        sources: Caches that have been filled: of the training images under None, of validation sets under their names.
        counts: How many images of the epoch's batches each process has; None before the first epoch.
    """

    def __init__(self, parts: RunParts) -> None:
        self.parts = parts
        self.sources: dict[str | None, ImageSource] = {}
        self.counts: list[int] | None = None
        self._ahead: AheadBatches | None = None

    def fill_caches(self, observe: Observer) -> None:
        """Fill the image caches that the config asks for; before the first epoch."""
        parts = self.parts
        if parts.config.data.cache is None:
            return
        for name, cache in planned_caches(
            parts.config.data.cache, parts.table, parts.data, parts.validation.sets, parts.preprocess, parts.augmenter
        ):
            filled = cache.fill(lambda line: observe(Note(line)), lambda done, total: observe(Caching(done, total)))
            self.sources[name] = filled.source

    def rereading(self) -> str | None:
        """Return what a shuffled order of images in compressed Parquet costs; None where there are none."""
        root = self.parts.table.root
        if None in self.sources or is_remote(root):
            return None
        names = self.parts.data.frame["file_name"].tolist()
        files = {name[: match.end()] for name in names if (match := _IN_PARQUET.search(name)) is not None}
        again = rereading([root / file for file in sorted(files)])
        return again and f"{again}: eml pack {shlex.quote(str(self.parts.table.source))} FOLDER"

    def of_epoch(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pixels and rows of this process's part of an epoch's batches, with the modules in training mode.

        Args:
            epoch: Number of the epoch, from 1.
            first_step: The epoch's first batch that is not trained on yet, from 0.
        """
        config, processes = self.parts.config, self.parts.processes
        self.parts.set_training_mode()
        order = config.sampler.epoch(self.parts.classes, config.batch_size, config.seed, epoch)
        if is_sharded(self.parts.embedder):  # with few images a batch is smaller than the config's
            check_parts(order.shape[1], config.accumulate, processes)
        share = EpochBatches(order, epoch, first_step, rank=processes.rank, world=processes.world)
        self.counts = share.counts
        coming = batches(self.images, share, self.parts.workers)
        self._ahead = AheadBatches(coming) if self.parts.device.type == "cuda" else None
        yield from self._ahead or coming

    def fetch_next(self) -> None:
        """Fetch the epoch's next batch before its turn, where a device computes meanwhile."""
        if self._ahead is not None:
            self._ahead.fetch()

    @cached_property
    def images(self) -> ImageDataset:
        """The training images, from their cache if there is one."""
        parts, source = self.parts, self.sources.get(None)
        augmenter, seed = parts.augmenter, parts.config.seed
        return table_images(
            parts.table, parts.data.frame, parts.preprocess, source=source, augmenter=augmenter, seed=seed
        )
