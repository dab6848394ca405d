"""Reductions over the classes that are not the target: what a loss needs of them, from one matrix B×C.

The targets are left out of the reductions and added by terms of their own. A margin is never applied by subtracting the
target from a sum over all classes: as p → 1, nothing would be left of the difference.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from eml.config.plugins import plugin_of
from eml.errors import ConfigError
from eml.head.active_classes import ActiveClasses
from eml.margins import Context, Margin
from eml.margins.base import per_row, to_unit

RowBuilder = Callable[[Tensor, slice], Tensor]
"""(c, D) or (c, K, D) class weights and the slice of the active classes they are → the rows to take cosines with."""


@dataclass(frozen=True)
class LogitInputs:
    """Tensors that logits are computed from, followed by autograd.

    embeddings: (B, D). classes: with class weights (C, D) or (C, K, D). class_bias: (C,) added to cosines. scale: () or
    (B,), from cosine to logit. logit_bias: () added to logits.
    """

    embeddings: Tensor
    classes: ActiveClasses
    class_bias: Tensor | None
    scale: Tensor
    logit_bias: Tensor | None


@dataclass(frozen=True)
class LogitSpec:
    """Settings for computing logits from cosines.

    contexts: detached, one for each label of a sample, or a single one where the negatives' logits are the same for all
    labels. rows: builds the rows to take cosines with, where scaling class weights to length 1 is not enough.
    row_penalty: compute the margin's penalty of the rows. low_precision: round the factors of the large product to
    bfloat16. plain: leave the negatives' cosines as they are, whatever the margin does to them.
    """

    margin: Margin
    contexts: list[Context]
    rows: RowBuilder | None = None
    row_penalty: bool = False
    low_precision: bool = False
    plain: bool = False

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """Return the negatives' cosines as the loss sees them. (B, c) → (B, c)."""
        if self.plain:
            return cosine
        moved = self.margin.negatives(cosine, context)
        check_shape(self.margin, "negatives", moved, cosine)
        return moved

    def logits(self, cosine: Tensor, context: Context, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Return logits as if no class were a target. (B, c) → (B, c); bias: () added to each."""
        logits = per_row(scale) * self.negatives(cosine, context)
        return logits if bias is None else logits + bias

    def cosine(self, embeddings: Tensor, rows: Tensor, class_bias: Tensor | None) -> Tensor:
        """Return the (B, C) pooled cosines to (C, D) or (C, K, D) rows."""
        cosine = product(embeddings, rows.flatten(0, -2), low_precision=self.low_precision)
        if rows.ndim == 3:
            cosine = self.margin.pool(cosine.unflatten(1, rows.shape[:2]))
        return cosine if class_bias is None else cosine + class_bias

    def build_rows(self, class_weights: Tensor, ids: slice) -> Tensor:
        """Return the rows to take cosines with, followed by autograd. class_weights: (c, D) or (c, K, D)."""
        if self.rows is not None:
            return self.rows(class_weights, ids)
        return to_unit(class_weights) if self.margin.normalised else class_weights

    def penalty(self, rows: Tensor, compared: int) -> Tensor | None:
        """Return the margin's penalty () of these rows, a part of that of all `compared` classes; None for none."""
        return self.margin.row_penalty(rows if rows.ndim == 3 else rows.unsqueeze(1), compared)

    def changes_negatives(self) -> bool:
        """Return whether the margin changes the negatives' cosines."""
        return not self.plain and changes_negatives(self.margin)


@dataclass(frozen=True)
class NegativeTerms:
    """Reductions over the classes that are not the target, differentiable unless said otherwise.

    rows: for each label, (B, D) or (B, K, D) class weights of its class, as they are trained; zeros for a class that is
    not active. log_sum_exp, total: for each context, (B,) ln Σ exp z and Σ z. nearest: (B,) largest cosine, detached.
    softplus: (B,) Σ ln(1+e^z), for bce. repelled: (), the sum over classes of ln(1+Σ e^z) over the batch's samples of
    other classes, for proxy. row_penalty: ().
    """

    rows: list[Tensor]
    log_sum_exp: list[Tensor]
    total: list[Tensor]
    nearest: Tensor
    softplus: Tensor | None = None
    repelled: Tensor | None = None
    row_penalty: Tensor | None = None


class Targets:
    """Places of the targets among some of the classes.

    A second label that repeats the first has no place.

    Args:
        targets: For each label of a sample, (B,) places among all active classes, −1 for none.
        ids: The classes that are looked at.
    """

    def __init__(self, targets: list[Tensor], ids: slice) -> None:
        distinct = distinct_labels(torch.stack(targets, 1))
        self.places: list[tuple[Tensor, Tensor]] = []
        """For each label, (B, 1) places and whether the target is there."""
        for index, target in enumerate(targets):
            place = (target - ids.start).unsqueeze(1)
            inside = (place >= 0) & (place < ids.stop - ids.start) & distinct[:, index : index + 1]
            self.places.append((place.clamp(0, ids.stop - ids.start - 1), inside))

    def fill(self, values: Tensor, value: float) -> None:
        """Put the value at the targets, in place. (B, c)."""
        for place, inside in self.places:
            values.scatter_(1, place, values.gather(1, place).masked_fill(inside, value))

    def mask(self, values: Tensor) -> Tensor:
        """Return (B, c), true at the targets: for values that autograd follows, which `fill` must not change."""
        mask = torch.zeros_like(values, dtype=torch.bool)
        for place, inside in self.places:
            mask.scatter_(1, place, mask.gather(1, place) | inside)
        return mask

    def put(self, values: Tensor, originals: list[Tensor]) -> None:
        """Put back the values that `take` returned."""
        for (place, inside), original in zip(self.places, originals, strict=True):
            values.scatter_(1, place, original.where(inside, values.gather(1, place)))

    def take(self, values: Tensor) -> list[Tensor]:
        """Return for each label (B, 1) of the values; an arbitrary one where there is no target."""
        return [values.gather(1, place) for place, _ in self.places]

    def total(self, values: Tensor) -> Tensor:
        """Return the (B,) sum of the values at the targets."""
        picked = [value * inside for value, (_, inside) in zip(self.take(values), self.places, strict=True)]
        return torch.cat(picked, 1).sum(1)


def dense_negatives(spec: LogitSpec, inputs: LogitInputs) -> NegativeTerms:
    """Return the reductions by ordinary autograd over matrices B×C: the reference, and fastest where they are small."""
    classes, embeddings = inputs.classes, inputs.embeddings
    rows = spec.build_rows(classes.weights.to(embeddings.dtype), slice(None))
    cosine = spec.cosine(embeddings, rows, inputs.class_bias)
    weights = None if classes.log_weights is None else classes.log_weights.exp()
    targets = Targets(classes.places, slice(0, cosine.shape[1]))
    mask = targets.mask(cosine)
    nearest = cosine.detach().masked_fill(mask, -math.inf).amax(1)
    sums, totals = [], []
    own = torch.cat(targets.take(cosine), 1)
    counted = torch.cat([inside for _, inside in targets.places], 1)  # (B, labels)
    if weights is not None:
        counted = counted * torch.cat([weights[place] for place, _ in targets.places], 1)
    for context in spec.contexts:
        logits = spec.logits(cosine, context, inputs.scale, inputs.logit_bias)
        weighted = logits if weights is None else logits * weights
        at_targets = spec.logits(own, context, inputs.scale, inputs.logit_bias) * counted
        totals.append(weighted.sum(1) - at_targets.sum(1))
        logits = logits.masked_fill_(mask, -math.inf)  # in place: no gradient needs the tensor as it was
        sums.append((logits if classes.log_weights is None else logits + classes.log_weights).logsumexp(1))
    softplus = repelled = None
    if spec.margin.reduction == "bce":
        # ln(1+e^x) as −ln σ(−x): torch's softplus is x above 20, an error of 2e-9
        terms = -logsigmoid(-logits)
        softplus = (terms if weights is None else terms * weights).sum(1)
    if spec.margin.reduction == "proxy":
        columns = repelled_columns(logits)
        repelled = (columns if weights is None else columns * weights).sum()
    penalty = spec.penalty(rows, classes.compared) if spec.row_penalty else None
    return NegativeTerms(classes.target_weights(), sums, totals, nearest, softplus, repelled, penalty)


def no_negatives(spec: LogitSpec, inputs: LogitInputs) -> NegativeTerms:
    """Return the reductions over no class, in the graph: other processes wait for its part of shared gradients."""
    weights = inputs.classes.weights
    zero = 0.0 * (inputs.embeddings.sum(1) + inputs.scale) + 0.0 * weights.sum()
    zero = zero if inputs.logit_bias is None else zero + 0.0 * inputs.logit_bias
    return NegativeTerms(
        inputs.classes.target_weights(),
        [zero - math.inf for _ in spec.contexts],
        [zero for _ in spec.contexts],
        torch.full_like(zero.detach(), -math.inf),
        zero if spec.margin.reduction == "bce" else None,
        zero.sum() if spec.margin.reduction == "proxy" else None,
        zero.sum() if spec.row_penalty else None,
    )


def product(left: Tensor, right: Tensor, *, low_precision: bool) -> Tensor:
    """Return left @ right.T in the dtype of left, from bfloat16 factors if `low_precision`. (B, D), (c, D) → (B, c)."""
    if low_precision:
        return (left.bfloat16() @ right.bfloat16().T).to(left.dtype)
    return left @ right.T


def check_shape(margin: Margin, method: str, moved: Tensor, cosine: Tensor) -> None:
    """Raise ConfigError where a margin's method returns another shape than that of the cosines, which may broadcast."""
    if getattr(moved, "shape", None) == cosine.shape:
        return
    kind, plugin = type(margin), plugin_of(type(margin).__module__)
    shape = tuple(moved.shape) if isinstance(moved, Tensor) else type(moved).__name__
    where = f"{plugin.file or plugin.name}: " if plugin is not None else ""
    text = f"{where}margin {margin.type}: {kind.__name__}.{method} must return the shape of the cosines, "
    raise ConfigError(f"{text}{tuple(cosine.shape)}, got {shape}", code="plugin-failed", parameter="margin")


def changes_negatives(margin: Margin) -> bool:
    """Return whether a margin changes the negatives' cosines."""
    return type(margin).negatives is not Margin.negatives


def distinct_labels(targets: Tensor) -> Tensor:
    """Return (B, labels), false where a label repeats the row's first."""
    distinct = torch.ones_like(targets, dtype=torch.bool)
    distinct[:, 1:] = targets[:, 1:] != targets[:, :1]
    return distinct


def repelled_columns(logits: Tensor) -> Tensor:
    """ln(1+Σ exp z) over the batch. (B, c) → (c,)."""
    return torch.cat([logits.new_zeros(1, logits.shape[1]), logits]).logsumexp(0)  # exp 0 is the 1
