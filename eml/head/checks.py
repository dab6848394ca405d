"""Checks of the tensors that a caller gives to a class head."""

import torch
from torch import Tensor


def check_batch(embeddings: Tensor, labels: Tensor, num_classes: int, size: int) -> None:
    """Raise ValueError unless embeddings are (B, size) real numbers, and labels (B,) int64 in [0, num_classes).

    Those on the CPU are checked at once; those on a CUDA device there, later, where a wrong one ends the process.
    """
    for name, value in (("embeddings", embeddings), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")
    if not embeddings.is_floating_point():
        raise ValueError(f"embeddings must be floating point, got {embeddings.dtype}")
    if embeddings.ndim != 2 or embeddings.shape[1] != size:
        raise ValueError(f"embeddings must be (B, {size}), got {tuple(embeddings.shape)}")
    if labels.shape != embeddings.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(f"labels must be ({len(embeddings)},) int64, got {tuple(labels.shape)} {labels.dtype}")
    if labels.device not in (embeddings.device, torch.device("cpu")):
        raise ValueError(f"labels must be on the CPU or on {embeddings.device}, got {labels.device}")
    expected = f"labels must be in [0, {num_classes})"
    if labels.device.type == "cuda":  # the device checks them when it gets there, and nothing waits for it
        torch._assert_async(((labels >= 0) & (labels < num_classes)).all(), expected)
    elif len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
        raise ValueError(f"{expected}, got {int(labels.min())} to {int(labels.max())}")


def check_not_empty(embeddings: Tensor) -> None:
    """Raise ValueError if a batch, of all processes together, has no sample."""
    if not len(embeddings):
        raise ValueError("the batch is empty: the loss needs at least 1 sample")


def check_class_weights(class_weights: Tensor, num_classes: int, centers: int, size: int) -> None:
    """Raise ValueError unless class weights are floating point and (num_classes, size), or (num_classes, K, size).

    num_classes: of the shard. centers: K of the settings.
    """
    if not isinstance(class_weights, Tensor) or not class_weights.is_floating_point():
        kind = class_weights.dtype if isinstance(class_weights, Tensor) else type(class_weights).__name__
        raise ValueError(f"class_weights must be a floating-point tensor, got {kind}")
    shape = (num_classes, size) if class_weights.ndim == 2 and centers == 1 else (num_classes, centers, size)
    if tuple(class_weights.shape) != shape:
        expected = f"({num_classes}, {size})" if centers == 1 else f"({num_classes}, {centers}, {size})"
        settings = f"{num_classes} classes, {centers} {'centre' if centers == 1 else 'centres'}, embedding size {size}"
        raise ValueError(f"class_weights must be {expected} ({settings}), got {tuple(class_weights.shape)}")


def check_share(share: float | Tensor, count: int) -> None:
    """Raise ValueError unless the share of mixed samples is in [0, 1], one number or (count,)."""
    values, expected = torch.as_tensor(share), "share must be in [0, 1]"
    if values.ndim and values.shape != (count,):
        raise ValueError(f"share must be one number or ({count},), got {tuple(values.shape)}")
    if values.device.type == "cuda":
        torch._assert_async(((values >= 0) & (values <= 1)).all(), expected)
    elif values.numel() and not bool(((values >= 0) & (values <= 1)).all()):
        raise ValueError(f"{expected}, got {float(values.min()):g} to {float(values.max()):g}")


def check_draws(draws: Tensor | None, count: int) -> None:
    """Raise ValueError unless the random numbers are (count,)."""
    if draws is not None and tuple(draws.shape) != (count,):
        raise ValueError(f"draws must be ({count},), got {tuple(draws.shape)}")


def check_classes(classes: Tensor, labels: Tensor, num_classes: int) -> None:
    """Raise ValueError unless classes are (n,) int64 in [0, num_classes), each once, ascending, with all labels."""
    if not isinstance(classes, Tensor) or classes.ndim != 1 or classes.dtype != torch.int64:
        kind = f"{tuple(classes.shape)} {classes.dtype}" if isinstance(classes, Tensor) else type(classes).__name__
        raise ValueError(f"classes must be (n,) int64, got {kind}")
    if not bool((classes[1:] > classes[:-1]).all()):
        raise ValueError("classes must be sorted and without repeats")
    if len(classes) and not (int(classes[0]) >= 0 and int(classes[-1]) < num_classes):
        raise ValueError(f"classes must be in [0, {num_classes}), got {int(classes[0])} to {int(classes[-1])}")
    if not bool(torch.isin(labels, classes).all()):
        raise ValueError("classes must contain all labels of the batch")
