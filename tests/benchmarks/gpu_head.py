"""Part of gpu.py about the class head: dense, tiled and sampled against the floor of its three products, and a peer."""

import os
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from gpu_kit import Part, Step, in_turns, matmul_precision, peak_memory, ratio
from torch import Tensor

from eml.head import fused
from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.losses.cross_entropy import CrossEntropy
from eml.margins.arcface import ArcFace

PRECISIONS = {"float32": "highest", "TF32": "high", "bfloat16": "highest"}
PLAIN_SGD = {"type": "sgd", "momentum": 0.0}  # without state: only forward and backward are timed
WAYS: dict[str, dict[str, object]] = {
    "dense": {"type": "dense"},
    "tiled": {"type": "tiled"},
    "sampled 0.1": {"type": "sampled", "fraction": 0.1, "optimizer": PLAIN_SGD},
}


def floor(weights: Tensor, batch: Tensor, precision: str) -> Step:
    """Return the three large products alone, in the precision of their factors."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    x, rows = batch.detach().to(dtype), weights.detach().to(dtype)

    def step() -> None:
        cosine = x @ rows.T
        cosine.T @ x
        cosine @ rows

    return step


def head_step(way: str, weights: Tensor, batch: Tensor, labels: Tensor, precision: str) -> Step:
    """Return forward and backward of eml's class head in a mode."""
    product = "bfloat16" if precision == "bfloat16" else "full"
    config = HeadConfig.model_validate({"mode": WAYS[way], "product": product})
    head, loss = ClassHead(ArcFace(), *weights.shape, config, class_weights=weights), CrossEntropy()
    head.to(weights.device).train()

    def step() -> None:
        weights.requires_grad_(way != "sampled 0.1")
        batch.grad = weights.grad = None
        loss(head(batch, labels)).mean().backward()
        head.forget_step()

    return step


def peer_step(classes: int, batch: Tensor, labels: Tensor) -> Step | None:
    """Return forward and backward of pytorch-metric-learning's ArcFace, None where it is not installed."""
    try:
        from pytorch_metric_learning import losses
    except ImportError:
        return None
    loss = losses.ArcFaceLoss(num_classes=classes, embedding_size=batch.shape[1]).to(batch.device)

    def step() -> None:
        batch.grad = loss.W.grad = None
        loss(batch, labels).backward()

    return step


def without_kernels(step: Step) -> Step:
    """Return the step with torch's operations in place of the fused kernels."""

    def plain() -> None:
        os.environ[fused.SWITCH] = "off"
        try:
            step()
        finally:
            del os.environ[fused.SWITCH]

    return plain


def compare(part: Part, classes: int, count: int, size: int, precision: str) -> None:
    """Record the times of all ways with so many classes, as ratios to the floor, and their memory."""
    torch.manual_seed(0)
    device = part.device
    weights = torch.nn.Parameter(torch.randn(classes, size, device=device))
    batch = torch.randn(count, size, device=device, requires_grad=True)
    labels = torch.randint(classes, (count,), device=device)
    steps: dict[str, Step] = {"floor": floor(weights, batch, precision)}
    memory: dict[str, float | None] = {}
    makers: dict[str, Callable[[], Step | None]] = {
        way: partial(head_step, way, weights, batch, labels, precision) for way in WAYS
    }
    makers["tiled, not fused"] = lambda: without_kernels(head_step("tiled", weights, batch, labels, precision))
    makers["pytorch-metric-learning"] = partial(peer_step, classes, batch, labels)
    with matmul_precision(PRECISIONS[precision]):
        for way, make in makers.items():

            def begin(way: str = way, make: Callable[[], Step | None] = make) -> None:
                if way == "pytorch-metric-learning" and precision == "bfloat16":
                    return
                if step := make():
                    step()  # allocates what stays, such as gradients
                    memory[way] = peak_memory(step, device)
                    steps[way] = step

            part.attempt(f"C={classes:,}, {precision}, {way}", begin)
        rounds = 2 if part.dry else 10
        times = in_turns(steps, device, rounds=rounds, seconds=min(6.0, max(1.0, part.left() / 4)))
    for way, measured in times.items():
        part.row(
            f"C={classes:,}, B={count}, D={size}, {precision}, {way}",
            ms=round(1000 * median(measured), 3),
            over_floor=round(ratio(times, way, "floor"), 2),
            extra_memory_MiB=memory.get(way),
        )


def head(part: Part) -> None:
    """Measure the class head."""
    part.note(f"Fused kernels of Triton: {fused.state()}.")
    size, count = (16, 8) if part.dry else (512, 256)
    for classes in (300, 1000) if part.dry else (100_000, 1_000_000):
        for precision in PRECISIONS:
            measure = partial(compare, part, classes, count, size, precision)
            part.attempt(f"C={classes:,}, {precision}", measure, needs=0 if part.dry else 5)
