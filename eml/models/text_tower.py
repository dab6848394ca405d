"""The text tower of a network that embeds images and texts in one space, such as CLIP's."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

TOKENIZER = "tokenizer"
"""The folder in a checkpoint with the files of a tokenizer that no package ships."""

MARKS = 3
"""Tokens at most that a tokenizer adds to those of a text, each of which has a byte at least."""


class TextTower(nn.Module):
    """Tokens (B, L) int64 → embeddings of texts (B, F), not of unit length, in the space of the image tower's features.

    Args:
        network: Maps tokens to embeddings.
        tokenizer: Maps N texts to tokens (N, L) int64, of a length L that is the network's.
        logit_scale: Natural logarithm of the factor of cosines in the loss that it was trained with, as open_clip
            stores it: ln(1/0.07) where CLIP's training begins.
        logit_bias: What that loss adds to scaled cosines, for networks trained with sigmoids (SigLIP); None: nothing.
        architecture: What decides its function besides its weights and tokens, as a text; empty: its modules tell.

    Attributes:
        logit_scale: A parameter, ().
        logit_bias: A parameter, (), or None.
    """

    def __init__(
        self,
        network: nn.Module,
        tokenizer: Callable[[list[str]], Tensor],
        logit_scale: float,
        logit_bias: float | None = None,
        architecture: str = "",
    ) -> None:
        super().__init__()
        self.network, self.tokenizer = network, tokenizer
        self.architecture = architecture or repr(network)
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        self.logit_bias = None if logit_bias is None else nn.Parameter(torch.tensor(float(logit_bias)))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) → (B, F)."""
        embeddings: Tensor = self.network(tokens)
        return embeddings

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Return the tokens of texts, (B, L) int64 on the CPU; what a text has beyond the tower's length is cut off."""
        return self.tokenizer(list(texts)).long()

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Return the texts of which `tokenize` cuts something off, as far as the tokenizer says how long it makes them.

        Of tokenizers that pad with the token that ends a text, those that are a single token too long are not seen.
        """
        length = getattr(self.tokenizer, "context_length", None)
        if not isinstance(length, int):
            return []
        candidates = [text for text in texts if len(text.encode()) + MARKS > length]
        if not candidates:
            return []
        longer: Callable[..., Tensor] = self.tokenizer
        padding, *ends = longer(["", *candidates], context_length=length + 1)[:, -1].tolist()
        return [text for text, end in zip(candidates, ends, strict=True) if end != padding]

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer's files into a new folder, if it has any that its package does not ship."""
        save = getattr(self.tokenizer, "save_pretrained", None)
        if save is not None:
            save(str(folder))
