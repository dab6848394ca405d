"""Margins as functions of embeddings, class weights and labels: for notebooks, tests and custom heads."""

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
    """Return the (B, C) logits after margin and scale, differentiable with respect to embeddings and class weights.

    A margin with state or random draws is in its initial state, without draws. For training use `ClassHead`.

    Args:
        margin: The margin, such as `ArcFace(m=0.5)`.
        embeddings: (B, D) floating point, of any length.
        class_weights: (C, D), or (C, K, D) with K centres per class, whatever the default of the margin.
        labels: (B,) int64 in [0, C).
        config: Scale and other settings of the head; the margin's paper's scale if None.

    Raises:
        ConfigError: Margin and config do not fit together.
        ValueError: Shapes or labels do not fit.
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
    """Return the (B,) losses, differentiable with respect to embeddings and class weights.

    A margin with state or random draws is in its initial state, without draws. For training use `ClassHead`.

    Args:
        margin: The margin, such as `ArcFace(m=0.5)`.
        embeddings: (B, D) floating point, of any length.
        class_weights: (C, D), or (C, K, D) with K centres per class.
        labels: (B,) int64 in [0, C).
        loss: From per-sample terms to losses; cross-entropy without smoothing if None.
        config: Scale and other settings of the head; the margin's paper's scale if None.

    Raises:
        ConfigError: Margin, loss and config do not fit together.
        ValueError: Shapes or labels do not fit.
    """
    loss = loss or CrossEntropy()
    check_loss(margin, loss)
    return loss(_head(margin, embeddings, class_weights, config)(embeddings, labels))


def _head(margin: Margin, embeddings: Tensor, class_weights: Tensor, config: HeadConfig | None) -> ClassHead:
    """Return a head in eval mode that uses the caller's class weights."""
    config = config or HeadConfig()
    if not isinstance(class_weights, Tensor) or class_weights.ndim not in (2, 3):
        kind = tuple(class_weights.shape) if isinstance(class_weights, Tensor) else type(class_weights).__name__
        raise ValueError(f"class_weights must be a tensor (C, D) or (C, K, D), got {kind}")
    centers = {"centers": class_weights.shape[1] if class_weights.ndim == 3 else 1}
    if "centers" in type(margin).model_fields:
        margin = margin if "centers" in margin.model_fields_set else margin.model_copy(update=centers)
    elif "centers" not in config.model_fields_set:
        config = config.model_copy(update=centers)
    num_classes, size = len(class_weights), class_weights.shape[-1]
    precision = torch.promote_types(embeddings.dtype, torch.float32)
    head = ClassHead(margin, num_classes, size, config, class_weights=class_weights, dtype=precision)
    return head.to(embeddings.device).eval()
