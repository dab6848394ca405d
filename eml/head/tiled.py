"""The reductions of `others` one tile of classes after the other, with a backward pass of their own."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from eml.head.negatives import (
    LogitInputs,
    LogitSpec,
    NegativeTerms,
    Targets,
    logits_of_others,
    product,
    repelled_columns,
    rows_at,
)
from eml.margins.base import per_row


def tiled_others(spec: LogitSpec, given: LogitInputs, *, tile: int, keep: int) -> NegativeTerms:
    """The same, `tile` classes at a time: no more is held at once than a few matrices B×tile.

    keep: how many classes' cosines are kept for the backward pass; those of the others are computed again there.
    Differentiable once.
    """
    plan = _Plan(spec, len(given.class_weights), tile, keep)
    tensors = (given.embeddings, given.class_weights, given.class_bias, given.scale, given.logit_bias)
    found = list(_Tiled.apply(plan, *tensors))
    rows = [found.pop(0) for _ in spec.targets]
    sums, totals = ([found.pop(0) for _ in spec.contexts] for _ in range(2))
    return NegativeTerms(rows, sums, totals, *found)


@dataclass
class _Plan:
    """The tiles of a pass and what its forward leaves for its backward."""

    spec: LogitSpec
    num_classes: int
    tile: int
    keep: int
    inverse_lengths: list[Tensor] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)

    @property
    def builds_rows(self) -> bool:
        """Whether rows are made by autograd; else they are scaled class weights, and no copy is made of them."""
        return self.spec.rows is not None or self.spec.row_penalty

    def slices(self) -> Iterator[slice]:
        for start in range(0, self.num_classes, self.tile):
            yield slice(start, min(start + self.tile, self.num_classes))

    def targets(self, ids: slice) -> Targets:
        return Targets.within(self.spec.targets, ids)

    def cosine(self, embeddings: Tensor, weights: Tensor, ids: slice, inverse: Tensor | None) -> Tensor:
        """(B, c·K) of a tile's (c, D) or (c, K, D) weights, before pooling and bias."""
        if self.builds_rows:
            weights = self.spec.built_rows(weights, ids)
        cosine = product(embeddings, weights.flatten(0, -2), low_precision=self.spec.low_precision)
        return cosine if inverse is None else cosine.mul_(inverse)

    def inverse(self, weights: Tensor) -> Tensor | None:
        """(c·K,) 1/‖w‖, 0 for what `to_unit` makes zeros; None where rows are not merely scaled."""
        if self.builds_rows or not self.spec.normalised:
            return None
        length = torch.linalg.vector_norm(weights.flatten(0, -2), dim=1)
        return torch.where(length <= 1e-12, torch.zeros_like(length), 1 / length.clamp_min(1e-12))

    def pooled(self, cosine: Tensor, centers: int | None) -> Tensor:
        """(B, c·K) → (B, c)."""
        return cosine if centers is None else self.spec.margin.pool(cosine.unflatten(1, (-1, centers)))

    def add_gradients(
        self,
        ids: slice,
        weights: Tensor,
        inverse: Tensor | None,
        cosine: Tensor,
        by_cosine: Tensor,
        embeddings: Tensor,
        by_embeddings: Tensor,
        out: Tensor,
        by_penalty: Tensor | None,
    ) -> None:
        """From the gradient by a tile's (B, c·K) cosines to those by embeddings and, in `out` (c·K, D), by weights."""
        low = self.spec.low_precision
        if self.builds_rows:
            with torch.enable_grad():
                leaf = weights.detach().requires_grad_()
                rows = self.spec.built_rows(leaf, ids)
                penalty = None if by_penalty is None else self.spec.penalty(rows)
            flat = rows.detach().flatten(0, -2)
            by_rows = product(by_cosine.T, embeddings.T, low_precision=low).view_as(rows)
            by_embeddings += product(by_cosine, flat.T, low_precision=low)
            outputs, gradients = [rows], [by_rows]
            if penalty is not None and by_penalty is not None:
                outputs, gradients = [rows, penalty], [by_rows, by_penalty]
            out.copy_(torch.autograd.grad(outputs, leaf, gradients)[0].flatten(0, -2))
            return
        flat = weights.flatten(0, -2)
        pull = None if inverse is None else torch.einsum("bc,bc->c", by_cosine, cosine) * inverse**2
        by_product = by_cosine if inverse is None else by_cosine.mul_(inverse)
        if low or out.dtype != embeddings.dtype:
            by_embeddings += product(by_product, flat.T, low_precision=low)
            out.copy_(product(by_product.T, embeddings.T, low_precision=low))
        else:
            by_embeddings.addmm_(by_product, flat)
            torch.mm(by_product.T, embeddings, out=out)
        if pull is not None:  # what points along a class weight changes only its length, which does not count
            out.addcmul_(flat.to(out.dtype), pull.unsqueeze(1).to(out.dtype), value=-1)


@dataclass
class _Wanted:
    """Gradients by what the forward gave, and the sums that it gave."""

    sums: list[Tensor]
    by_sum: Sequence[Tensor | None]
    by_total: Sequence[Tensor | None]
    softplus: Tensor | None
    repelled: Tensor | None
    penalty: Tensor | None


@dataclass
class _Tile:
    """The elementwise part of the backward pass of one tile."""

    plan: _Plan
    ids: slice
    centers: int | None
    scale: Tensor
    logit_bias: Tensor | None
    wanted: _Wanted

    def gradient(
        self,
        cosine: Tensor,
        class_bias: Tensor | None,
        by_bias: Tensor | None,
        by_scale: Tensor | None,
        by_logit_bias: Tensor | None,
    ) -> Tensor:
        """(B, c·K) by the cosines; adds to the gradients by biases and scale."""
        spec = self.plan.spec
        if self.centers is None and not spec.changes_others():
            plain = cosine if class_bias is None else cosine + class_bias[self.ids]
            by_plain = self._by_others(plain, 0, by_scale, by_logit_bias)
            if by_bias is not None:
                by_bias[self.ids] = by_plain.sum(0)
            return by_plain
        with torch.enable_grad():
            leaf = cosine.detach().requires_grad_()
            pooled = self.plan.pooled(leaf, self.centers)
            pooled = pooled if class_bias is None else pooled + class_bias[self.ids].detach()
            outputs = [spec.others(pooled, context) for context in spec.contexts]
        by_outputs = [
            self._by_others(each.detach(), index, by_scale, by_logit_bias) for index, each in enumerate(outputs)
        ]
        if by_bias is not None:
            (by_pooled,) = torch.autograd.grad(outputs, pooled, by_outputs, retain_graph=True)
            by_bias[self.ids] = by_pooled.sum(0)
        return torch.autograd.grad(outputs, leaf, by_outputs)[0]

    def _by_others(self, others: Tensor, index: int, by_scale: Tensor | None, by_logit_bias: Tensor | None) -> Tensor:
        """(B, c) by the other classes' cosines as the loss sees them, in the context of that index."""
        wanted, scale = self.wanted, per_row(self.scale)
        logits = others * scale
        if self.logit_bias is not None:
            logits += self.logit_bias
        by_logits = self._by_logits(logits, index, wanted)
        if by_scale is not None:
            per_sample = (by_logits * others).sum(1)
            by_scale += per_sample if by_scale.ndim else per_sample.sum()
        if by_logit_bias is not None:
            by_logit_bias += by_logits.sum()
        return by_logits.mul_(scale)

    def _by_logits(self, logits: Tensor, index: int, wanted: _Wanted) -> Tensor:
        spec, targets = self.plan.spec, self.plan.targets(self.ids)
        log_weights = None if spec.log_weights is None else spec.log_weights[self.ids]
        weights = 1.0 if log_weights is None else log_weights.exp()
        gradient = torch.zeros_like(logits)
        if (by_sum := wanted.by_sum[index]) is not None:
            shifted = logits - wanted.sums[index].unsqueeze(1)
            if log_weights is not None:
                shifted += log_weights
            gradient = shifted.exp_().mul_(by_sum.unsqueeze(1))
        if (by_total := wanted.by_total[index]) is not None:
            gradient += by_total.unsqueeze(1) * weights
        if wanted.softplus is not None:
            gradient += logits.sigmoid() * weights * wanted.softplus.unsqueeze(1)
        if wanted.repelled is not None:
            targets.fill(logits, -math.inf)
            gradient += (logits - repelled_columns(logits)).exp() * weights * wanted.repelled
        targets.fill(gradient, 0.0)
        return gradient


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        plan: _Plan,
        embeddings: Tensor,
        class_weights: Tensor,
        class_bias: Tensor | None,
        scale: Tensor,
        logit_bias: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        spec, count = plan.spec, len(embeddings)
        centers = class_weights.shape[1] if class_weights.ndim == 3 else None
        sums = [embeddings.new_full((count,), -math.inf) for _ in spec.contexts]
        totals = [embeddings.new_zeros(count) for _ in spec.contexts]
        nearest = embeddings.new_full((count,), -math.inf)
        softplus = embeddings.new_zeros(count) if spec.margin.reduction == "bce" else None
        repelled = embeddings.new_zeros(()) if spec.margin.reduction == "proxy" else None
        penalty = embeddings.new_zeros(()) if spec.row_penalty else None
        for ids in plan.slices():
            weights, targets = class_weights[ids].to(embeddings.dtype), plan.targets(ids)
            inverse = plan.inverse(weights)
            cosine = plan.cosine(embeddings, weights, ids, inverse)
            if inverse is not None:
                plan.inverse_lengths.append(inverse)
            if ids.stop <= plan.keep:
                plan.kept.append(cosine)
            if penalty is not None:
                part = spec.penalty(plan.spec.built_rows(weights, ids))
                penalty = penalty if part is None else penalty + part
            pooled = plan.pooled(cosine, centers)
            pooled = pooled if class_bias is None else pooled + class_bias[ids]
            own = targets.take(pooled)
            targets.fill(pooled, -math.inf)
            nearest = torch.maximum(nearest, pooled.amax(1))
            targets.put(pooled, own)
            log_weights = None if spec.log_weights is None else spec.log_weights[ids]
            for index, context in enumerate(spec.contexts):
                logits = logits_of_others(spec, pooled, context, scale, logit_bias)
                weighted = logits if log_weights is None else logits * log_weights.exp()
                totals[index] += weighted.sum(1) - targets.total(weighted)
                targets.fill(logits, -math.inf)
                weighted = logits if log_weights is None else logits + log_weights
                sums[index] = torch.logaddexp(sums[index], weighted.logsumexp(1))
                if softplus is not None:
                    terms = -logsigmoid(-logits)
                    softplus += (terms if log_weights is None else terms * log_weights.exp()).sum(1)
                if repelled is not None:
                    columns = repelled_columns(logits)
                    repelled += (columns if log_weights is None else columns * log_weights.exp()).sum()
        ctx.plan, ctx.centers = plan, centers
        ctx.save_for_backward(embeddings, class_weights, class_bias, scale, logit_bias, *sums)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(nearest)
        rows = [rows_at(class_weights, each) for each in spec.targets]
        return (*rows, *sums, *totals, nearest, softplus, repelled, penalty)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        plan: _Plan = ctx.plan
        spec, labels, contexts = plan.spec, len(plan.spec.targets), len(plan.spec.contexts)
        embeddings, class_weights, class_bias, scale, logit_bias, *sums = ctx.saved_tensors
        wanted = _Wanted(
            sums=[each.masked_fill(each == -math.inf, 0.0) for each in sums],  # no others: exp(−∞ − 0) is 0
            by_sum=gradients[labels : labels + contexts],
            by_total=gradients[labels + contexts : labels + 2 * contexts],
            softplus=gradients[labels + 2 * contexts + 1],
            repelled=gradients[labels + 2 * contexts + 2],
            penalty=gradients[labels + 2 * contexts + 3],
        )
        by_embeddings = torch.zeros_like(embeddings)
        by_weights = torch.empty_like(class_weights)
        by_bias = None if class_bias is None else torch.zeros_like(class_bias)
        by_scale = torch.zeros_like(scale) if ctx.needs_input_grad[4] else None
        by_logit_bias = torch.zeros_like(logit_bias) if logit_bias is not None else None
        for number, ids in enumerate(plan.slices()):
            weights = class_weights[ids].to(embeddings.dtype)
            inverse = plan.inverse_lengths[number] if plan.inverse_lengths else None
            held = number < len(plan.kept)
            cosine = plan.kept[number] if held else plan.cosine(embeddings, weights, ids, inverse)
            tile = _Tile(plan, ids, ctx.centers, scale, logit_bias, wanted)
            by_cosine = tile.gradient(cosine, class_bias, by_bias, by_scale, by_logit_bias)
            out = by_weights[ids].flatten(0, -2)
            plan.add_gradients(ids, weights, inverse, cosine, by_cosine, embeddings, by_embeddings, out, wanted.penalty)
        for target, gradient in zip(spec.targets, gradients[:labels], strict=True):
            if gradient is not None:
                here = (target >= 0).nonzero().squeeze(1)
                by_weights.index_add_(0, target[here], gradient[here].to(by_weights.dtype))
        return None, by_embeddings, by_weights, by_bias, by_scale, by_logit_bias
