"""The memory of a class head: class weights mixed with each class's latest embedding (VPL)."""

import torch
from torch import Tensor, nn

from eml.head.active_classes import ActiveClasses
from eml.head.buffers import NamedBuffers
from eml.head.negatives import RowBuilder
from eml.margins import Prototypes
from eml.margins.base import to_unit


class ClassMemory:
    """The latest embedding of each class in the shard, kept in the head's buffers `memory_*`.

    Args:
        module: The head.
        prototypes: How the embeddings are mixed into the class weights.
        num_classes: Classes in the shard.
        embedding_size: D.
        dtype: Of the remembered embeddings.
    """

    def __init__(
        self, module: nn.Module, prototypes: Prototypes, num_classes: int, embedding_size: int, dtype: torch.dtype
    ) -> None:
        self.prototypes = prototypes
        self.buffers = NamedBuffers(module, "memory", prototypes.initial_state(num_classes, embedding_size), dtype)

    def count_step(self) -> None:
        """Begin a training step."""
        self.buffers.replace({"steps": self.buffers["steps"] + 1})

    def mix(self, unit_rows: Tensor, ids: Tensor | slice) -> Tensor:
        """Return unit rows (…, D) of the shard's classes `ids` with the memory mixed in."""
        return self.prototypes.rows(unit_rows, ids, self.buffers.read())

    def remember(self, unit_embeddings: Tensor, places: Tensor) -> None:
        """Write the batch into the memory. (B, D); places: (B,) among the shard's classes, −1 for classes elsewhere."""
        self.prototypes.after(unit_embeddings, places, self.buffers.read())

    def row_builder(self, active: ActiveClasses) -> RowBuilder:
        """Return a function that builds the active classes' rows with the memory as it is now.

        The batch is written into the memory before the backward pass builds the rows again, so the old values of the
        batch's classes are kept here.
        """
        state = self.buffers.read()
        places = torch.cat(active.places)
        before = {}
        if len(active.weights):
            known = places.clamp_min(0)
            classes = known if active.ids is None else active.ids[known]
            before = {name: state[name][classes] for name in ("queue", "last")}

        def rows(class_weights: Tensor, part: slice) -> Tensor:
            start, stop, _ = part.indices(len(active.weights))
            inside, count = (places >= start) & (places < stop), stop - start
            ids = slice(start, stop) if active.ids is None else active.ids[start:stop]
            now = {"steps": state["steps"]}
            for name, old in before.items():
                rows = state[name][ids]
                room = torch.cat([rows, rows.new_zeros(1, *rows.shape[1:])])  # the last takes what is not inside
                now[name] = room.index_copy_(0, (places - start).where(inside, count), old)[:count]
            return self.prototypes.rows(to_unit(class_weights), slice(None), now)

        return rows
