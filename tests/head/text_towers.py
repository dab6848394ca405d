"""A text tower of a few numbers, and a head that compares with its texts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.head.text_weights import TextSettings, TextWeights
from eml.margins import Margin
from eml.margins.normface import NormFace
from eml.models.text_tower import TextTower
from tests.head.heads import SIZE

WORDS = 50


class MeanOfWords(nn.Module):
    """Tokens to the mean of their words' vectors, in a space of another size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(WORDS, 8), nn.Linear(8, size)
        self.calls = 0

    def forward(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        return self.out(self.words(tokens).tanh().mean(1))


def tokenize(texts: Sequence[str]) -> Tensor:
    """Three tokens of each text, by its first letters."""
    return torch.tensor([[ord(letter) % WORDS for letter in f"{text}   "[:3]] for text in texts])


def tower(
    size: int, dtype: torch.dtype = torch.float64, log_scale: float = 2.0, bias: float | None = None
) -> TextTower:
    torch.manual_seed(1)
    return TextTower(MeanOfWords(size), tokenize, log_scale, bias).to(dtype)


TEXTS = [("a",), ("b red",), ("c",), ("dog",), ("eel",), ("fox",), ("gnu",)]


def head_of(
    class_texts: Sequence[Sequence[str]] = TEXTS,
    margin: Margin | None = None,
    mode: str = "auto",
    bias: float | None = None,
    **settings: object,
) -> tuple[ClassHead, TextTower]:
    own = tower(SIZE, bias=bias)
    weights = TextWeights(own, class_texts, TextSettings(**settings))  # type: ignore[arg-type]
    config = HeadConfig.model_validate({"mode": {"type": mode, **({"tile": 2} if mode == "tiled" else {})}})
    return ClassHead(margin or NormFace(), len(class_texts), SIZE, config, dtype=torch.float64, texts=weights), own
