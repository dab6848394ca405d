"""Images and texts of requests become embeddings, in batches that several requests share."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from eml.errors import ConfigError
from eml.inference.exported.model import ExportedModel
from eml.serving.answers import EmbeddedItem, EngineFacts, ServedImage
from eml.serving.batching import Batcher, NoObserver, Run, Vector
from eml.serving.checks import item_problem
from eml.serving.decoding import decode_served

if TYPE_CHECKING:
    from concurrent.futures import Future

    from eml.inference.any_model import AnyModel
    from eml.serving.limits import ServingLimits
    from eml.serving.served_index import ServedIndex

IMAGE, OWN, TEXT = "image", "own", "text"
"""Kinds of a batch: queries, images for the index where another model embeds these, texts."""
HEALTHY_FOR = 1.0
"""Seconds for which a check of the health counts."""


class ServedEmbedding:
    """Embeds what requests hold.

    Args:
        model: What embeds.
        index: Whose own model embeds what is added to it; None: there is none.
        limits: Bounds of images and of the queue.

    Attributes:
        batcher: Joins what several requests hold.
    """

    def __init__(self, model: AnyModel, index: ServedIndex | None, limits: ServingLimits) -> None:
        self.model, self.index, self.limits = model, index, limits
        self._takes_text = model.takes_text
        runs: dict[str, Run] = {IMAGE: embeds_by(model), TEXT: lambda texts: list(model.embed_text(texts))}
        if index is not None:
            runs[OWN] = lambda pixels: embeds_by(index.own_model())(pixels)
        self.batcher = Batcher(runs, limits, NoObserver())
        self._check: tuple[float, Future[Vector]] | None = None

    async def all(self, images: Sequence[ServedImage], texts: Sequence[str] = ()) -> list[EmbeddedItem]:
        """Return the embeddings of images, then of texts.

        Raises:
            ConfigError: The model takes no texts.
        """
        names = [" ".join(text.split()) for text in texts]
        if names and not self._takes_text:
            raise ConfigError(
                "the model has no text tower, so it embeds images alone", code="no-text-tower", parameter="text"
            )
        vectors = self.batcher.run(TEXT, [partial(str, name) for name in names])
        items, outcomes = await asyncio.gather(self.images(images, IMAGE), vectors)
        return items + [_item(name, outcome) for name, outcome in zip(names, outcomes, strict=True)]

    async def images(self, images: Sequence[ServedImage], kind: str) -> list[EmbeddedItem]:
        """Return the embeddings of images. kind: IMAGE for queries, OWN for what is added to the index."""
        model = self.model if kind == IMAGE or self.index is None else self.index.own_model()
        prepares = [
            partial(decode_served, image, model.preprocess, self.limits) for image in images if image.problem is None
        ]
        outcomes = iter(await self.batcher.run(kind, prepares))
        return [
            _item(image.name, next(outcomes))
            if image.problem is None
            else EmbeddedItem(image.name, None, image.problem)
            for image in images
        ]

    async def is_healthy(self) -> bool:
        """Return whether a drawn image is embedded in time; one check at a time, which counts for a second."""
        now, check = time.monotonic(), self._check
        if check is None or (check[1].done() and now - check[0] > HEALTHY_FOR):
            prepare = partial(decode_served, drawn_image(), self.model.preprocess, self.limits)
            check = self._check = now, self.batcher.submit(IMAGE, prepare)
        outcome = asyncio.wrap_future(check[1])
        await asyncio.wait([outcome], timeout=self.limits.seconds)
        return outcome.done() and outcome.exception() is None


def embeds_by(model: AnyModel) -> Run:
    """Return what computes the embeddings of a batch of pixels (H, W, 3); of one image the same bits as `embed`."""
    if isinstance(model, ExportedModel):
        if model.precision == "int8":  # of dynamic ranges: an embedding would depend on the images beside it
            return lambda pixels: [model.embed_arrays(image[None])[0] for image in pixels]
        return lambda pixels: list(model.embed_arrays(np.stack(pixels)))

    def run(pixels: list[Any]) -> list[Vector]:
        import torch

        return list(model.embed_pixels(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)).numpy())

    return run


def device_of(model: AnyModel) -> str:
    """Return the device that a model computes on."""
    return "cpu" if isinstance(model, ExportedModel) else str(model.device)


def facts_of(model: AnyModel, index: ServedIndex | None, name: str, notes: tuple[str, ...]) -> EngineFacts:
    """Return the facts of a model and an index that are served under a name."""
    return EngineFacts(
        name=name,
        fingerprint=model.fingerprint.digest,
        size=model.size,
        shape=model.preprocess.shape,
        backbone=model.backbone,
        precision=model.precision,
        runtime=model.runtime.name if isinstance(model, ExportedModel) else "torch",
        device=device_of(model),
        has_index=index is not None,
        takes_text=model.takes_text,
        calibrated=index is not None and index.state().is_calibrated,
        notes=notes,
    )


def shortened(item: EmbeddedItem, dimensions: int) -> EmbeddedItem:
    """Return the first numbers of an embedding, of unit length."""
    if item.embedding is None:
        return item
    part = item.embedding[:dimensions]
    length = float(np.linalg.norm(part))
    return EmbeddedItem(item.name, part / np.float32(length or 1.0))


def drawn_image() -> ServedImage:
    """Return a real image, drawn with colours in both directions, as a PNG."""
    across = np.linspace(0, 255, 64, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(across, across[:, None], across[::-1]), axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return ServedImage("health", file.getvalue())


def _item(name: str, outcome: Vector | BaseException) -> EmbeddedItem:
    if isinstance(outcome, BaseException):
        return EmbeddedItem(name, problem=item_problem(outcome))
    return EmbeddedItem(name, outcome)
