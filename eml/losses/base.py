"""The base of the losses: functions of a few numbers per sample, never of the B×C matrix of logits."""

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

    Attributes:
        target_logit: z_y.
        log_sum_exp: ln Σ_j exp z_j.
        mean_logit: (1/C) Σ_j z_j.
        cosine_y: Target cosine before the margin, detached (a dot product where the margin does not normalise).
        correct: Whether the target's cosine before its margin is above that of every other class, by more than
            rounding, so that a tie is not correct; detached.
        nearest: Largest cosine to another class, detached; −∞ if there is none.
        objective: The loss itself, of a margin that is no softmax over classes (SphereFace2, UniFace, proxy anchor), or
            of texts that are compared by sigmoids.
        factor: The margin's factor on the loss; None for 1.
        weight: The class's weight on the loss; None for 1.
        penalty: Of the margin (MagFace, SoftTriple) and of class texts, added after factor and weight; None for 0.
        text_to_image: −ln p of the image among the batch's, for the text of its class and without a margin, where
            several images of a class share their text's target; None where class weights are no texts.
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
    text_to_image: Tensor | None = None

    STATISTICS: ClassVar[tuple[str, ...]] = ("accuracy", "target_cosine", "target_angle", "nearest_cosine")

    def statistics(self) -> list[Tensor]:
        """Return means () over the batch for monitoring a training, in the order of STATISTICS; angle in degrees."""
        return [values.mean() for values in self._per_sample()]

    def mixed_statistics(self, second: Terms, share: float | Tensor) -> list[Tensor]:
        """Return the means over both labels of mixed samples, with the weights of the loss, share and 1−share.

        The accuracy is below 1 where both labels have a share, since the second label counts as another class for the
        first.
        """
        pairs = zip(self._per_sample(), second._per_sample(), strict=True)
        return [(share * values + (1 - share) * values_b).mean() for values, values_b in pairs]

    def _per_sample(self) -> list[Tensor]:
        angle = self.cosine_y.clamp(-1, 1).acos().rad2deg()
        return [self.correct.float(), self.cosine_y, angle, self.nearest]


class Loss(Choice):
    """A function from per-sample terms to a loss per sample; training uses the mean."""

    compares_texts: ClassVar[bool] = False
    """Whether it compares images with the texts of classes, which take the place of class weights."""

    def per_sample(self, terms: Terms) -> Tensor:
        """Return the (B,) losses of a softmax over the classes."""
        raise NotImplementedError

    def plain(self) -> bool:
        """Return whether the loss is just −ln p, and so adds nothing to a margin with its own objective."""
        return False

    def optimal_gap(self, num_classes: int, scale: float) -> float:
        """Return the gap between target and other cosines that minimises the loss; infinite without smoothing."""
        return math.inf

    def __call__(self, terms: Terms) -> Tensor:
        """Return the (B,) losses with the margin's objective, factor and penalty and the class weight, if present."""
        losses = self.per_sample(terms) if terms.objective is None else terms.objective
        for factor in (terms.factor, terms.weight):
            losses = losses if factor is None else losses * factor
        return losses if terms.penalty is None else losses + terms.penalty

    def mixed(self, terms: Terms, terms_b: Terms, share: float | Tensor) -> Tensor:
        """share·loss(first label) + (1−share)·loss(second label), (B,). share: one number or (B,)."""
        return share * self(terms) + (1 - share) * self(terms_b)
