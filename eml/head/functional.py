"""Margins without a module: for a notebook, a test, or a head of one's own."""

import torch
from torch import Tensor

from eml.head.class_head import ClassHead
from eml.head.compatibility import check_loss
from eml.head.config import HeadConfig
from eml.losses import Loss
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin


def margin_logits(
    margin: Margin, embeddings: Tensor, class_weights: Tensor, labels: Tensor, *, config: HeadConfig | None = None
) -> Tensor:
    """(B, C) logits after margin and scale, differentiable by embeddings and class weights.

    embeddings: (B, D); class_weights: (C, D), or (C, K, D) with K centres; labels: (B,) int64. A margin with state or
    random draws is taken as at its first step, without draws; for training use `ClassHead`.
    """
    return _head(margin, embeddings, class_weights, config).logits(embeddings, labels)


def margin_loss(
    margin: Margin,
    embeddings: Tensor,
    class_weights: Tensor,
    labels: Tensor,
    *,
    loss: Loss | None = None,
    config: HeadConfig | None = None,
) -> Tensor:
    """(B,) losses; arguments as of `margin_logits`. loss: cross-entropy unless given."""
    loss = loss or CrossEntropy()
    check_loss(margin, loss)
    return loss(_head(margin, embeddings, class_weights, config)(embeddings, labels))


def _head(margin: Margin, embeddings: Tensor, class_weights: Tensor, config: HeadConfig | None) -> ClassHead:
    """A head in eval mode around weights that are the caller's."""
    config = config or HeadConfig()
    if class_weights.ndim == 3 and "centers" in type(margin).model_fields:
        margin = margin.model_copy(update={"centers": class_weights.shape[1]})
    elif class_weights.ndim == 3:
        config = config.model_copy(update={"centers": class_weights.shape[1]})
    num_classes, size = len(class_weights), class_weights.shape[-1]
    precision = torch.promote_types(embeddings.dtype, torch.float32)
    head = ClassHead(margin, num_classes, size, config, class_weights=class_weights, dtype=precision)
    return head.to(embeddings.device).eval()
