"""The class head: owns the class weights, the normalisation, the scale and the reduction to per-sample terms."""

import math

import torch
from torch import Tensor, nn

from eml.errors import ConfigError
from eml.losses import Terms
from eml.margins import Context, Margin
from eml.models.config import HeadConfig


class ClassHead(nn.Module):
    """Class weights (C, D) and a margin: embeddings (B, D) and labels (B,) → per-sample Terms.

    Cosines and margins are computed in float32 with autocast off, in float64 if the embeddings are.
    Raises ValueError when C < 2, or, on a call, when shapes or labels do not fit.
    """

    bias: Tensor | None

    def __init__(self, margin: Margin, num_classes: int, embedding_size: int, config: HeadConfig | None = None) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"a class head needs at least 2 classes, got {num_classes}")
        self.margin = margin
        self.scale = _scale(config or HeadConfig(), margin, num_classes)
        self.class_weights = nn.Parameter(torch.randn(num_classes, embedding_size) / math.sqrt(embedding_size))
        self.register_parameter("bias", None if margin.normalised else nn.Parameter(torch.zeros(num_classes)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Terms:
        """embeddings: (B, D), labels: (B,) int64 in [0, C)."""
        self._check(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            cosine, cosine_y = self._cosines(embeddings, labels)
            logits, target_logit = self._adjusted(cosine, cosine_y, labels)
            others = cosine.detach().scatter(1, labels.unsqueeze(1), -math.inf).amax(1)
        return Terms(
            target_logit=target_logit,
            log_sum_exp=logits.logsumexp(1),
            mean_logit=logits.mean(1),
            cosine_y=cosine_y.detach(),
            correct=cosine_y.detach() >= others,
        )

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B, C) logits after margin and scale, for study; training needs only `forward`."""
        self._check(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            return self._adjusted(*self._cosines(embeddings, labels), labels)[0]

    def _cosines(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C) cosines and (B,) target cosines; dot products plus bias for a margin that does not normalise."""
        x, weights = self._operands(embeddings)
        cosine = x @ weights.T
        cosine_y = (x * weights[labels]).sum(1)  # row-wise, so that it is the same number however classes are split up
        if self.bias is not None:
            return cosine + self.bias, cosine_y + self.bias[labels]
        return cosine, cosine_y

    def _adjusted(self, cosine: Tensor, cosine_y: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C) logits and (B,) target logits."""
        target_logit = self.scale * self.margin.target(cosine_y, Context(cosine_y))
        return (self.scale * cosine).scatter(1, labels.unsqueeze(1), target_logit.unsqueeze(1)), target_logit

    def _operands(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        precision = torch.promote_types(embeddings.dtype, torch.float32)
        x, weights = embeddings.to(precision), self.class_weights.to(precision)
        return (unit_rows(x), unit_rows(weights)) if self.margin.normalised else (x, weights)

    def _check(self, embeddings: Tensor, labels: Tensor) -> None:
        num_classes, size = self.class_weights.shape
        if embeddings.ndim != 2 or embeddings.shape[1] != size:
            raise ValueError(f"embeddings must be (B, {size}), got {tuple(embeddings.shape)}")
        if labels.shape != embeddings.shape[:1] or labels.dtype != torch.int64:
            raise ValueError(f"labels must be ({len(embeddings)},) int64, got {tuple(labels.shape)} {labels.dtype}")
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
            raise ValueError(f"labels must be in [0, {num_classes}), got {int(labels.min())} to {int(labels.max())}")


def unit_rows(rows: Tensor) -> Tensor:
    """Rows divided by their length; a row shorter than 1e-12 becomes zeros and gets no gradient. rows: (N, D)."""
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return torch.where(length <= 1e-12, torch.zeros_like(rows), rows / length.clamp_min(1e-12))  # NaN stays NaN


def _scale(config: HeadConfig, margin: Margin, num_classes: int) -> float:
    if not margin.normalised:
        return 1.0
    match config.scale:
        case "paper":
            return margin.paper_scale
        case "auto":
            if num_classes < 3:
                raise ConfigError("head.scale: auto is √2·ln(C−1), which is 0 for 2 classes; give a number, such as 16")
            return math.sqrt(2) * math.log(num_classes - 1)
        case number:
            return number
