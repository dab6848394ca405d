"""Fused kernels for the tiles of a class head on a GPU, where they are installed and give the results of plain torch.

A tile of cosines is read once forward and once backward, where torch's operations read and write it some ten times
each. Only the plain case is fused: softmax, cosines of single class weights in float32 that the margin leaves as they
are. Everything else goes through the plain operations.
"""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eml.head.negatives import LogitInputs, LogitSpec, Targets

SWITCH = "EML_TRITON"  # off: never use the kernels
CLOSE = 1e-5  # largest difference to float64, relative to the largest value of each result
CHECK = (19, 4500)  # samples and classes of the check: several programs, the last ones with too few

Reduced = tuple[Tensor, Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor | None]


def reduce_plainly(
    product: Tensor, inverse: Tensor | None, log_weights: Tensor | None, places: Tensor, scale: Tensor
) -> Reduced:
    """Return ln Σ w·exp z, Σ w·z and the largest cosine of each sample over a tile's classes that are no targets.

    Args:
        product: (B, c) products with class weights.
        inverse: (c,) 1/‖class weight‖, which makes cosines of products; None for 1.
        log_weights: (c,) ln w; None for w = 1.
        places: (B, labels) of the targets in the tile, −1 for none there.
        scale: (B,) from cosine to logit z.
    """
    cosine, is_target = _cosine(product, inverse), _is_target(product, places)
    logits = cosine * scale.unsqueeze(1)
    weighted = logits if log_weights is None else logits * log_weights.exp()
    shifted = logits if log_weights is None else logits + log_weights
    log_sum_exp = shifted.masked_fill(is_target, -torch.inf).logsumexp(1)
    return log_sum_exp, weighted.masked_fill(is_target, 0.0).sum(1), cosine.masked_fill(is_target, -torch.inf).amax(1)


def differentiate_plainly(
    product: Tensor,
    inverse: Tensor | None,
    log_weights: Tensor | None,
    places: Tensor,
    scale: Tensor,
    sums: Tensor,
    by_sum: Tensor,
    by_total: Tensor,
    *,
    of_scale: bool,
) -> Gradients:
    """Return the gradients of what `reduce_plainly` returns, for a tile of the whole.

    Args:
        product: As there.
        inverse: As there.
        log_weights: As there.
        places: As there.
        scale: As there.
        sums: (B,) ln Σ w·exp z over all tiles.
        by_sum: (B,) gradient with respect to it.
        by_total: (B,) gradient with respect to Σ w·z.
        of_scale: Compute the gradient with respect to the scale.

    Returns:
        (B, c) with respect to the product; (c,) Σ over the samples of cosine · gradient with respect to it, which says
        what of the gradient is along a class weight; (B,) with respect to the scale, or None.
    """
    cosine = _cosine(product, inverse)
    shifted = cosine * scale.unsqueeze(1) - sums.unsqueeze(1)
    shifted = shifted if log_weights is None else shifted + log_weights
    weighted = by_total.unsqueeze(1) * (1.0 if log_weights is None else log_weights.exp())
    by_logits = (shifted.exp() * by_sum.unsqueeze(1) + weighted).masked_fill(_is_target(product, places), 0.0)
    by_scale = (by_logits * cosine).sum(1) if of_scale else None
    by_cosine = by_logits * scale.unsqueeze(1)
    by_product = by_cosine if inverse is None else by_cosine * inverse
    return by_product.to(product.dtype), (by_cosine * cosine).sum(0), by_scale


def _cosine(product: Tensor, inverse: Tensor | None) -> Tensor:
    """Return the cosines (B, c), at least in float32."""
    product = product.to(torch.promote_types(product.dtype, torch.float32))
    return product if inverse is None else product * inverse


def _is_target(product: Tensor, places: Tensor) -> Tensor:
    columns = torch.arange(product.shape[1], device=product.device)
    return (columns == places.unsqueeze(2)).any(1)


@dataclass(frozen=True)
class Tile:
    """A tile of classes, as `reduce_plainly` describes its tensors.

    products: (B, c). inverse: (c,). log_weights: (c,). targets: places of the targets in it. scale: () or (B,).
    """

    products: Tensor
    inverse: Tensor | None
    log_weights: Tensor | None
    targets: Targets
    scale: Tensor

    def tensors(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor, Tensor]:
        """Return the arguments of the kernels, each in one piece of memory."""
        columns = [place.where(inside, -1) for place, inside in self.targets.places]
        places = torch.cat(columns, 1).to(torch.int32)
        return (
            self.products.contiguous(),
            self.inverse,
            self.log_weights,
            places,
            self.scale.expand(len(places)).contiguous(),
        )


@dataclass(frozen=True)
class FusedTiles:
    """The two kernels for a tile."""

    reduce: Callable[..., Reduced]
    differentiate: Callable[..., Gradients]

    def terms(self, tile: Tile) -> Reduced:
        """Return what `reduce_plainly` does."""
        with torch.cuda.device_of(tile.products):  # where kernels are started
            return self.reduce(*tile.tensors())

    def gradients(
        self, tile: Tile, sums: Tensor, by_sum: Tensor | None, by_total: Tensor | None, *, of_scale: bool
    ) -> Gradients:
        """Return what `differentiate_plainly` does; a gradient that is None is 0."""
        parts = (torch.zeros_like(sums) if part is None else part.contiguous() for part in (by_sum, by_total))
        with torch.cuda.device_of(tile.products):
            return self.differentiate(*tile.tensors(), sums.contiguous(), *parts, of_scale=of_scale)


@dataclass(frozen=True)
class Variant:
    """A case that the kernels are compiled for, and checked in once."""

    device: torch.device
    product: torch.dtype
    labels: int
    has_inverse: bool
    has_weights: bool


_checked: dict[Variant, str] = {}
"""Why a variant is not used; empty if it is."""


def fused_tiles(spec: LogitSpec, inputs: LogitInputs, *, builds_rows: bool) -> FusedTiles | None:
    """Return the kernels for a pass over tiles; None where it is another case, or they are not there or not right."""
    embeddings, classes = inputs.embeddings, inputs.classes
    is_plain = spec.margin.reduction == "softmax" and not spec.changes_negatives() and not builds_rows
    is_plain &= classes.weights.ndim == 2 and inputs.class_bias is None and inputs.logit_bias is None
    is_plain &= len(spec.contexts) == 1 and not spec.row_penalty
    if not is_plain or embeddings.dtype != torch.float32 or missing(embeddings.device):
        return None
    kind = torch.bfloat16 if spec.low_precision else torch.float32
    has_weights = classes.log_weights is not None
    variant = Variant(embeddings.device, kind, len(classes.places), spec.margin.normalised, has_weights)
    if variant not in _checked:
        _checked[variant] = check(variant)
    return None if _checked[variant] else kernels()


def missing(device: torch.device) -> str:
    """Return why there are no kernels for a device; an empty text if there are."""
    if os.environ.get(SWITCH, "").lower() in ("off", "0"):
        return f"{SWITCH} is off"
    is_interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if not is_interpreted and not (device.type == "cuda" and torch.cuda.is_available()):
        return "there is no CUDA device"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return ""


def state() -> str:
    """Say whether heads on this machine's GPU use the kernels, and why not."""
    device = torch.device("cuda")
    reason = missing(device) or check(Variant(device, torch.float32, 1, has_inverse=True, has_weights=False))
    return f"not used: {reason}" if reason else "used, and equal to plain operations"


def kernels() -> FusedTiles:
    """Return the kernels of Triton."""
    from eml.head import triton_kernels

    return FusedTiles(triton_kernels.reduce, triton_kernels.differentiate)


def check(variant: Variant) -> str:
    """Compare the kernels with float64 on a drawn tile; return why they are not to be used, an empty text if they are.

    Any failure counts, such as that of a compiler: the plain operations give the same result.
    """
    try:
        tile, gradients = _drawn(variant)
        fused = kernels()
        with torch.cuda.device_of(tile["product"]):
            results = [*fused.reduce(**tile), *fused.differentiate(**tile, **gradients, of_scale=True)]
        exact: dict[str, Any] = {name: _as_float64(value) for name, value in tile.items()}
        exact_gradients = {name: value.double() for name, value in gradients.items()}
        expected = [*reduce_plainly(**exact), *differentiate_plainly(**exact, **exact_gradients, of_scale=True)]
        differences = [_difference(*pair) for pair in zip(results, expected, strict=True)]
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
    bounds = [CLOSE] * len(differences)
    if variant.product == torch.bfloat16:
        bounds[3] = torch.finfo(torch.bfloat16).eps  # the gradient of a product in bfloat16 is rounded to it
    too_far = [f"{value:.1e}" for value, bound in zip(differences, bounds, strict=True) if not value <= bound]
    return f"results differ by {', '.join(too_far)}" if too_far else ""


def _drawn(variant: Variant) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a tile, the first sample with its targets in it, and gradients."""
    samples, columns = CHECK
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random).to(variant.device)

    places = torch.randint(-1, columns, (samples, variant.labels), generator=random, dtype=torch.int32)
    tile: dict[str, Any] = {
        "product": (0.3 * draw(samples, columns)).to(variant.product),
        "inverse": draw(columns).abs() if variant.has_inverse else None,
        "log_weights": draw(columns) if variant.has_weights else None,
        "places": places.to(variant.device),
        "scale": 10 * draw(samples).abs(),
    }
    gradients = {"by_sum": draw(samples), "by_total": 1e-3 * draw(samples), "sums": 10 + draw(samples).abs()}
    return tile, gradients


def _as_float64(value: Tensor | None) -> Tensor | None:
    return value.double() if value is not None and value.is_floating_point() else value


def _difference(value: Tensor | None, expected: Tensor | None) -> float:
    """Return the largest difference, relative to the largest expected value; NaN where only one is finite."""
    assert value is not None
    assert expected is not None
    return float((value.double() - expected).abs().max() / expected.abs().max())
