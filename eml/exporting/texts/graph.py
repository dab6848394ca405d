"""A text tower as one module from tokens to the embeddings that `Model.embed_text` returns: that is exported."""

from torch import Tensor, nn
from torch.nn.functional import normalize as unit_length

from eml.models.text_tower import TextTower


class TextGraph(nn.Module):
    """Tokens (B, L) int64 → embeddings (B, D) of unit length.

    Args:
        tower: The text tower; its weights are shared.
    """

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        self.tower = tower.eval()

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) → (B, D)."""
        return unit_length(self.tower(tokens).float())
