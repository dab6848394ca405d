"""Images that an index is asked about: their names, embeddings, and where they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from eml.dataset.columns import BOX
from eml.errors import ConfigError, DataError
from eml.files import bytes_digest
from eml.images.thumbnails import shrink
from eml.indexing.answers import NOWHERE, SHOWN, ImagePlace
from eml.inference.embed_images import embed_images
from eml.inference.image_inputs import load_pixels
from eml.inference.image_list import ImageList
from eml.progress import Progress, no_progress

if TYPE_CHECKING:
    from eml.inference.any_model import AnyModel
    from eml.inference.embed import Batching

CHUNK = 4096
"""Images that are embedded before their answers are given, so that memory is bounded for folders of any size."""

ROW = "row of the list"
"""A column that says which rows of a list have an embedding."""


@dataclass(frozen=True)
class Queries:
    """Images with their embeddings.

    Attributes:
        names: (N,) the images' names.
        places: (N,) where the images are.
        embeddings: (M, D) of those that could be read.
        rows: (M,) which of the N these are.
        problems: Which of the N could not be read, and why.
        frame: The N rows of the list; None for images that were given as pixels.
        are_texts: Whether they are texts in place of images, which are their names.
    """

    names: list[str]
    places: list[ImagePlace]
    embeddings: Tensor
    rows: list[int]
    problems: dict[int, str]
    frame: pd.DataFrame | None = None
    are_texts: bool = False

    def refuse_none(self) -> None:
        """Raise a DataError where none of the images could be read."""
        if self.rows or not self.names:
            return
        first, several = min(self.problems), len(self.names) > 1
        count = f"none of {len(self.names):,} files is an image that can be read; the first: " if several else ""
        raise DataError(
            f"{count}{self.names[first]}: cannot be read: {self.problems[first]}", code="no-images", parameter="images"
        )


@dataclass(frozen=True)
class PixelQueries(Queries):
    """Images that were given in memory. contents: (N,) the hashes of the pixels that the model saw."""

    contents: Sequence[str] = ()


def embed_list(
    model: AnyModel, images: ImageList, batching: Batching | None = None, progress: Progress = no_progress
) -> Queries:
    """Embed the images of a list. Those that cannot be read, of the list's unusable files too, are problems.

    Args:
        model: The model.
        images: The list; its unusable files come after its rows.
        batching: Batch size and workers.
        progress: Shows the images.
    """
    count = len(images)
    numbered = replace(images, frame=images.frame.assign(**{ROW: np.arange(count)}))
    embedded = embed_images(model, numbered, batching=batching, progress=progress)
    rows = [int(row) for row in embedded.frame[ROW]]
    unread = sorted(set(range(count)) - set(rows))
    reasons = [problem_text(error) for error in embedded.errors.to_dict("records")]
    outside = len(images.unusable)
    problems = dict(zip([*range(count, count + outside), *unread], reasons, strict=True))
    names = [*images.frame["file_name"].tolist(), *images.unusable["file_name"].tolist()]
    places = [*places_of(images), *(ImagePlace(images.root / name) for name in images.unusable["file_name"])]
    return Queries(names, places, embedded.embeddings, rows, problems, images.frame)


def embed_texts(model: AnyModel, texts: Sequence[str]) -> Queries:
    """Embed texts into the space of the images.

    Raises:
        ConfigError: The model has no text tower, or a text is empty.
    """
    names = [" ".join(text.split()) for text in texts]
    if not all(names):
        raise ConfigError("`text` must not be empty", code="invalid-value", parameter="text")
    try:
        embeddings = torch.from_numpy(model.embed_text(names))
    except ConfigError as error:
        raise ConfigError(str(error.problems[0]), code=error.code, parameter="text") from error
    return Queries(names, [NOWHERE] * len(names), embeddings, list(range(len(names))), {}, are_texts=True)


def embed_in_parts(
    model: AnyModel, images: ImageList, size: int, batching: Batching | None, advance: Callable[[int], None]
) -> Iterator[Queries]:
    """Embed the images of a list in parts of at most `size`, so that memory is bounded.

    Args:
        model: The model.
        images: The list.
        size: Images of a part.
        batching: Batch size and workers.
        advance: Called with the number of images that are done, unusable files too.
    """
    for part in chunks_of(images, size):
        done = 0

        def count(images: int) -> None:
            nonlocal done
            done += images
            advance(images)

        @contextmanager
        def bar(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
            yield count if description.startswith("embedding") else lambda images: None

        yield embed_list(model, part, batching, bar)
        advance(len(part) + len(part.unusable) - done)


def chunks_of(images: ImageList, size: int) -> Iterator[ImageList]:
    """Yield the images in parts of at most `size`; the unusable files come with the last."""
    starts = range(0, max(1, len(images)), size)
    for first in starts:
        frame = images.frame.iloc[first : first + size].reset_index(drop=True)
        unusable = images.unusable if first == starts[-1] else images.unusable.iloc[:0]
        yield replace(images, frame=frame, unusable=unusable)


def problem_text(error: Mapping[Any, Any]) -> str:
    """Return why an image cannot be read: `truncated: the file ends too early`."""
    return ": ".join(str(part) for part in (error["reason"], error["detail"]) if part)


def places_of(images: ImageList) -> list[ImagePlace]:
    """Return where the images of a list are."""
    names = images.frame["file_name"].tolist()
    boxes = boxes_of(images.frame)
    return [ImagePlace(images.root / str(name), box) for name, box in zip(names, boxes, strict=True)]


def boxes_of(frame: pd.DataFrame) -> list[tuple[int, int, int, int] | None]:
    """Return the box of each row, None for a whole image."""
    if not set(BOX) <= set(frame.columns):
        return [None] * len(frame)
    values = frame[list(BOX)].astype("Float64").fillna(-1).to_numpy(np.int64).tolist()
    return [None if left < 0 else (left, top, right, bottom) for left, top, right, bottom in values]


def are_names(images: object) -> bool:
    """Return whether images are given as names of files: one, or a sequence of them."""
    if isinstance(images, str | os.PathLike):
        return True
    return isinstance(images, Sequence) and bool(images) and all(isinstance(name, str | os.PathLike) for name in images)


def embed_pixels(model: AnyModel, images: Any, batch_size: int = 64) -> PixelQueries:
    """Embed images that are given in memory, in any way that `Model.embed` takes, one batch at a time.

    Raises:
        DataError: An image cannot be read.
    """
    parts, contents, places = [torch.zeros(0, model.size)], list[str](), list[ImagePlace]()
    loaded = load_pixels(images, model.preprocess)
    while batch := list(islice(loaded, batch_size)):
        parts.append(model.embed_pixels(torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)))
        contents += [bytes_digest(pixels.tobytes()) for pixels in batch]
        shown = batch[: max(0, SHOWN - len(places))]
        places += [ImagePlace(None, pixels=shrink(Image.fromarray(pixels))) for pixels in shown]
        places += [NOWHERE] * (len(batch) - len(shown))
    names = [f"image {number}" for number in range(1, len(places) + 1)]
    return PixelQueries(names, places, torch.cat(parts), list(range(len(places))), {}, contents=contents)
