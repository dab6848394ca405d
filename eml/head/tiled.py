"""The reductions over the negatives, one tile of classes after another, with a backward pass of their own."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from eml.head.active_classes import ActiveClasses, rows_at
from eml.head.fused import FusedTiles, Tile, fused_tiles
from eml.head.negatives import LogitInputs, LogitSpec, NegativeTerms, Targets, product, repelled_columns
from eml.margins.base import inverse_length, per_row


def tiled_negatives(spec: LogitSpec, inputs: LogitInputs, *, tile: int, keep: int) -> NegativeTerms:
    """Return the reductions, computed `tile` classes at a time, in the memory of a few matrices B×tile.

    Differentiable once: a second derivative raises RuntimeError. keep: number of classes whose cosines are kept for the
    backward pass; those of the others are computed again there.
    """
    tiles = _Tiles(spec, inputs.classes, tile, keep)
    tiles.fused = fused_tiles(spec, inputs, builds_rows=tiles.builds_rows)
    tensors = (inputs.embeddings, inputs.classes.weights, inputs.class_bias, inputs.scale, inputs.logit_bias)
    outputs = list(_Tiled.apply(tiles, *tensors))
    rows = [outputs.pop(0) for _ in inputs.classes.places]
    sums, totals = ([outputs.pop(0) for _ in spec.contexts] for _ in range(2))
    return NegativeTerms(rows, sums, totals, *outputs)


class _Tiles:
    """The tiles of a pass, and the tensors that its forward keeps for its backward.

    fused: the kernels for their elementwise part, to which products with class weights are given in place of cosines.
    """

    fused: FusedTiles | None = None

    def __init__(self, spec: LogitSpec, classes: ActiveClasses, tile: int, keep: int) -> None:
        self.spec, self.classes, self.tile, self.keep = spec, classes, tile, keep
        self.inverse_lengths: list[Tensor] = []
        self.kept: list[Tensor] = []

    @property
    def builds_rows(self) -> bool:
        """Whether autograd builds the rows; otherwise they are scaled class weights, and no copy of them is made."""
        return self.spec.rows is not None or self.spec.row_penalty

    def __iter__(self) -> Iterator[slice]:
        num_classes = len(self.classes.weights)
        for start in range(0, num_classes, self.tile):
            yield slice(start, min(start + self.tile, num_classes))

    def targets(self, ids: slice) -> Targets:
        return Targets(self.classes.places, ids)

    def log_weights(self, ids: slice) -> Tensor | None:
        return None if self.classes.log_weights is None else self.classes.log_weights[ids]

    def cosine(self, embeddings: Tensor, weights: Tensor, ids: slice, inverse: Tensor | None) -> Tensor:
        """Return the (B, c·K) cosines to a tile's (c, D) or (c, K, D) weights, before pooling and bias."""
        if self.builds_rows:
            weights = self.spec.build_rows(weights, ids)
        low = self.spec.low_precision
        embeddings = embeddings.bfloat16() if low and self.fused else embeddings  # kernels read either precision
        cosine = product(embeddings, weights.flatten(0, -2), low_precision=low)
        return cosine if inverse is None or self.fused is not None else cosine.mul_(inverse)

    def inverse(self, weights: Tensor) -> Tensor | None:
        """Return 1/‖w‖ (c·K,) as `to_unit` takes it; None where rows are not merely scaled."""
        if self.builds_rows or not self.spec.margin.normalised:
            return None
        return inverse_length(torch.linalg.vector_norm(weights.flatten(0, -2), dim=1))

    def pooled(self, cosine: Tensor, class_bias: Tensor | None, ids: slice) -> Tensor:
        """Return the cosines to the classes with their bias. (B, c·K) → (B, c)."""
        if self.classes.weights.ndim == 3:
            cosine = self.spec.margin.pool(cosine.unflatten(1, (-1, self.classes.weights.shape[1])))
        return cosine if class_bias is None else cosine + class_bias[ids]


class _RunningTerms:
    """The reductions over the tiles so far."""

    def __init__(self, tiles: _Tiles, embeddings: Tensor, scale: Tensor, logit_bias: Tensor | None) -> None:
        spec, count = tiles.spec, len(embeddings)
        self.tiles, self.scale, self.logit_bias = tiles, scale, logit_bias
        self.sums = [embeddings.new_full((count,), -math.inf) for _ in spec.contexts]
        self.totals = [embeddings.new_zeros(count) for _ in spec.contexts]
        self.nearest = embeddings.new_full((count,), -math.inf)
        self.softplus = embeddings.new_zeros(count) if spec.margin.reduction == "bce" else None
        self.repelled = embeddings.new_zeros(()) if spec.margin.reduction == "proxy" else None
        self.penalty = embeddings.new_zeros(()) if spec.row_penalty else None

    def add_penalty(self, weights: Tensor, ids: slice) -> None:
        """Add the penalty of a tile's (c, …) class weights."""
        if self.penalty is not None:
            spec = self.tiles.spec
            part = spec.penalty(spec.build_rows(weights, ids), self.tiles.classes.compared)
            self.penalty = self.penalty if part is None else self.penalty + part

    def add_fused(self, fused: FusedTiles, products: Tensor, inverse: Tensor | None, ids: slice) -> None:
        """Add a tile's (B, c) products with class weights by the kernels."""
        tile = Tile(products, inverse, self.tiles.log_weights(ids), self.tiles.targets(ids), self.scale)
        sums, totals, nearest = fused.terms(tile)
        self.sums[0], self.nearest = torch.logaddexp(self.sums[0], sums), torch.maximum(self.nearest, nearest)
        self.totals[0] += totals

    def add(self, cosine: Tensor, ids: slice) -> None:
        """Add a tile's (B, c) cosines, which it leaves as they are."""
        spec, targets, log_weights = self.tiles.spec, self.tiles.targets(ids), self.tiles.log_weights(ids)
        own = targets.take(cosine)
        targets.fill(cosine, -math.inf)
        self.nearest = torch.maximum(self.nearest, cosine.amax(1))
        targets.put(cosine, own)
        for index, context in enumerate(spec.contexts):
            logits = spec.logits(cosine, context, self.scale, self.logit_bias)
            weighted = logits if log_weights is None else logits * log_weights.exp()
            self.totals[index] += weighted.sum(1) - targets.total(weighted)
            targets.fill(logits, -math.inf)
            weighted = logits if log_weights is None else logits + log_weights
            self.sums[index] = torch.logaddexp(self.sums[index], weighted.logsumexp(1))
            if self.softplus is not None:
                terms = -logsigmoid(-logits)
                self.softplus += (terms if log_weights is None else terms * log_weights.exp()).sum(1)
            if self.repelled is not None:
                columns = repelled_columns(logits)
                self.repelled += (columns if log_weights is None else columns * log_weights.exp()).sum()


class _Gradients:
    """The gradients with respect to the inputs, to which each tile adds its part.

    Args:
        tiles: Tiles of the forward pass.
        tensors: Inputs and sums that the forward pass saved.
        gradients: Gradients with respect to the outputs of the forward pass.
        of_scale: Compute the gradient with respect to the scale.
    """

    def __init__(
        self,
        tiles: _Tiles,
        tensors: tuple[Tensor, ...],
        gradients: tuple[Tensor | None, ...],
        *,
        of_scale: bool,
    ) -> None:
        self.tiles = tiles
        self.embeddings, self.class_weights, self.class_bias, self.scale, self.logit_bias, *sums = tensors
        self.sums = [values.masked_fill(values == -math.inf, 0.0) for values in sums]  # no negatives: exp(−∞ − 0) is 0
        labels, contexts = len(tiles.classes.places), len(tiles.spec.contexts)
        self.by_target_weights = gradients[:labels]
        self.by_sum = gradients[labels : labels + contexts]
        self.by_total = gradients[labels + contexts : labels + 2 * contexts]
        self.by_softplus, self.by_repelled, self.by_penalty = gradients[labels + 2 * contexts + 1 :]
        self.embeddings_gradient = torch.zeros_like(self.embeddings)
        # Contiguous whatever the weights' strides: tiles write into flattened views of it.
        self.weights_gradient = self.class_weights.new_empty(self.class_weights.shape)
        self.bias_gradient = None if self.class_bias is None else torch.zeros_like(self.class_bias)
        self.scale_gradient = torch.zeros_like(self.scale) if of_scale else None
        self.logit_bias_gradient = None if self.logit_bias is None else torch.zeros_like(self.logit_bias)

    def add(self, cosine: Tensor, weights: Tensor, ids: slice, inverse: Tensor | None) -> None:
        """Add the part of a tile. cosine: (B, c·K); weights: (c, …); inverse: (c·K,) as in `_Tiles`."""
        out = self.weights_gradient[ids].flatten(0, -2)
        if self.tiles.builds_rows:
            self._add_through_rows(self._by_cosine(cosine, ids), weights, ids, out)
            return
        flat, low = weights.flatten(0, -2), self.tiles.spec.low_precision
        if fused := self.tiles.fused:
            by_product, pull = self._by_kernels(fused, cosine, ids, inverse)
        else:
            by_cosine = self._by_cosine(cosine, ids)
            pull = None if inverse is None else torch.einsum("bc,bc->c", by_cosine, cosine) * inverse**2
            by_product = by_cosine if inverse is None else by_cosine.mul_(inverse)
        if low or out.dtype != self.embeddings.dtype:
            self.embeddings_gradient += product(by_product, flat.T, low_precision=low)
            out.copy_(product(by_product.T, self.embeddings.T, low_precision=low))
        else:
            self.embeddings_gradient.addmm_(by_product, flat)
            torch.mm(by_product.T, self.embeddings, out=out)
        if pull is not None:  # what points along a class weight changes only its length, which does not count
            out.addcmul_(flat.to(out.dtype), pull.unsqueeze(1).to(out.dtype), value=-1)

    def _by_kernels(
        self, fused: FusedTiles, products: Tensor, ids: slice, inverse: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the gradient (B, c) with respect to a tile's products, and the part (c,) along class weights."""
        tile = Tile(products, inverse, self.tiles.log_weights(ids), self.tiles.targets(ids), self.scale)
        by_product, pull, by_scale = fused.gradients(
            tile, self.sums[0], self.by_sum[0], self.by_total[0], of_scale=self.scale_gradient is not None
        )
        if self.scale_gradient is not None and by_scale is not None:
            self.scale_gradient += by_scale if self.scale_gradient.ndim else by_scale.sum()
        return by_product, None if inverse is None else pull * inverse**2

    def add_targets(self) -> None:
        """Add the gradients with respect to the targets' class weights."""
        for places, gradient in zip(self.tiles.classes.places, self.by_target_weights, strict=True):
            if gradient is not None:
                here = (places >= 0).view(-1, *[1] * (gradient.ndim - 1))
                gradient = gradient.to(self.weights_gradient.dtype).where(here, 0.0)
                self.weights_gradient.index_add_(0, places.clamp_min(0), gradient)

    def _add_through_rows(self, by_cosine: Tensor, weights: Tensor, ids: slice, out: Tensor) -> None:
        """Add the gradients where autograd builds the rows; the weights' (c·K, D) one is written to `out`."""
        spec, low = self.tiles.spec, self.tiles.spec.low_precision
        with torch.enable_grad():
            leaf = weights.detach().requires_grad_()
            rows = spec.build_rows(leaf, ids)
            penalty = None if self.by_penalty is None else spec.penalty(rows, self.tiles.classes.compared)
        flat = rows.detach().flatten(0, -2)
        by_rows = product(by_cosine.T, self.embeddings.T, low_precision=low).view_as(rows)
        self.embeddings_gradient += product(by_cosine, flat.T, low_precision=low)
        outputs, gradients = [rows], [by_rows]
        if penalty is not None and self.by_penalty is not None:
            outputs, gradients = [rows, penalty], [by_rows, self.by_penalty]
        out.copy_(torch.autograd.grad(outputs, leaf, gradients)[0].flatten(0, -2))

    def _by_cosine(self, cosine: Tensor, ids: slice) -> Tensor:
        """Return the gradient (B, c·K) with respect to a tile's cosines; add those of biases and scale."""
        spec = self.tiles.spec
        if self.class_weights.ndim == 2 and not spec.changes_negatives():
            by_plain = self._by_negatives(self.tiles.pooled(cosine, self.class_bias, ids), 0, ids)
            if self.bias_gradient is not None:
                self.bias_gradient[ids] = by_plain.sum(0)
            return by_plain
        with torch.enable_grad():
            leaf = cosine.detach().requires_grad_()
            class_bias = None if self.class_bias is None else self.class_bias.detach()
            pooled = self.tiles.pooled(leaf, class_bias, ids)
            outputs = [spec.negatives(pooled, context) for context in spec.contexts]
        by_outputs = [self._by_negatives(output.detach(), index, ids) for index, output in enumerate(outputs)]
        if self.bias_gradient is not None:
            (by_pooled,) = torch.autograd.grad(outputs, pooled, by_outputs, retain_graph=True)
            self.bias_gradient[ids] = by_pooled.sum(0)
        return torch.autograd.grad(outputs, leaf, by_outputs)[0]

    def _by_negatives(self, negatives: Tensor, index: int, ids: slice) -> Tensor:
        """Return the gradient (B, c) with respect to the negatives' cosines as the loss sees them in a context."""
        scale = per_row(self.scale)
        logits = negatives * scale
        if self.logit_bias is not None:
            logits += self.logit_bias
        by_logits = self._by_logits(logits, index, ids)
        if self.scale_gradient is not None:
            per_sample = (by_logits * negatives).sum(1)
            self.scale_gradient += per_sample if self.scale_gradient.ndim else per_sample.sum()
        if self.logit_bias_gradient is not None:
            self.logit_bias_gradient += by_logits.sum()
        return by_logits.mul_(scale)

    def _by_logits(self, logits: Tensor, index: int, ids: slice) -> Tensor:
        targets, log_weights = self.tiles.targets(ids), self.tiles.log_weights(ids)
        weights = 1.0 if log_weights is None else log_weights.exp()
        gradient = torch.zeros_like(logits)
        if (by_sum := self.by_sum[index]) is not None:
            shifted = logits - self.sums[index].unsqueeze(1)
            if log_weights is not None:
                shifted += log_weights
            gradient = shifted.exp_().mul_(by_sum.unsqueeze(1))
        if (by_total := self.by_total[index]) is not None:
            gradient += by_total.unsqueeze(1) * weights
        if self.by_softplus is not None:
            gradient += logits.sigmoid() * weights * self.by_softplus.unsqueeze(1)
        if self.by_repelled is not None:
            targets.fill(logits, -math.inf)
            gradient += (logits - repelled_columns(logits)).exp() * weights * self.by_repelled
        targets.fill(gradient, 0.0)
        return gradient


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tiles: _Tiles,
        embeddings: Tensor,
        class_weights: Tensor,
        class_bias: Tensor | None,
        scale: Tensor,
        logit_bias: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        terms = _RunningTerms(tiles, embeddings, scale, logit_bias)
        for ids in tiles:
            weights = class_weights[ids].to(embeddings.dtype)
            inverse = tiles.inverse(weights)
            cosine = tiles.cosine(embeddings, weights, ids, inverse)
            if inverse is not None:
                tiles.inverse_lengths.append(inverse)
            if ids.stop <= tiles.keep:
                tiles.kept.append(cosine)
            terms.add_penalty(weights, ids)
            if tiles.fused is not None:
                terms.add_fused(tiles.fused, cosine, inverse, ids)
                continue
            terms.add(tiles.pooled(cosine, class_bias, ids), ids)
        ctx.tiles = tiles
        ctx.save_for_backward(embeddings, class_weights, class_bias, scale, logit_bias, *terms.sums)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(terms.nearest)
        rows = [rows_at(class_weights, places) for places in tiles.classes.places]
        return (*rows, *terms.sums, *terms.totals, terms.nearest, terms.softplus, terms.repelled, terms.penalty)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            results = _input_gradients(ctx.tiles, ctx.saved_tensors, gradients, of_scale=ctx.needs_input_grad[4])
        if torch.is_grad_enabled():  # create_graph: without a node that refuses, a second derivative would lack terms
            inputs = [tensor for tensor in (*ctx.saved_tensors, *gradients) if tensor is not None]
            results = tuple(
                None if result is None else _DifferentiatedOnce.apply(result, *inputs) for result in results
            )
        return None, *results


def _input_gradients(
    tiles: _Tiles, saved: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...], *, of_scale: bool
) -> tuple[Tensor | None, ...]:
    """Return the gradients of embeddings, class weights, class bias, scale and logit bias."""
    result = _Gradients(tiles, saved, gradients, of_scale=of_scale)
    for number, ids in enumerate(tiles):
        weights = result.class_weights[ids].to(result.embeddings.dtype)
        inverse = tiles.inverse_lengths[number] if tiles.inverse_lengths else None
        held = number < len(tiles.kept)
        cosine = tiles.kept[number] if held else tiles.cosine(result.embeddings, weights, ids, inverse)
        result.add(cosine, weights, ids, inverse)
    result.add_targets()
    return (
        result.embeddings_gradient,
        result.weights_gradient,
        result.bias_gradient,
        result.scale_gradient,
        result.logit_bias_gradient,
    )


class _DifferentiatedOnce(torch.autograd.Function):
    """Passes a gradient on, and refuses to be differentiated with respect to what it was computed from."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *inputs: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            "mode 'tiled' of the class head has no second derivative; for a loss of gradients set head.mode to 'dense'"
        )
