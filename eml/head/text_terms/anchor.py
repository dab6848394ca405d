"""Class weights that are pulled to their text vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.head.text_terms.base import TextInputs, TextTerm

if TYPE_CHECKING:
    from torch import Tensor


class Anchor(TextTerm):
    """1 − cos(w_y, t_y): each image pulls the class weights of its class to the text vector of its class.

    So it acts on the rows that a batch's labels touch, as often as the loss pulls them to their images. Of several
    centres the one that is nearest to the text is pulled. Of an image with two labels each has its share.
    """

    type: Literal["anchor"] = "anchor"
    decay: float = Field(
        1.0,
        ge=0,
        description="the factor falls in a straight line, weight·max(0, 1 − decay·t), t from 0 at the first step to 1 "
        "at the last; 0: constant; 1: 0 at the end; 2: 0 from the middle on",
    )

    def penalty(self, inputs: TextInputs) -> Tensor:
        """Return 1 − cosine, (B,)."""
        return 1.0 - inputs.cosine()
