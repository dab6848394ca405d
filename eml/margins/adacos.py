"""AdaCos."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin, State, Statistics, angle

if TYPE_CHECKING:
    from torch import Tensor


class AdaCos(Margin):
    """No margin, but a scale that adapts during training. Zhang 2019, arXiv:1905.00292.

    s ← ln B̄ / cos(min(π/4, θ_med)) before every step, where B̄ is the mean over the batch of Σ_{j≠y} exp(s·c_j) at the
    old s, and θ_med is the (lower) median of the target angles. s is a constant in the backward pass. `head.scale` is
    the initial s: √2·ln(C−1) in the paper.
    Deviation: s is kept in [min_scale, max_scale]; with collapsed class weights it would grow without bound.
    """

    type: Literal["adacos"] = "adacos"
    min_scale: float = Field(1.0, gt=0, description="smallest scale")
    max_scale: float = Field(512.0, gt=0, description="largest scale")
    formula: ClassVar[str] = "c, with s ← ln B̄ / cos(min(π/4, θ_med))"
    paper: ClassVar[str] = "Zhang 2019, arXiv:1905.00292"
    paper_scale: ClassVar[float | Literal["auto"]] = "auto"
    inputs = frozenset({"negatives"})
    neutral = {}  # noqa: RUF012 - at its current scale

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """Return the cosine unchanged."""
        return cosine

    def initial_state(self, num_classes: int, scale: float) -> dict[str, Tensor]:
        """Return `scale` ()."""
        import torch

        return {"scale": torch.tensor(scale, dtype=torch.float64)}

    def before(self, statistics: Statistics, state: State) -> dict[str, Tensor]:
        """Return the next scale."""
        assert statistics.negatives is not None
        log_mean = statistics.negatives.logsumexp(0) - math.log(len(statistics.negatives))
        median = angle(statistics.cosine_y).median().clamp_max(math.pi / 4)
        return {"scale": (log_mean / median.cos()).clamp(self.min_scale, self.max_scale)}

    def own_scale(self) -> bool:
        """Return True: the scale starts at the head's and then follows its own rule."""
        return True

    def scale(self, scale: float | Tensor, context: Context) -> float | Tensor:
        """Return the adapted scale."""
        return context.state["scale"]
