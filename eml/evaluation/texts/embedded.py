"""The texts of a set as vectors in the space of a model's images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.evaluation.texts.text_set import TextSet
from eml.inference.any_model import AnyModel, text_scale
from eml.retrieval.tip_adapter import SCALE

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts (N) → vectors of unit length (N, D)."""


@dataclass(frozen=True)
class CachedImages:
    """Embedded images of known classes, which a cache is made of.

    Attributes:
        embeddings: (N, D).
        labels: (N,) their classes among the named ones, 0…C−1.
        source: The table or embeddings file that they are from.
        left_out: Images of that source whose classes the set lacks.
    """

    embeddings: Tensor
    labels: NDArray[np.int64]
    source: str
    left_out: int = 0


@dataclass(frozen=True)
class EmbeddedTexts:
    """The texts of a set with their vectors, in the space of the images of one model.

    Attributes:
        texts: The texts.
        captions: (T, D) of the captions; None without such.
        classes: (C, D) of the classes, each the mean of its texts' unit vectors; None without such.
        scale: Of the cosines of images and texts, in the loss that the model was trained with.
        labelled: Images for a cache; None without such.
    """

    texts: TextSet
    captions: Tensor | None
    classes: Tensor | None
    scale: float = SCALE
    labelled: CachedImages | None = None

    def without_vectors(self) -> "EmbeddedTexts":
        """Return a copy without the vectors and images, which take memory."""
        return replace(self, captions=None, classes=None, labelled=None)


def embed_texts(texts: TextSet, model: "AnyModel | None", size: int) -> EmbeddedTexts:
    """Embed the texts of a set by the text tower of a model, or take the vectors of a file.

    Args:
        texts: The texts.
        model: The model; None for embeddings from a file, with text vectors of one.
        size: The embedding size D of the images.

    Raises:
        ConfigError: The model embeds no texts.
        DataError: The vectors of a file are of another size than the embeddings.
    """
    classes, captions = texts.classes, texts.captions
    vectors = None if classes is None else classes.vectors
    if vectors is not None and vectors.size != size:
        text = f"text vectors of {vectors.size:,} numbers by {vectors.encoder.name}, and embeddings of {size:,}: they"
        text = f"{text} are of different spaces; give vectors by the text tower of the network that embeds the images"
        raise DataError(text, code="wrong-shape", parameter="text_vectors")
    scale = vectors.encoder.logit_scale if vectors is not None else None
    if model is not None and model.takes_text:
        scale = text_scale(model)[0]
    of_classes = None if vectors is None else torch.from_numpy(vectors.vectors)
    if classes is not None and of_classes is None:
        of_classes = class_vectors(classes.texts, _embed(model))
    of_captions = None if captions is None else torch.from_numpy(_embed(model)(captions.texts))
    return EmbeddedTexts(texts, of_captions, of_classes, scale or SCALE)


def _embed(model: "AnyModel | None") -> Embed:
    assert model is not None, "the options refuse texts to embed without a model"
    return model.embed_text


def class_vectors(texts: Sequence[Sequence[str]], embed: Embed) -> Tensor:
    """Return (C, D) means of the unit vectors of each class's texts; the same text is embedded once."""
    unique = list(dict.fromkeys(text for own in texts for text in own))
    row_of = {text: row for row, text in enumerate(unique)}
    vectors = embed(unique)
    means = [vectors[[row_of[text] for text in own]].mean(axis=0, dtype=np.float64) for own in texts]
    return torch.from_numpy(np.stack(means).astype(np.float32))
