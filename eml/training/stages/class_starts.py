"""Class weights that begin at means or texts, and the text vectors of a term of the loss."""

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize as unit_length

from eml.head.class_head import ClassHead
from eml.retrieval.arrays import Integers
from eml.training.build import RunParts
from eml.training.stages.features import embed_training_images, rows_to_embed
from eml.training.text_projection import TextFit, project_texts, text_fit

SPREAD = 0.1
"""Several centres of a class are this far from its first vector, as a share of its length."""
IMAGES = 8
"""Images of each class that its mean is of: it is where training begins, which more would not change."""
CLASSES = 500
"""Classes whose means text vectors are compared with, at most, so that it takes a minute with a million classes too."""


def start_classes(parts: RunParts, note: Callable[[str], None] = lambda line: None) -> TextFit | None:
    """Set class weights and text vectors as the config says; all processes call this.

    Args:
        parts: Of the run, whose network is the one that training starts from.
        note: Receives lines for the user.

    Returns:
        Whether texts fit what classes look like; None where the config uses no texts.
    """
    vectors = StartVectors(parts)
    rows = parts.config.head.init.rows(vectors)
    if rows is not None:
        set_class_weights(parts.head, rows)
    off = ["head.init"] if parts.config.head.init.type == "text" and rows is None else []
    if (term := parts.config.text) is not None and parts.head.text_term is not None:
        rows = vectors.texts(check=term.check)
        off += ["text"] if rows is None else []
        if rows is not None:
            parts.head.text_term.set(rows)
    if vectors.fit is not None:
        note(f"class texts: {vectors.fit.text}{_consequence(off, vectors.fit)}")
    return vectors.fit


def _consequence(off: list[str], fit: TextFit) -> str:
    """Return what follows from the fit, as the end of a sentence."""
    if off:
        keys = f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'}"
        return f", so {keys} left out; check: false keeps {'it' if len(off) == 1 else 'them'}"
    return "" if fit.is_related else ", and are used, since check is false"


class StartVectors:
    """Vectors of a run's classes in the space of its embeddings, computed where they are used.

    Args:
        parts: Of the run.
    """

    def __init__(self, parts: RunParts) -> None:
        self.parts = parts
        self.fit: TextFit | None = None

    def means(self) -> Tensor:
        """Return (C, D) unit means of unit embeddings of some training images of each class."""
        return self._means(np.arange(len(self.parts.data.classes)), lambda outputs: outputs)

    def texts(self, *, check: bool) -> Tensor | None:
        """Return (C, D) unit text vectors; with `check` None where they do not fit what classes look like."""
        rows, self.fit = self._texts
        return rows if self.fit.is_related or not check else None

    @cached_property
    def _texts(self) -> tuple[Tensor, TextFit]:
        parts, seed = self.parts, self.parts.config.seed
        count = len(parts.data.classes)
        chosen = np.arange(count)
        if count > CLASSES:
            chosen = np.sort(np.random.default_rng(seed).choice(count, CLASSES, replace=False))
        means, classes = self._means(chosen, self._as_in_training), torch.from_numpy(chosen)

        texts = torch.from_numpy(parts.class_texts.vectors)

        def projected() -> tuple[Tensor, TextFit]:
            return project_texts(texts, parts.head.embedding_size, seed), text_fit(texts[classes], means, seed)

        return parts.processes.from_first(projected)

    def _as_in_training(self, outputs: Tensor) -> Tensor:
        """Return outputs (N, D) as a BatchNorm at the end gives them in training: its running statistics start at 0."""
        *_, last = self.parts.networks.evaluated.neck.modules()
        if not isinstance(last, nn.BatchNorm1d):
            return outputs
        return (outputs - outputs.mean(0)) / outputs.std(0, correction=0).clamp_min(math.sqrt(last.eps))

    def _means(self, classes: Integers, as_embeddings: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the unit means (n, D) of some classes. as_embeddings: outputs of the network → what means are of."""
        parts = self.parts
        of_them = np.flatnonzero(np.isin(parts.data.labels, classes))
        labels = np.searchsorted(classes, parts.data.labels[of_them])
        rows = of_them[rows_to_embed(labels, IMAGES * len(classes))]
        outputs, own = embed_training_images(parts, parts.networks.evaluated, rows=rows)
        places = torch.from_numpy(np.searchsorted(classes, own))
        return parts.processes.from_first(lambda: class_means(as_embeddings(outputs), places, len(classes)))


def set_class_weights(head: ClassHead, rows: Tensor) -> None:
    """Set the class weights to (C, D) unit vectors; several centres of a class lie around its vector."""
    own = head.shard.mine(rows).to(head.class_weights)
    with torch.no_grad():
        if head.class_weights.ndim == 3:
            own = unit_length(own.unsqueeze(1) + SPREAD * unit_length(head.class_weights, dim=2), dim=2)
        head.class_weights.copy_(own)


def class_means(outputs: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return (C, D) unit means of unit vectors.

    Args:
        outputs: (N, D) of any length but 0.
        labels: (N,) from 0.
        classes: C.
    """
    total = torch.zeros(classes, outputs.shape[1], dtype=torch.float64)
    total.index_add_(0, labels, unit_length(outputs.double()))
    return unit_length(total).float()
