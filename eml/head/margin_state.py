"""A margin in training: its buffers, random draws, schedule, margins per class, and the scale."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eml.devices import to_device
from eml.head.buffers import NamedBuffers, at_least_float32
from eml.head.config import HeadConfig
from eml.margins import Context, Margin, Statistics


class MarginState:
    """The state of a margin, kept in the head's buffers `margin_*`, `draws_*` and `class_margins`.

    Args:
        module: The head.
        margin: The margin.
        config: The head's settings.
        num_classes: C.
        counts: Images per class.
        dtype: Of the head's weights; the floating-point buffers have it, or float32 if that is more precise.
    """

    def __init__(
        self,
        module: nn.Module,
        margin: Margin,
        config: HeadConfig,
        num_classes: int,
        counts: Sequence[int] | None,
        dtype: torch.dtype,
    ) -> None:
        self.margin, self.schedule = margin, config.margin_schedule
        self._full_margin = (  # model_dump is not for a graph
            float(margin.model_dump()["m"]) if self.schedule and "m" in type(margin).model_fields else None
        )
        dtype = at_least_float32(dtype)
        initial = margin.initial_state(num_classes, config.first_scale(margin, num_classes))
        self.buffers = NamedBuffers(module, "margin", initial, dtype)
        self.random: NamedBuffers | None = None
        if "draws" in margin.inputs:
            # A seed of its own: data loaders and others draw from torch's generator.
            seed = torch.randint(2**62, (), dtype=torch.int64)
            self.random = NamedBuffers(module, "draws", {"seed": seed, "count": torch.zeros_like(seed)}, dtype)
        margins = config.class_margins.margins(counts) if config.class_margins and counts else None
        by_class = None if margins is None else torch.tensor(margins, dtype=dtype)
        module.register_buffer("class_margins", by_class, persistent=False)
        self._module_buffers = module._buffers

    def read(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the margin's buffers by name, floating-point ones in `dtype`."""
        buffers = self.buffers.read()
        return {name: value.to(dtype) if value.is_floating_point() else value for name, value in buffers.items()}

    def update(self, statistics: Statistics) -> None:
        """Replace the margin's buffers by those after a step."""
        self.buffers.replace(self.margin.before(statistics, self.read(statistics.cosine_y.dtype)))

    def draw(self, count: int, device: torch.device) -> Tensor | None:
        """Return `count` standard normal numbers, None if the margin uses none.

        They are a function of the head's seed and of the number of draws before, computed on the CPU, so that every
        device gets the same ones.
        """
        if self.random is None:
            return None
        generator = torch.Generator().manual_seed(self.random.number("seed") + self.random.count("count"))
        return to_device(torch.randn(count, generator=generator), device)

    def contexts(
        self,
        cosines: list[Tensor],
        norms: Tensor,
        labels: list[Tensor],
        draws: Sequence[Tensor | None],
        factor: float,
    ) -> list[Context]:
        """Return for each label what the margin may read.

        Args:
            cosines: For each label of a sample, (B,) target cosines.
            norms: (B,) lengths of the embeddings.
            labels: For each label, (B,).
            draws: For each label, (B,) random numbers or None.
            factor: Of the margin, from `factor`.
        """
        contexts = []
        for cosine_y, row_labels, row_draws in zip(cosines, labels, draws, strict=True):
            dtype = cosine_y.dtype
            ranks = cosine_y.detach().argsort(stable=True).argsort() if "ranks" in self.margin.inputs else None
            row_draws = None if row_draws is None else row_draws.to(dtype)
            m = self._current_margin(row_labels, dtype, factor)
            contexts.append(Context(cosine_y, m, norms, row_draws, ranks, self.read(dtype)))
        return contexts

    def scale(self, scale: float | Tensor, context: Context) -> Tensor:
        """Return the scale in force, () or (B,), from the head's."""
        scale = self.margin.scale(scale, context)
        return scale if isinstance(scale, Tensor) else context.cosine_y.new_full((), scale)

    def factor(self, progress: float) -> float:
        """Return the factor that the schedule puts on the margin. progress: of the training, in [0, 1]."""
        return 1.0 if self.schedule is None else self.schedule.factor(progress)

    def _current_margin(self, labels: Tensor, dtype: torch.dtype, factor: float) -> float | Tensor | None:
        """Return the scheduled margin, (B,) per class; None if the margin's own `m` is in force."""
        by_class = self._module_buffers["class_margins"]
        if by_class is not None:
            return factor * by_class.to(dtype)[labels]
        return None if self._full_margin is None else factor * self._full_margin
