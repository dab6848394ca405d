"""The text tower of a network as a text encoder."""

from collections.abc import Sequence
from functools import cached_property
from math import exp
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from eml.files import text_digest
from eml.models.fingerprint import weights_digest_of
from eml.texts.encoders.base import TextEncoder


class TowerEncoder(TextEncoder):
    """Embeds texts with a text tower, without gradients, in the precision of its weights.

    Args:
        tower: Tokens (B, L) → (B, T), with `tokenize` and `logit_scale`; it stays in the mode it is in.
        name: For messages and the facts of text vectors.
    """

    def __init__(self, tower: nn.Module, name: str) -> None:
        super().__init__(name)
        self._tower: Any = tower

    @cached_property
    def digest(self) -> str:
        """The digest of the tower's weights and of what it makes of a few texts, which its tokenizer decides."""
        tokens = self._tower.tokenize(["a photo of a cat", "Übergröße 42, naïve \N{GRINNING FACE}"])
        return text_digest(f"{weights_digest_of(self._tower)} {tokens.tolist()}")

    @property
    def logit_scale(self) -> float | None:
        """The factor of its cosines with images, in the loss that it was trained with."""
        return exp(float(self._tower.logit_scale.detach()))

    @property
    def logit_bias(self) -> float | None:
        """What that loss adds to the scaled cosines; None for one that adds nothing."""
        bias = getattr(self._tower, "logit_bias", None)
        return None if bias is None else float(bias.detach())

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the tower's vectors of a batch, (N, T)."""
        was_training = self._tower.training
        self._tower.eval()
        try:
            with torch.no_grad():
                device = next(self._tower.parameters()).device
                vectors = self._tower(self._tower.tokenize(texts).to(device))
        finally:
            self._tower.train(was_training)
        return np.asarray(vectors.float().cpu().numpy(), np.float32)
