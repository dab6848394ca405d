"""The class weights: creation, normalisation, memory, and the part of them that a process holds."""

import math

import torch
from torch import Tensor, nn

from eml.head.active_classes import ActiveClasses
from eml.head.checks import check_class_weights
from eml.head.config import HeadConfig
from eml.head.memory import ClassMemory
from eml.head.modes import Auto, Sampled
from eml.head.plan import ClassPlan, make_plan
from eml.head.shards import Shard
from eml.head.text_weights import TextWeights
from eml.margins import Margin
from eml.margins.base import to_unit

LONG = 1e15  # numbers of an embedding up to it can be squared and added up in float32


class ClassWeights(nn.Module):
    """Class weights (c, D) or (c, K, D) of the c classes in a shard, their biases and their memory.

    Args:
        margin: Says whether the weights are normalised; without normalisation each class has a bias.
        shard: Classes that this process holds.
        embedding_size: D.
        config: Centres K, memory and mode.
        class_weights: Tensor to use instead of new weights.
        dtype: Of new weights and of the memory.
        texts: Whose embeddings are the class weights of each step; then the head has none of its own, (0, D).
    """

    bias: Tensor | None
    class_weights: Tensor

    def __init__(
        self,
        margin: Margin,
        shard: Shard,
        embedding_size: int,
        config: HeadConfig,
        *,
        class_weights: Tensor | None,
        dtype: torch.dtype,
        texts: TextWeights | None = None,
    ) -> None:
        super().__init__()
        self.margin, self.shard, self.config, self.texts = margin, shard, config, texts
        self.num_classes, self.embedding_size = shard.num_classes, embedding_size
        centers = max(config.centers, getattr(margin, "centers", 1))
        if texts is not None:
            self.register_buffer("class_weights", torch.zeros(0, embedding_size, dtype=dtype), persistent=False)
        elif class_weights is not None:
            check_class_weights(class_weights, len(shard), centers, embedding_size)
            self.class_weights = class_weights
        else:
            shape = (len(shard), *([centers] if centers > 1 else []), embedding_size)
            rows = random_rows(shard, centers * embedding_size, dtype)
            self.class_weights = nn.Parameter(rows.view(shape).div_(math.sqrt(embedding_size)))
        self.bias = None if margin.normalised else nn.Parameter(torch.zeros(len(shard), dtype=dtype))
        self.memory: ClassMemory | None = None
        if (prototypes := config.memory(margin)) is not None:
            self.memory = ClassMemory(self, prototypes, len(shard), embedding_size, dtype)

    @property
    def centers(self) -> int:
        """Centres per class, K."""
        return self.class_weights.shape[1] if self.class_weights.ndim == 3 else 1

    def by_class(self) -> set[str]:
        """Return the keys of `state_dict` whose tensors have a row for each class of the shard."""
        keys = ("class_weights", "bias", "memory_queue", "memory_last", "text_rows")
        return {key for key in self.state_dict() if key in keys or key.startswith("optimizer_")}

    def state(self, kind: str = "margin") -> dict[str, Tensor]:
        """Return the buffers of a kind by name: `margin`, `memory`, `draws`, `sampling` or `optimizer`."""
        buffers = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        return {name[len(kind) + 1 :]: buffer for name, buffer in buffers.items() if name.startswith(f"{kind}_")}

    def plan(self, batch_size: int) -> ClassPlan:
        """Return how the head goes over the classes in the present mode, training or eval.

        batch_size: of all processes together.
        """
        mode = self.config.mode
        return make_plan(
            Auto() if isinstance(mode, Sampled) and not self.training else mode,
            batch_size,
            self.num_classes,
            self.centers,
            self.embedding_size,
            number_bytes=self.class_weights.element_size(),
            on_cpu=self.class_weights.device.type == "cpu",
            world=self.shard.world,
            **({} if self.texts is None else self.texts.plan(batch_size)),
        )

    def memory_needed(self, batch_size: int, optimizer_copies: int = 2) -> dict[str, int]:
        """Estimate the bytes in this process: of `weights`, `gradient`, `optimizer` state, and `work` for a batch.

        Args:
            batch_size: Of all processes together.
            optimizer_copies: Number of tensors of the class weights' size that the optimizer keeps, 2 for AdamW.
        """
        plan, weights = self.plan(batch_size), self.class_weights.numel() * self.class_weights.element_size()
        needed = {"weights": weights, "gradient": weights, "optimizer": optimizer_copies * weights}
        if isinstance(self.config.mode, Sampled):  # the rows of a step and their gradient
            needed["gradient"] = 2 * weights * plan.compared // plan.here
            state = self.state("optimizer").values()
            needed["optimizer"] = sum(values.numel() * values.element_size() for values in state)
        return needed | {"work": plan.work()}

    def normalise(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D) in float32 or float64, of length 1 if normalised, and their lengths (B,) before.

        The squares of long embeddings would overflow, so these are divided by their largest number first.
        """
        x = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
        small, factor = shortened(x)
        norms = torch.linalg.vector_norm(small, dim=1) * factor
        return self.shard.into(to_unit(small) if self.margin.normalised else x), norms

    def all_classes(self, labels: list[Tensor], host_labels: list[Tensor] | None = None) -> ActiveClasses:
        """Return all classes of the shard as active ones.

        labels: (B,) for each label of a sample. host_labels: the same on the CPU, if they are known there.
        """
        places, count = [self.shard.places(row_labels) for row_labels in labels], self.shard.num_classes
        return ActiveClasses(self.class_weights, labels, places, count, count, host_labels=host_labels)

    def rows(self, class_weights: Tensor, ids: Tensor | slice) -> Tensor:
        """Return the rows (…, D) that cosines are taken with: of unit length if normalised, with the memory mixed in.

        class_weights: (…, D) of the shard's classes `ids`.
        """
        rows = to_unit(class_weights) if self.margin.normalised else class_weights
        return rows if self.memory is None else self.memory.mix(rows, ids)

    def target_cosines(self, embeddings: Tensor, labels: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
        """Return for each label the (B,) cosine between embedding and class.

        They are row-wise products, so that the number is the same however the classes are split up.

        Args:
            embeddings: (B, D).
            labels: (B,) for each label of a sample.
            weights: For each label, (B, …) class weights of the labels, zeros for those of another process.
        """
        cosines = []
        for row_labels, row_weights in zip(labels, weights, strict=True):
            places = self.shard.places(row_labels)
            rows = self.rows(row_weights.to(embeddings.dtype), places.clamp_min(0))
            cosine = (embeddings.view(len(embeddings), *[1] * (rows.ndim - 2), -1) * rows).sum(-1)
            if rows.ndim == 3:
                cosine = self.margin.pool(cosine.unsqueeze(1)).squeeze(1)
            if self.bias is not None and len(self.bias):
                cosine = cosine + self.bias[places.clamp_min(0)]
            cosines.append(cosine if self.shard.group is None else self.shard.total(cosine * (places >= 0)))
        return cosines


def shortened(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows (B, D) whose squares can be added up in float32, and what each was divided by, (B,)."""
    largest = rows.detach().abs().amax(1)
    factor = torch.where(largest > LONG, largest, 1.0)
    return rows / factor.unsqueeze(1), factor


def random_rows(shard: Shard, width: int, dtype: torch.dtype, block: int = 4096) -> Tensor:
    """Return (c, width) standard normal numbers for the shard's classes, the same for any number of processes.

    Draws block by block of classes, each block from its own seed, so that a process draws only its part. The seeds
    count up from a number of torch's generator, which advances by that one number. block: classes per seed; changing
    it changes the numbers.
    """
    seed = int(torch.randint(2**32, (), dtype=torch.int64))  # torch's generator takes 32 bits of a seed
    rows, generator = torch.empty(len(shard), width, dtype=dtype), torch.Generator()
    for number in range(shard.start // block, -(-shard.stop // block)):
        generator.manual_seed((seed + number) % 2**32)
        first, end = number * block, min((number + 1) * block, shard.num_classes)
        start, stop = max(first, shard.start), min(end, shard.stop)
        inside = rows[start - shard.start : stop - shard.start]
        if stop - start == end - first:
            inside.normal_(generator=generator)
        else:
            whole = torch.empty(end - first, width, dtype=dtype).normal_(generator=generator)
            inside.copy_(whole[start - first : stop - first])
    return rows
