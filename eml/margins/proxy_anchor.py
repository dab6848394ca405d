"""Proxy anchor."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin

if TYPE_CHECKING:
    from torch import Tensor


class ProxyAnchor(Margin):
    """A class's proxy attracts its samples and repels the others, hardest first. Kim 2020, arXiv:2003.13911, eq. 4.

    (1/|P⁺|)·Σ_{p∈P⁺} ln(1 + Σ_{x∈p} exp(−α(c−δ))) + (1/C)·Σ_p ln(1 + Σ_{x∉p} exp(α(c+δ))), where P⁺ are the classes of
    the batch and α is the head's scale. It is one number per batch, the loss of every sample. It is computed by
    logsumexp; the released code's exp overflows for α(1+δ) > 88. The paper trains the proxies at 100 times the
    network's learning rate.
    """

    type: Literal["proxy_anchor"] = "proxy_anchor"
    delta: float = Field(0.1, ge=0, lt=1, description="margin δ on both sides (cosine units)")
    formula: ClassVar[str] = "per class, over the batch: c − δ; c_j + δ"
    paper: ClassVar[str] = "Kim 2020, arXiv:2003.13911"
    paper_scale: ClassVar[float | Literal["auto"]] = 32.0
    reduction = "proxy"

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        return cosine - self.delta

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B, c)."""
        return cosine + self.delta
