"""The engine of a server: images and texts in, embeddings, neighbours and classes out, whatever the protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from eml.errors import ConfigError, DataError, EmlError
from eml.files import bytes_digest
from eml.serving.answers import (
    ChangeReply,
    ClassifyReply,
    ClassItem,
    EmbeddingsReply,
    EngineFacts,
    SearchReply,
    ServedImage,
    ServedIndexState,
)
from eml.serving.batching import ClosingError as ClosingError
from eml.serving.batching import DeadlineError as DeadlineError
from eml.serving.batching import QueueFullError as QueueFullError
from eml.serving.batching import ServingObserver, late
from eml.serving.checks import check_classify, check_items, check_names, check_search, check_texts, labels_and_names
from eml.serving.decoding import decode_served
from eml.serving.embedding import OWN, ServedEmbedding, device_of, drawn_image, embeds_by, facts_of, shortened
from eml.serving.joining import JoinedCalls, Queries, classify_together, search_together
from eml.serving.limits import ServingLimits, batch_of
from eml.serving.opening import open_served
from eml.serving.work_threads import WorkThreads

if TYPE_CHECKING:
    from eml.inference.any_model import AnyModel
    from eml.serving.served_index import ServedIndex

Output = TypeVar("Output")


class ServingEngine:
    """A model, and an index where there is one, that answer many clients at once.

    Its coroutines may be awaited in any event loop; none blocks it. Images are decoded in a few threads, the network
    runs in one, the index is read in one and changed in one. `open` makes one by name.

    Args:
        model: What embeds.
        index: What is searched; None: embeddings alone.
        name: In answers.
        limits: Bounds of requests and of the queue.
        notes: What to know of the model.
    """

    def __init__(
        self,
        model: AnyModel,
        index: ServedIndex | None = None,
        *,
        name: str = "",
        limits: ServingLimits | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        limits = limits or ServingLimits()
        self.model, self.index = model, index
        self.limits = replace(limits, batch=limits.batch or batch_of(device_of(model)))
        self._name, self._notes = name or model.backbone, notes
        self._embedding = ServedEmbedding(model, index, self.limits)
        self._batcher = self._embedding.batcher
        self._reading, self._writing = WorkThreads("search"), WorkThreads("change")
        self._parsing = WorkThreads("parse", 2)
        self._joined: JoinedCalls[Queries, Any] = JoinedCalls(self._reading, self.limits.items)

    @classmethod
    def open(
        cls,
        source: Path | str,
        *,
        model: str | None = None,
        device: str = "auto",
        limits: ServingLimits | None = None,
        onnx: bool | None = None,
        loading: Mapping[str, Any] = {},
    ) -> Self:
        """Open what is served, and embed one image, so that what cannot work fails now.

        Args:
            source: An index's folder, a run, a checkpoint, a file of eml export or timm:NAME.
            model: For an index: what embeds the queries in place of its own model, as `Index.open` takes it.
            device: auto, cpu, cuda, cuda:N or mps.
            limits: Bounds of requests and of the queue.
            onnx: Whether a proven export of the model, model.onnx beside the checkpoint or in the index's folder,
                embeds in its place: True: it must be there; None: where it is there and its package is installed.
            loading: Arguments of `eml.load` for a model without an index: weights, image_size, precision.

        Raises:
            DataError: The index is damaged.
            CheckpointError: The model cannot be loaded, or is not that of the index.
            ConfigError: The arguments do not fit together, or a package is missing.
        """
        opened = open_served(source, model, device, onnx=onnx, loading=loading)
        engine = cls(opened.model, opened.index, name=opened.name, limits=limits, notes=opened.notes)
        embeds_by(opened.model)([decode_served(drawn_image(), opened.model.preprocess, engine.limits)])
        return engine

    @property
    def observer(self) -> ServingObserver:
        """The observer that is told of batches, the queue, answers and refusals."""
        return self._batcher.observer

    @observer.setter
    def observer(self, observer: ServingObserver) -> None:
        self._batcher.observer = observer

    @cached_property
    def facts(self) -> EngineFacts:
        """The facts of what is served, as they were when they were first asked for."""
        return facts_of(self.model, self.index, self._name, self._notes)

    @property
    def generation(self) -> int | None:
        """The generation of the index now; None without an index."""
        return None if self.index is None else self.index.generation

    @property
    def queue_depth(self) -> int:
        """The number of images and texts that wait or are computed."""
        return self._batcher.depth

    @property
    def is_closing(self) -> bool:
        """Whether new requests are refused."""
        return self._batcher.is_closing

    def retry_after(self) -> float:
        """Return the seconds in which what waits will be done, by the measured rate."""
        return self._batcher.retry_after()

    async def index_state(self) -> ServedIndexState:
        """Return the state of the index now.

        Raises:
            DataError: There is no index.
        """
        index = self._own_index()
        return await asyncio.to_thread(index.state)

    async def embed(
        self, images: Sequence[ServedImage], texts: Sequence[str] = (), *, dimensions: int | None = None
    ) -> EmbeddingsReply:
        """Return the embeddings of images, then of texts.

        Args:
            images: The images.
            texts: Texts, for a model that takes them.
            dimensions: The first numbers of each embedding, brought to unit length again; None: all.

        Raises:
            ConfigError: There is nothing to embed, or too much; the model takes no texts; `dimensions` is out of range.
            QueueFullError: The queue has no room.
            DeadlineError: It took too long.
            ClosingError: The engine ends.
        """
        async with self._answering("embed", images, texts):
            if dimensions is not None and not 1 <= dimensions <= self.model.size:
                text = f"dimensions must be 1 to {self.model.size:,}, the embedding size, got {dimensions:,}"
                raise ConfigError(text, code="out-of-range", parameter="dimensions")
            items = await self._embedding.all(images, texts)
            if dimensions is not None:
                items = [shortened(item, dimensions) for item in items]
            return EmbeddingsReply(self.facts.fingerprint, tuple(items))

    async def search(
        self,
        images: Sequence[ServedImage],
        texts: Sequence[str] = (),
        *,
        k: int = 5,
        where: str | None = None,
        per_class: bool = False,
        classify: bool = False,
    ) -> SearchReply:
        """Return the nearest images of the index for each image, then for each text; see `Index.search`.

        Args:
            images: The images.
            texts: Texts, for a model that takes them; their answers have no probabilities.
            k: Neighbours of each.
            where: A condition on the images.
            per_class: Whether only the nearest image of each class is given.
            classify: Whether the class of each image is given too, by the whole index, as `classify` gives it.

        Raises:
            DataError: There is no index, or it is damaged.
            ConfigError: The condition cannot be understood; otherwise as `embed`.
        """
        async with self._answering("search", images, texts):
            index = self._own_index()
            check_search(k, where, self.limits)
            if where is not None:
                await self._in(self._reading, partial(index.check_condition, where))
            items = await self._embedding.all(images, texts)
            parts = items[: len(images)], items[len(images) :]
            key = ("search", k, where, per_class, classify)
            together = partial(search_together, index, k, where, per_class=per_class, classify=classify)
            reply: SearchReply = await self._with_others(key, together, parts)
            self._count_unknown([item.classified for item in reply.items if item.classified is not None])
            return reply

    async def classify(self, images: Sequence[ServedImage], *, unknown_share: float | None = None) -> ClassifyReply:
        """Return the class of each image, with its probability, and whether it counts as unknown; see `Index.classify`.

        Args:
            images: The images.
            unknown_share: The share of images of no class that is expected; None: that of the calibration.

        Raises:
            DataError: There is no index, or it is damaged.
            ConfigError: `unknown_share` is out of range; otherwise as `embed`.
        """
        async with self._answering("classify", images):
            index = self._own_index()
            check_classify(unknown_share)
            items = await self._embedding.all(images)
            together = partial(classify_together, index, unknown_share)
            reply: ClassifyReply = await self._with_others(("classify", unknown_share), together, (items, []))
            self._count_unknown(reply.items)
            return reply

    async def add(
        self,
        images: Sequence[ServedImage],
        labels: str | Sequence[str],
        file_names: Sequence[str] | None = None,
    ) -> ChangeReply:
        """Add images to the index, as one change; those that cannot be read or are there already are left out.

        Args:
            images: The images.
            labels: One for each, or one for all; an empty one is none.
            file_names: Their names in the index, relative ones; None: those of the images, where they are such names.

        Raises:
            DataError: There is no index, it cannot be written, or there are not as many labels as images.
            CheckpointError: The index's own model is gone.
        """
        async with self._answering("add", images):
            index = self._own_index()
            all_labels, names = labels_and_names(images, labels, file_names, self.limits)
            await self._in(self._writing, index.own_model)
            items = await self._embedding.images(images, OWN)
            contents = [bytes_digest(image.data) for image in images]
            return await self._in(self._writing, partial(index.add, items, contents, all_labels, names), is_change=True)

    async def remove(
        self, *, labels: Sequence[str] = (), file_names: Sequence[str] = (), ids: Sequence[int] = ()
    ) -> ChangeReply:
        """Remove the images of these classes, file names and ids, as one change.

        Raises:
            DataError: There is no index, or it has no such image; nothing is removed then.
            ConfigError: Nothing is named, or too much.
        """
        async with self._answering("remove"):
            index = self._own_index()
            if not (labels or file_names or ids):
                text = "name what to remove, by `labels`, `file_names` or `ids`"
                raise ConfigError(text, code="missing-key", parameter="labels")
            check_names(len(labels) + len(file_names) + len(ids))
            check_texts(labels, self.limits, "labels", may_be_empty=True)
            check_texts(file_names, self.limits, "file_names")
            return await self._in(self._writing, partial(index.remove, labels, file_names, ids), is_change=True)

    async def is_healthy(self) -> bool:
        """Return whether an image is embedded in time; one check at a time, which counts for a second.

        It takes no room in the queue: a server that has much to do is healthy.
        """
        return not self.is_closing and await self._embedding.is_healthy()

    def refuse_new(self) -> None:
        """Refuse new requests with a ClosingError; those that came before are answered."""
        self._batcher.refuse_new()

    async def close(self) -> None:
        """Refuse new requests, answer those that came before, and end the threads; a second call does nothing."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._batcher.refuse_new()
        for threads in (self._parsing, self._batcher, self._reading, self._writing):
            threads.close()
        if self.index is not None:
            self.index.close()

    def _count_unknown(self, items: Sequence[ClassItem]) -> None:
        unknown = [item.unknown for item in items if item.unknown is not None]
        if unknown:
            self.observer.unknown(sum(unknown), len(unknown))

    @asynccontextmanager
    async def _answering(
        self, kind: str, images: Sequence[ServedImage] = (), texts: Sequence[str] = ()
    ) -> AsyncIterator[None]:
        """Hold room in the queue in the block, let it end in time, and tell the observer how it went."""
        begun = time.perf_counter()
        try:
            if kind != "remove":
                check_items(len(images), len(texts), self.limits)
                check_texts(texts, self.limits, "text")
            size = sum(len(image.data) for image in images) + sum(map(len, texts))
            with self._batcher.room(max(1, len(images) + len(texts)), size):
                try:
                    async with asyncio.timeout(self.limits.seconds):
                        yield
                except TimeoutError as error:
                    raise late(self.limits.seconds) from error
        except EmlError as error:
            self.observer.refused(error.code)
            raise
        self.observer.answered(kind, time.perf_counter() - begun)

    def _own_index(self) -> ServedIndex:
        if self.index is None:
            text = "a model is served, without an index to search; serve the folder of an index"
            raise DataError(text, code="not-an-index")
        return self.index

    async def parse(self, function: Callable[[], Output]) -> Output:
        """Return what a function returns in one of the two threads that read large requests.

        Where nobody waits for it any more it is not begun, or its result thrown away.
        """
        return await asyncio.wrap_future(self._parsing.submit(function))

    async def _with_others(
        self, key: Hashable, together: Callable[[list[Queries]], list[Output]], queries: Queries
    ) -> Output:
        """Return the answer to queries, by one call of the index for all requests of a key that wait for it."""
        size = sum(map(len, queries))
        return await asyncio.wrap_future(self._joined.submit(key, together, queries, size))

    async def _in(self, threads: WorkThreads, function: Callable[[], Output], *, is_change: bool = False) -> Output:
        """Return what a function returns in a thread. A change that has begun is waited for, also past the deadline."""
        future = threads.submit(function)
        waiting = asyncio.wrap_future(future)
        return await (asyncio.shield(waiting) if is_change else waiting)
