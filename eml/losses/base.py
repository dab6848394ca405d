"""What a loss sees: a few numbers per sample, never the B×C matrix of logits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from eml.config import Choice

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """Per-sample terms over the logits z (after margin and scale), all (B,).

    target_logit: z_y. log_sum_exp: ln Σ_j exp z_j. mean_logit: (1/C) Σ_j z_j.
    cosine_y: target cosine before the margin, detached (a dot product where the margin does not normalise).
    correct: whether no other class has a higher logit than the target had before its margin; detached.
    nearest: largest cosine to another class, detached; −∞ if there is none.
    objective: the loss itself, from a margin that is no softmax over classes (SphereFace2, UniFace, proxy anchor).
    factor, weight, penalty: the loss is multiplied by the margin's factor and the class's weight, then the margin's
    penalty (MagFace, SoftTriple) is added; None: 1, 1, 0.
    """

    target_logit: Tensor
    log_sum_exp: Tensor
    mean_logit: Tensor
    cosine_y: Tensor
    correct: Tensor
    nearest: Tensor
    objective: Tensor | None = None
    factor: float | Tensor | None = None
    weight: Tensor | None = None
    penalty: Tensor | None = None

    STATISTICS: ClassVar[tuple[str, ...]] = ("accuracy", "target_cosine", "target_angle", "nearest_cosine")

    def statistics(self) -> list[Tensor]:
        """Means over the batch to follow a training by, (), named as in STATISTICS; the angle in degrees."""
        return [each.mean() for each in self._per_sample()]

    def mixed_statistics(self, other: Terms, share: float | Tensor) -> list[Tensor]:
        """Of mixed samples: means over both labels with the weights of the loss, share and 1−share.

        So the accuracy cannot be 1 where both labels have a share, and the positive's class counts as another one.
        """
        both = zip(self._per_sample(), other._per_sample(), strict=True)
        return [(share * own + (1 - share) * others).mean() for own, others in both]

    def _per_sample(self) -> list[Tensor]:
        angle = self.cosine_y.clamp(-1, 1).acos().rad2deg()
        return [self.correct.float(), self.cosine_y, angle, self.nearest]


class Loss(Choice):
    """From per-sample terms to a loss per sample; the engine takes the mean."""

    def per_sample(self, terms: Terms) -> Tensor:
        """(B,) losses of a softmax over the classes."""
        raise NotImplementedError

    def plain(self) -> bool:
        """Whether it is −ln p and nothing more, and so has nothing to add to a margin that is its own objective."""
        return False

    def optimal_gap(self, num_classes: int, scale: float) -> float:
        """How far above the others the loss wants the target cosine, and no farther; infinite without smoothing."""
        return math.inf

    def __call__(self, terms: Terms) -> Tensor:
        """(B,) losses, with the margin's own objective, factor, class weight and penalty where there are such."""
        losses = self.per_sample(terms) if terms.objective is None else terms.objective
        for factor in (terms.factor, terms.weight):
            losses = losses if factor is None else losses * factor
        return losses if terms.penalty is None else losses + terms.penalty

    def mixed(self, terms: Terms, terms_b: Terms, share: float | Tensor) -> Tensor:
        """(B,) losses of mixed samples: share·loss(first label) + (1−share)·loss(second). share: one number or (B,)."""
        return share * self(terms) + (1 - share) * self(terms_b)
