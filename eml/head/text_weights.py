"""Class weights that are the embeddings of class texts, computed in each step by the text tower."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from eml.devices import to_device
from eml.files import text_digest
from eml.head.active_classes import ActiveClasses
from eml.head.shards import Shard
from eml.images.random import key_of, uniform
from eml.margins.base import to_unit
from eml.models.text_tower import TextTower

LARGEST_LOG_SCALE = math.log(100)
"""Of cosines, as CLIP's training has it (Radford 2021, arXiv:2103.00020, 2.5)."""
EXAMPLES = 2
"""Texts that are shown to the user."""


@dataclass(frozen=True)
class TextSettings:
    """Settings of text weights.

    negatives: compare with the texts of the `batch`'s classes, or of `all`. texts: of a class with several texts, one
    is `drawn` in each step, or their `mean` is taken. at_once: most texts that go through the tower at once. precision:
    that autocast rounds its products to; None: no autocast. seed: of the draws.
    """

    negatives: Literal["batch", "all"] = "batch"
    texts: Literal["drawn", "mean"] = "drawn"
    at_once: int = 256
    precision: torch.dtype | None = None
    seed: int = 0


class TextWeights:
    """The texts of the classes, and the text tower that embeds them.

    Where several processes share the classes, each embeds the texts of its own. A tower that does not train embeds
    each text once.

    Args:
        tower: Embeds tokens; its parameters are not those of the head.
        texts: For each class in order, its texts, one at least.
        settings: How they are compared and embedded.

    Attributes:
        tower: The tower.
        digest: Of the texts of all classes.
        too_long: The texts that are cut off.
        count: Of distinct texts.
        step: Of the training, from 0, by which texts are drawn; set it before each step.
    """

    def __init__(self, tower: TextTower, texts: Sequence[Sequence[str]], settings: TextSettings | None = None) -> None:
        self.tower, self.settings, self.step = tower, settings or TextSettings(), 0
        counts = np.array([len(of_class) for of_class in texts])
        if not len(counts) or counts.min() < 1:
            raise ValueError("each class needs one text at least")
        self._counts = counts
        self._firsts = counts.cumsum() - counts
        flat = [text for of_class in texts for text in of_class]
        distinct, places = np.unique(np.array(flat, object), return_inverse=True)
        self._places = torch.from_numpy(places)  # of each text among the distinct ones
        self.tokens = tower.tokenize(distinct.tolist()).int()  # half the memory
        self.too_long, self.count = tower.too_long(distinct.tolist()), len(distinct)
        self.digest = text_digest(json.dumps([list(of_class) for of_class in texts]))
        self._examples = [of_class[0] for of_class in texts[:EXAMPLES]]
        self._fixed: Tensor | None = None  # embeddings of all texts, where the tower does not train

    @property
    def trains(self) -> bool:
        """Whether the tower trains."""
        return any(weight.requires_grad for weight in self.tower.network.parameters())

    def plan(self, batch_size: int) -> dict[str, int]:
        """Return the most classes and the most texts of a step in all processes. batch_size: of all processes."""
        most = len(self._counts) if self.settings.negatives == "all" else min(batch_size, len(self._counts))
        per_class = np.sort(self._counts)[-most:] if self.settings.texts == "mean" else np.ones(most, np.int64)
        return {"most": most, "texts": int(per_class.sum())}

    def describe(self) -> str:
        """Return a line for the user: how many texts there are, examples, and what they are compared as."""
        several = int((self._counts > 1).sum())
        total = f"{len(self.tokens):,} distinct class texts"
        if several:
            share = "all classes" if several == len(self._counts) else f"{several:,} of {len(self._counts):,} classes"
            drawn = "one drawn in each step" if self.settings.texts == "drawn" else "whose mean is taken"
            total += f", several of {share}, {drawn}"
        trains = "" if self.trains else "; the text tower does not train"
        return f"{total}, such as {', '.join(map(repr, self._examples))}{trains}"

    def active(self, labels: list[Tensor], host_labels: list[Tensor] | None, shard: Shard) -> ActiveClasses:
        """Return the classes of this process that a step compares images with, their weights embedded with a gradient.

        labels: (B,) for each label of a sample, of all processes. host_labels: the same on the CPU, where known.
        """
        host = host_labels or [row_labels.cpu() for row_labels in labels]
        classes = torch.arange(shard.num_classes)
        if self.settings.negatives == "batch":
            classes = torch.cat(host).unique()
        own = classes[(classes >= shard.start) & (classes < shard.stop)]
        places = [self._places_in(own, row_labels, shard) for row_labels in host]
        device = labels[0].device
        return ActiveClasses(
            weights=self.embed(own),
            labels=labels,
            places=[to_device(row_places, device) for row_places in places],
            compared=len(classes),
            count=len(classes),
            ids=to_device(own - shard.start, device) if self.settings.negatives == "batch" else None,
        )

    @staticmethod
    def _places_in(own: Tensor, labels: Tensor, shard: Shard) -> Tensor:
        """Return the (B,) place of each label among the sorted `own` classes, −1 for a class of another process."""
        here = (labels >= shard.start) & (labels < shard.stop)
        return torch.where(here, torch.searchsorted(own, labels), -1)

    def embed(self, classes: Tensor) -> Tensor:
        """Return (n, D) embeddings of the classes' texts in this step, of unit length for a mean of several.

        Without a class one text is embedded for nothing: in all processes all of the tower's weights then have a
        gradient, zeros here, to be summed.
        """
        ids = classes.numpy() if len(classes) else np.zeros(1, np.int64)
        if self.settings.texts == "mean":
            owners = np.repeat(np.arange(len(ids)), self._counts[ids])
            places = np.concatenate([self._firsts[i] + np.arange(self._counts[i]) for i in ids])
            texts = to_unit(self._embed_texts(self._places[places]))
            weights = texts.new_zeros(len(ids), texts.shape[1])
            weights = to_unit(weights.index_add(0, to_device(torch.from_numpy(owners), texts.device), texts))
        else:
            weights = self._embed_texts(self._places[self._firsts[ids] + self._drawn(ids)])
        return weights[: len(classes)]

    def _drawn(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which of its texts each class has in this step: a function of seed, step and class."""
        random = uniform(key_of(self.settings.seed, self.step), ids, 1)[:, 0]
        return np.asarray(random * self._counts[ids], np.int64)

    def _embed_texts(self, places: Tensor) -> Tensor:
        """Return (n, D) float32 embeddings of the distinct texts at these places."""
        if self.trains:
            return self._through_tower(self.tokens[places])
        if self._fixed is None:
            with torch.no_grad():
                self._fixed = self._through_tower(self.tokens)
        return self._fixed[to_device(places, self._fixed.device)]

    def _through_tower(self, tokens: Tensor) -> Tensor:
        device, precision = self.tower.logit_scale.device, self.settings.precision
        parts = tokens.split(self.settings.at_once)
        run = self.tower if len(parts) == 1 or not torch.is_grad_enabled() else self._recomputed
        with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
            embedded = [run(to_device(part, device).long()) for part in parts]
        return torch.cat([part.float() if part.dtype != torch.float64 else part for part in embedded])

    def _recomputed(self, tokens: Tensor) -> Tensor:
        """Return the embeddings without their activations, which the backward pass computes again."""
        embeddings: Tensor = checkpoint(self.tower, tokens, use_reentrant=False)
        return embeddings

    def scale(self, shard: Shard) -> Tensor:
        """Return the factor () from cosine to logit."""
        return _in_first(self.tower.logit_scale, shard).exp()

    def directions(
        self, embeddings: Tensor, active: ActiveClasses, scale: Tensor, shard: Shard
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the losses text→image (B,), or those of all pairs where the tower was pretrained with sigmoids.

        Args:
            embeddings: (B, D) of unit length, of all processes.
            active: Classes of this process.
            scale: () from cosine to logit.
            shard: Of this process.
        """
        if self.tower.logit_bias is None:
            return text_to_image(embeddings, active, scale, shard), None
        return None, sigmoid_pairs(embeddings, active, scale, _in_first(self.tower.logit_bias, shard), shard)

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Keep the factor above 1, and up to 100 unless the tower was pretrained with sigmoids, which have no bound."""
        self.tower.logit_scale.clamp_(0, LARGEST_LOG_SCALE if self.tower.logit_bias is None else None)


def _in_first(shared: Tensor, shard: Shard) -> Tensor:
    """Return a parameter whose gradient, equal in all processes, counts in the first one: the network's are summed."""
    return shared if shard.rank == 0 else shared.detach() + 0.0 * shared


def sigmoid_pairs(embeddings: Tensor, active: ActiveClasses, scale: Tensor, bias: Tensor, shard: Shard) -> Tensor:
    """Σ −ln σ(±(s·c + b)) over the texts, (B,), with + for the image's own class. Zhai 2023, arXiv:2303.15343.

    The arguments are those of `text_to_image`. bias: () added to scaled cosines.
    """
    rows = to_unit(active.weights.to(embeddings.dtype))
    logits = shard.into(scale) * (embeddings @ rows.T) + shard.into(bias)  # (B, n)
    own = active.places[0].unsqueeze(1) == torch.arange(len(rows), device=logits.device)
    return shard.total(-logsigmoid(torch.where(own, logits, -logits)).sum(1))


def text_to_image(embeddings: Tensor, active: ActiveClasses, scale: Tensor, shard: Shard) -> Tensor:
    """Return the (B,) losses −ln p of each image among those of the batch, for the text of its class.

    The mean over a class's images is the cross-entropy of its text with a target spread evenly over them.

    Args:
        embeddings: (B, D) of unit length, of all processes.
        active: Classes of this process, the batch's among them.
        scale: () from cosine to logit.
        shard: Of this process.
    """
    rows = to_unit(active.target_weights()[0].to(embeddings.dtype))  # (B, D), zeros for a class of another process
    logits = shard.into(scale) * (embeddings @ rows.T)  # (B images, B texts)
    losses = logits.logsumexp(0) - logits.diagonal()
    return shard.total(torch.where(active.places[0] >= 0, losses, 0.0))
