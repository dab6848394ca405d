"""Similarities of images that follow those of the texts of their classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.head.text_terms.base import TextInputs, TextTerm

if TYPE_CHECKING:
    from torch import Tensor


class LanguageGuidance(TextTerm):
    """KL(p_i ‖ q_i), p_ij ∝ exp(t_i·t_j/τ), q_ij ∝ exp(x_i·x_j/τ) over the batch's images j of other classes.

    t are the text vectors of the images' classes, x the embeddings. Roth 2022, arXiv:2203.08543, language guidance by
    expert class names (ELG). Deviations: images of one class are left out of both rows, where the paper sets both
    similarities to one constant and shifts those of texts by another, γ; then the term says which classes are nearer
    to each other and not how near all are, which is the main loss's to say; and text vectors are centred. An image
    without another class in the batch adds 0.
    """

    type: Literal["language_guidance"] = "language_guidance"
    temperature: float = Field(1.0, gt=0, description="τ of both rows of similarities")

    takes_mixed: ClassVar[bool] = False

    def penalty(self, inputs: TextInputs) -> Tensor:
        """Return the divergence of each row, (B,)."""
        labels = inputs.labels
        same = labels.unsqueeze(1) == labels.unsqueeze(0)  # (B, B)
        alone = same.all(1, keepdim=True)

        def log_shares(rows: Tensor) -> Tensor:
            similarity = (rows @ rows.T) / self.temperature
            return similarity.masked_fill(same & ~alone, -math.inf).log_softmax(1)

        texts, images = log_shares(inputs.texts), log_shares(inputs.embeddings)
        return (texts.exp() * (texts - images)).masked_fill(same, 0.0).sum(1)
