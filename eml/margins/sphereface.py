"""SphereFace."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Gradient, Margin, State, Statistics, angle, stepped_cosine, with_gradient

if TYPE_CHECKING:
    from torch import Tensor


class SphereFace(Margin):
    """Multiplicative angular margin, ψ(θ) = (−1)^k·cos(mθ) − 2k, k = ⌊mθ/π⌋. Liu 2017, arXiv:1704.08063, eq. 7.

    As in the paper and its code, logits are the embedding's length times the cosine (the head's scale is not used), and
    the target is (λ·cos θ + ψ)/(1+λ) with λ = max(λ_min, λ_base/(1+0.1·step)), step from 1.
    `feature_norm: false` uses the head's scale instead; `annealing: false` sets λ = 0. Both together with m 1.7, scale
    30 and `gradient: detached` are the authors' later opensphere, except that its gradients with respect to class
    weights are not projected to the sphere.
    """

    type: Literal["sphereface"] = "sphereface"
    m: float = Field(4.0, ge=1, le=10, description="factor on the angle")
    feature_norm: bool = Field(True, description="multiply cosines by the embedding's length, not by the head's scale")
    annealing: bool = Field(True, description="start near the plain softmax: λ as in the paper; false: λ = 0")
    lambda_min: float = Field(5.0, ge=0, description="λ at the end")
    lambda_base: float = Field(1500.0, ge=0, description="λ at the beginning")
    gradient: Gradient = "exact"
    formula: ClassVar[str] = "(λc + (−1)^k·cos(mθ) − 2k)/(1+λ), s = ‖x‖"
    paper: ClassVar[str] = "Liu 2017, arXiv:1704.08063"
    paper_scale: ClassVar[float | Literal["auto"]] = 30.0
    neutral = {"m": 1.0, "feature_norm": False}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        psi = stepped_cosine(context.margin(self.m) * angle(cosine))
        if self.annealing:
            steps = context.state["steps"].to(cosine.dtype)
            weight = (self.lambda_base / (1 + 0.1 * steps)).clamp_min(self.lambda_min)
            psi = (weight * cosine + psi) / (1 + weight)
        return with_gradient(self.gradient, cosine, psi)

    def own_scale(self) -> bool:
        """Return whether the scale is the embedding's length."""
        return self.feature_norm

    def scale(self, scale: float | Tensor, context: Context) -> float | Tensor:
        """Return the lengths of the embeddings, or the head's scale."""
        if not self.feature_norm:
            return scale
        assert context.norms is not None
        return context.norms

    def initial_state(self, num_classes: int, scale: float) -> dict[str, Tensor]:
        """Return `steps` (), the number of steps so far."""
        import torch

        return {"steps": torch.zeros((), dtype=torch.int64)}

    def before(self, statistics: Statistics, state: State) -> dict[str, Tensor]:
        """Return the number of steps, one more."""
        return {"steps": state["steps"] + 1}
