"""Variational prototype learning."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Gradient, Margin, PastPi, Prototypes, shifted_cosine, with_gradient

if TYPE_CHECKING:
    from torch import Tensor


class VPL(Margin):
    """ArcFace on class weights mixed with remembered embeddings, w̃ = norm((1−λ)·ŵ + λ·q).

    Deng 2021, CVPR, "Variational Prototype Learning for Deep Face Recognition"; see `Prototypes` for
    what is remembered and when it is used. `head: {prototypes: vpl}` does the same for any other margin.
    """

    type: Literal["vpl"] = "vpl"
    m: float = Field(0.5, ge=0, lt=math.pi, description="angular margin", json_schema_extra={"unit": "radians"})
    memory: Prototypes = Prototypes()
    past_pi: PastPi = "smooth"
    gradient: Gradient = "exact"
    formula: ClassVar[str] = "cos(θ+m), c = x̂·norm((1−λ)·ŵ + λ·q)"
    paper: ClassVar[str] = "Deng 2021, CVPR"
    neutral = {"m": 0.0, "memory": {"share": 0.0}}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        return with_gradient(self.gradient, cosine, shifted_cosine(cosine, context.margin(self.m), self.past_pi))

    def prototypes(self) -> Prototypes:
        """Return the margin's own memory settings."""
        return self.memory
