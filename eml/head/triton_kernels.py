"""The elementwise part of a tile of classes as two Triton kernels: one pass over the cosines forward, one backward."""

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 1024  # classes that a program of the forward pass reads at once
SPLIT = 4 * COLUMNS  # classes of a program
ROWS, BLOCK = 16, 128  # samples and classes that a program of the backward pass holds at once
LOWEST = tl.constexpr(-3e38)  # below every logit, and finite, so that no difference of two of them is NaN


@triton.jit
def _reduce(
    product,
    inverse,
    log_weights,
    places,
    scale,
    highest,
    sums,
    totals,
    nearest,
    columns,
    split,
    labels: tl.constexpr,
    has_inverse: tl.constexpr,
    has_weights: tl.constexpr,
    block: tl.constexpr,
):
    """Reduce a part of a sample's classes: grid (B, parts)."""
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    factor = tl.load(scale + row)
    top = tl.full((block,), LOWEST, tl.float32)
    near = tl.full((block,), float("-inf"), tl.float32)
    mass = tl.zeros((block,), tl.float32)
    total = tl.zeros((block,), tl.float32)
    for start in range(0, split, block):
        column = part * split + start + tl.arange(0, block)
        is_class = column < columns
        cosine = tl.load(product + row * columns + column, mask=is_class, other=0.0).to(tl.float32)
        if has_inverse:
            cosine *= tl.load(inverse + column, mask=is_class, other=0.0)
        counts = is_class
        for label in tl.static_range(labels):
            counts = counts & (column != tl.load(places + row * labels + label))
        near = tl.maximum(near, tl.where(counts, cosine, float("-inf")))
        logit = cosine * factor
        if has_weights:
            log_weight = tl.load(log_weights + column, mask=is_class, other=0.0)
            total += tl.where(counts, logit * tl.exp(log_weight), 0.0)
            logit += log_weight
        else:
            total += tl.where(counts, logit, 0.0)
        logit = tl.where(counts, logit, float("-inf"))
        higher = tl.maximum(top, logit)
        mass = mass * tl.exp(top - higher) + tl.exp(logit - higher)
        top = higher
    most = tl.max(top, axis=0)
    place = row * tl.num_programs(1) + part
    tl.store(highest + place, most)
    tl.store(sums + place, tl.sum(mass * tl.exp(top - most), axis=0))
    tl.store(totals + place, tl.sum(total, axis=0))
    tl.store(nearest + place, tl.max(near, axis=0))


@triton.jit
def _differentiate(
    product,
    inverse,
    log_weights,
    places,
    scale,
    sums,
    by_sum,
    by_total,
    by_product,
    pull,
    by_scale,
    samples,
    columns,
    labels: tl.constexpr,
    has_inverse: tl.constexpr,
    has_weights: tl.constexpr,
    of_scale: tl.constexpr,
    rows: tl.constexpr,
    block: tl.constexpr,
):
    """Write the gradient of some classes for all samples: grid (parts,)."""
    part = tl.program_id(0)
    column = part * block + tl.arange(0, block)
    is_class = column < columns
    length, log_weight, weight = 1.0, 0.0, 1.0
    if has_inverse:
        length = tl.load(inverse + column, mask=is_class, other=0.0)[None, :]
    if has_weights:
        log_weight = tl.load(log_weights + column, mask=is_class, other=0.0)[None, :]
        weight = tl.exp(log_weight)
    pulled = tl.zeros((block,), tl.float32)
    for start in range(0, samples, rows):
        row = start + tl.arange(0, rows)
        is_sample = row < samples
        inside = is_sample[:, None] & is_class[None, :]
        place = row[:, None].to(tl.int64) * columns + column[None, :]
        cosine = tl.load(product + place, mask=inside, other=0.0).to(tl.float32) * length
        factor = tl.load(scale + row, mask=is_sample, other=0.0)[:, None]
        shift = tl.load(sums + row, mask=is_sample, other=0.0)[:, None]
        gradient = tl.exp(cosine * factor - shift + log_weight)
        gradient *= tl.load(by_sum + row, mask=is_sample, other=0.0)[:, None]
        gradient += tl.load(by_total + row, mask=is_sample, other=0.0)[:, None] * weight
        counts = inside
        for label in tl.static_range(labels):
            target = tl.load(places + row * labels + label, mask=is_sample, other=-1)
            counts = counts & (column[None, :] != target[:, None])
        gradient = tl.where(counts, gradient, 0.0)
        if of_scale:
            tl.store(by_scale + part * samples + row, tl.sum(gradient * cosine, axis=1), mask=is_sample)
        gradient *= factor
        pulled += tl.sum(gradient * cosine, axis=0)
        tl.store(by_product + place, gradient * length, mask=inside)
    tl.store(pull + column, pulled, mask=is_class)


def reduce(
    product: Tensor, inverse: Tensor | None, log_weights: Tensor | None, places: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ln Σ exp z, Σ z and the largest cosine of each sample (B,), as `eml.head.fused.reduce_plainly` does."""
    samples, columns = product.shape
    parts = triton.cdiv(columns, SPLIT)
    highest, sums, totals, nearest = torch.empty(4, samples, parts, device=product.device)
    unused = scale  # a pointer that is not read
    _reduce[(samples, parts)](
        product,
        unused if inverse is None else inverse,
        unused if log_weights is None else log_weights,
        places,
        scale,
        highest,
        sums,
        totals,
        nearest,
        columns,
        SPLIT,
        labels=places.shape[1],
        has_inverse=inverse is not None,
        has_weights=log_weights is not None,
        block=COLUMNS,
    )
    return (highest + sums.log()).logsumexp(1), totals.sum(1), nearest.amax(1)


def differentiate(
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
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of the product (B, c), along the class weights (c,) and of the scale (B,).

    See `eml.head.fused.differentiate_plainly`.
    """
    samples, columns = product.shape
    parts = triton.cdiv(columns, BLOCK)
    by_product, pull = torch.empty_like(product), torch.empty(columns, device=product.device)
    by_scale = torch.empty(parts, samples, device=product.device) if of_scale else None
    unused = scale
    _differentiate[(parts,)](
        product,
        unused if inverse is None else inverse,
        unused if log_weights is None else log_weights,
        places,
        scale,
        sums,
        by_sum,
        by_total,
        by_product,
        pull,
        unused if by_scale is None else by_scale,
        samples,
        columns,
        labels=places.shape[1],
        has_inverse=inverse is not None,
        has_weights=log_weights is not None,
        of_scale=of_scale,
        rows=ROWS,
        block=BLOCK,
    )
    return by_product, pull, None if by_scale is None else by_scale.sum(0)
