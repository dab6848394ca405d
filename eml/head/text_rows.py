"""The text vectors of a head's classes, and the term of the loss that is made of them."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from eml.head.active_classes import ActiveClasses, rows_at
from eml.head.buffers import NamedBuffers
from eml.head.class_weights import shortened
from eml.head.shards import Shard
from eml.head.text_terms import TextTerm
from eml.head.text_terms.base import TextInputs
from eml.losses import Terms
from eml.margins.base import to_unit


class TextRows:
    """Text vectors (c, D) of the classes of a shard, kept in the head's buffers `text_*`.

    The term is off until `set` has given the vectors.

    Args:
        module: The head.
        term: Of the loss.
        shard: Classes that this process holds.
        embedding_size: D.
        dtype: Of the vectors.
    """

    def __init__(
        self, module: nn.Module, term: TextTerm, shard: Shard, embedding_size: int, dtype: torch.dtype
    ) -> None:
        self.term, self.shard = term, shard
        initial = {"rows": torch.zeros(len(shard), embedding_size), "on": torch.zeros((), dtype=torch.int64)}
        self.buffers = NamedBuffers(module, "text", initial, dtype)

    def set(self, rows: Tensor) -> None:
        """Set the vectors (C, D) of all classes, of unit length or zero, and turn the term on."""
        own = self.shard.mine(rows).to(self.buffers["rows"])
        self.buffers.replace({"rows": own, "on": torch.ones_like(self.buffers["on"])})

    @property
    def is_on(self) -> bool:
        """Whether the term acts."""
        return bool(self.buffers.number("on"))

    def add_to(self, terms: list[Terms], embeddings: Tensor, active: ActiveClasses, progress: float) -> list[Terms]:
        """Return the loss terms for each label of a sample with the term in their penalty.

        Args:
            terms: For each label, as the class head has them.
            embeddings: (B, D) of all processes.
            active: The classes of the step, with the labels.
            progress: How far the training is, in [0, 1].
        """
        factor = self.term.factor(progress)
        if not self.is_on or factor == 0:
            return terms
        small, _ = shortened(embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)))
        targets = active.target_weights()
        penalties = [
            factor * self.term.penalty(self._inputs(to_unit(small), labels, rows))
            for labels, rows in zip(active.labels, targets, strict=True)
        ]
        return [
            replace(label_terms, penalty=penalty if label_terms.penalty is None else label_terms.penalty + penalty)
            for label_terms, penalty in zip(terms, penalties, strict=True)
        ]

    def _inputs(self, embeddings: Tensor, labels: Tensor, rows: Tensor) -> TextInputs:
        """Return a term's inputs. rows: (B, …) class weights of the labels, zeros for a class elsewhere."""
        shard = self.shard
        own_texts = rows_at(self.buffers["rows"], shard.places(labels)).to(embeddings.dtype)

        def cosine() -> Tensor:
            weights = to_unit(rows.to(embeddings.dtype))
            if weights.ndim == 3:
                return shard.total((weights * own_texts.unsqueeze(1)).sum(-1).amax(1))
            return shard.total((weights * own_texts).sum(-1))

        return TextInputs(embeddings, labels, shard.total(own_texts), cosine)
