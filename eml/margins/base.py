"""What a margin is: a function of the target cosines, never of the B×C matrix of all cosines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from eml.config import Choice

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Context:
    """What a margin may read besides the cosines it is given.

    cosine_y: (B,) cosine between each embedding and its own class, before any margin.
    m: the margin in force, one number or (B,) one per row; None for a margin without a field `m`.
    """

    cosine_y: Tensor
    m: float | Tensor | None = None


class Margin(Choice):
    """A margin over a (normalised) softmax: replaces the target's cosine, and nothing else unless it says so.

    A member is a file of this folder with a literal `type` equal to the file's name, its own fields, and `target`.
    """

    normalised: ClassVar[bool] = True
    """True: works on cosines times the scale. False: on plain dot products plus a learned bias, without scale."""
    paper_scale: ClassVar[float] = 64.0
    """The scale that the paper (or its released code) trains with."""

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """The target's cosine with the margin applied. cosine: (B,), returns (B,)."""
        raise NotImplementedError


def sine(cosine: Tensor) -> Tensor:
    """√(1−c²) with a finite gradient at c = ±1.

    Written as (1−c)(1+c), which keeps its digits near ±1, and held above the dtype's epsilon: inside that
    (θ < 3.5e-4 in float32) the gradient is 0 instead of infinite.
    """
    import torch

    return ((1 - cosine) * (1 + cosine)).clamp_min(torch.finfo(cosine.dtype).eps).sqrt()


def with_offset_detached(cosine: Tensor, target: Tensor) -> Tensor:
    """The value of `target` with the gradient of `cosine` (∂φ/∂c = 1): the margin acts as a constant offset."""
    return cosine + (target - cosine).detach()
