"""What a loss sees: three numbers per sample, never the B×C matrix of logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eml.config import Choice

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """Per-sample terms over the logits z (after margin and scale), all (B,).

    target_logit: z_y. log_sum_exp: ln Σ_j exp z_j. mean_logit: (1/C) Σ_j z_j.
    cosine_y: target cosine before the margin, detached (a dot product where the margin does not normalise).
    correct: whether no other class has a higher logit than the target had before its margin; detached.
    """

    target_logit: Tensor
    log_sum_exp: Tensor
    mean_logit: Tensor
    cosine_y: Tensor
    correct: Tensor


class Loss(Choice):
    """From per-sample terms to a loss per sample; the engine takes the mean."""

    def per_sample(self, terms: Terms) -> Tensor:
        """(B,) losses."""
        raise NotImplementedError
