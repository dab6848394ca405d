"""AdaCos."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin, State, Statistics, angle

if TYPE_CHECKING:
    from torch import Tensor


class AdaCos(Margin):
    """No margin, but a scale that follows the training. Zhang 2019, arXiv:1905.00292.

    s ← ln B̄ / cos(min(π/4, θ_med)) before every step, with B̄ the mean over the batch of Σ_{j≠y} exp(s·c_j) at the old s
    and θ_med the (lower) median of the target angles; s is a constant in the backward pass. `head.scale` is where s
    begins: √2·ln(C−1) by the paper.
    Deviation: s is kept in [min_scale, max_scale]; with collapsed class weights it would grow without end.
    """

    type: Literal["adacos"] = "adacos"
    min_scale: float = Field(1.0, gt=0, description="smallest scale")
    max_scale: float = Field(512.0, gt=0, description="largest scale")
    formula: ClassVar[str] = "c, with s ← ln B̄ / cos(min(π/4, θ_med))"
    paper: ClassVar[str] = "Zhang 2019, arXiv:1905.00292"
    paper_scale: ClassVar[float | Literal["auto"]] = "auto"
    inputs = frozenset({"others"})
    neutral = {}  # noqa: RUF012 - at the scale that it has then

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """The cosine as it is."""
        return cosine

    def initial_state(self, num_classes: int, scale: float) -> dict[str, Tensor]:
        """scale: ()."""
        import torch

        return {"scale": torch.tensor(scale, dtype=torch.float64)}

    def before(self, statistics: Statistics, state: State) -> dict[str, Tensor]:
        """The next scale."""
        assert statistics.others is not None
        log_mean = statistics.others.logsumexp(0) - math.log(len(statistics.others))
        median = angle(statistics.cosine_y).median().clamp_max(math.pi / 4)
        return {"scale": (log_mean / median.cos()).clamp(self.min_scale, self.max_scale)}

    def own_scale(self) -> bool:
        """It begins at the head's and then follows its rule."""
        return True

    def scale(self, scale: float | Tensor, context: Context) -> float | Tensor:
        """The followed one."""
        return context.state["scale"]
