"""Text encoders that are the text tower of a network of images and texts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from math import exp
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from eml.errors import ConfigError, Problem
from eml.files import text_digest
from eml.models.weights_digest import weights_digest_of
from eml.texts.encoders.base import TextEncoder

if TYPE_CHECKING:
    from eml.models.embedder import Embedder
    from eml.models.text_tower import TextTower


class TowerEncoder(TextEncoder):
    """Embeds texts with a text tower, without gradients, in the precision of its weights."""

    @cached_property
    @abstractmethod
    def tower(self) -> TextTower:
        """The tower, which stays in the mode it is in."""

    @cached_property
    def digest(self) -> str:
        """The digest of the tower's weights and architecture, and of the tokens of a few texts, for its tokenizer."""
        tokens = self.tower.tokenize(["a photo of a cat", "Übergröße 42, naïve \N{GRINNING FACE}"])
        return text_digest(f"{weights_digest_of(self.tower)} {self.tower.architecture} {tokens.tolist()}")

    @property
    def logit_scale(self) -> float | None:
        """The factor of its cosines with images, in the loss that it was trained with."""
        return exp(float(self.tower.logit_scale.detach()))

    @property
    def logit_bias(self) -> float | None:
        """What that loss adds to the scaled cosines; None for one that adds nothing."""
        bias = self.tower.logit_bias
        return None if bias is None else float(bias.detach())

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Return the texts of which the tower cuts off what is beyond its length."""
        return self.tower.too_long(texts)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the tower's vectors of a batch, (N, T)."""
        was_training = self.tower.training
        self.tower.eval()
        try:
            with torch.no_grad():
                device = self.tower.logit_scale.device
                vectors = self.tower(self.tower.tokenize(texts).to(device))
        finally:
            self.tower.train(was_training)
        return np.asarray(vectors.float().cpu().numpy(), np.float32)

    def tower_of(self, network: Embedder) -> TextTower:
        """Return the text tower of a network, on the encoder's device. Raises ConfigError where it has none."""
        if network.text is None:
            text = (
                f"`{self.where}`: {self.name} has no text tower, so it embeds images alone; name st:NAME_OR_PATH, or "
            )
            text += "a network that was built with a backbone open_clip:ARCH/PRETRAINED"
            raise ConfigError(text, code="no-text-tower", parameter=self.where)
        return network.text.to(self.device).eval()


def weights_problem(problem: Problem, where: str) -> Problem:
    """Return a problem with pretrained weights as it concerns a name that has no other weights to choose from."""
    reason, advice, _ = problem.partition(", give a file (")
    for prefix in ("model.weights: ", "`weights`: "):
        reason = reason.removeprefix(prefix)
    end = ", or give a folder (open_clip:local-dir:PATH)" if advice else ""
    return Problem(f"`{where}`: {reason}{end}", problem.code, where)
