"""What a loss needs of the classes that are no target, reduced over them: from one B×C matrix, or tile by tile.

The targets are left out and come back in by terms of their own. Never is a margin put in by subtracting the target from
a sum over all classes: as p → 1 nothing would be left of the difference.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from eml.margins import Context, Margin
from eml.margins.base import per_row, to_unit

RowBuilder = Callable[[Tensor, slice], Tensor]
"""(c, D) or (c, K, D) class weights and which of those given they are → the rows that cosines are taken with."""


@dataclass(frozen=True)
class LogitInputs:
    """What is compared, followed by autograd.

    embeddings: (B, D). class_weights: (C, D) or (C, K, D) of the classes given. class_bias: (C,) added to cosines.
    scale: () or (B,), from cosine to logit. logit_bias: () added to logits.
    """

    embeddings: Tensor
    class_weights: Tensor
    class_bias: Tensor | None
    scale: Tensor
    logit_bias: Tensor | None


@dataclass(frozen=True)
class LogitSpec:
    """How embeddings are compared with classes; B is the batch, C the number of classes given.

    targets: for each label of a sample, (B,) its place among the classes given, −1 where it is none of them. compared:
    how many classes there are, with those that other processes compare. contexts: for each label, or only one where the
    other classes' logits are the same for all; detached. normalised: by class weights of length 1.
    rows: how they are made where it takes more than that. log_weights: (C,) added to logits under the exponential, and
    the weight of everything else is its exponential; None: 0. row_penalty: of the margin, wanted. low_precision:
    bfloat16 factors of the large product. plain: the other classes' cosines as they are, whatever the margin does.
    """

    margin: Margin
    targets: list[Tensor]
    contexts: list[Context]
    compared: int
    normalised: bool = True
    rows: RowBuilder | None = None
    log_weights: Tensor | None = None
    row_penalty: bool = False
    low_precision: bool = False
    plain: bool = False

    def others(self, cosine: Tensor, context: Context) -> Tensor:
        """The other classes' cosines as the loss sees them. (B, c)."""
        return cosine if self.plain else self.margin.negatives(cosine, context)

    def built_rows(self, class_weights: Tensor, ids: slice) -> Tensor:
        """The rows by ordinary autograd. class_weights: (c, D) or (c, K, D)."""
        if self.rows is not None:
            return self.rows(class_weights, ids)
        return to_unit(class_weights) if self.normalised else class_weights

    def penalty(self, rows: Tensor) -> Tensor | None:
        """The margin's penalty of these rows, a part of that of all classes compared; None where it has none."""
        return self.margin.row_penalty(rows if rows.ndim == 3 else rows.unsqueeze(1), self.compared)

    def changes_others(self) -> bool:
        """Whether the margin touches the other classes' cosines."""
        return not self.plain and type(self.margin).negatives is not Margin.negatives


@dataclass
class Targets:
    """Where the targets are among some of the classes: for each label (B, 1) places, valid where inside.

    A second label that is the first one again is inside nowhere.
    """

    places: list[tuple[Tensor, Tensor]]

    @classmethod
    def within(cls, targets: list[Tensor], ids: slice) -> "Targets":
        """targets: for each label (B,) places, −1 for none, of which those in `ids` are looked at."""
        distinct, places = distinct_labels(torch.stack(targets, 1)), []
        for index, target in enumerate(targets):
            place = (target - ids.start).unsqueeze(1)
            inside = (place >= 0) & (place < ids.stop - ids.start) & distinct[:, index : index + 1]
            places.append((place.clamp(0, ids.stop - ids.start - 1), inside))
        return cls(places)

    def fill(self, values: Tensor, value: float) -> None:
        """Put the value at the targets, in place. (B, c)."""
        for place, inside in self.places:
            values.scatter_(1, place, values.gather(1, place).masked_fill(inside, value))

    def mask(self, values: Tensor) -> Tensor:
        """(B, c) where they are; for values that autograd follows, which `fill` must not change."""
        mask = torch.zeros_like(values, dtype=torch.bool)
        for place, inside in self.places:
            mask.scatter_(1, place, mask.gather(1, place) | inside)
        return mask

    def put(self, values: Tensor, originals: list[Tensor]) -> None:
        """Put back what `take` gave."""
        for (place, inside), original in zip(self.places, originals, strict=True):
            values.scatter_(1, place, original.where(inside, values.gather(1, place)))

    def take(self, values: Tensor) -> list[Tensor]:
        """For each label (B, 1) of the values; anything where there is no target."""
        return [values.gather(1, place) for place, _ in self.places]

    def total(self, values: Tensor) -> Tensor:
        """(B,) sum of the values at the targets."""
        picked = [each * inside for each, (_, inside) in zip(self.take(values), self.places, strict=True)]
        return torch.cat(picked, 1).sum(1)


@dataclass(frozen=True)
class NegativeTerms:
    """Reductions over the classes that are no target, differentiable unless said otherwise.

    rows: for each label, (B, D) or (B, K, D) class weights of its class, as they are trained; zeros for a class that is
    not given. Per context, (B,):
    log_sum_exp, ln Σ exp z; total, Σ z. softplus: (B,) Σ ln(1+e^z), for bce. repelled: (), the mean over classes of
    ln(1+Σ e^z) over the batch's samples of other classes, for proxy. row_penalty: (). nearest: (B,) largest cosine,
    detached.
    """

    rows: list[Tensor]
    log_sum_exp: list[Tensor]
    total: list[Tensor]
    nearest: Tensor
    softplus: Tensor | None = None
    repelled: Tensor | None = None
    row_penalty: Tensor | None = None


def product(left: Tensor, right: Tensor, *, low_precision: bool) -> Tensor:
    """left @ right.T with both factors rounded to bfloat16 if wanted; (B, D), (c, D) → (B, c) in their own dtype."""
    if low_precision:
        return (left.bfloat16() @ right.bfloat16().T).to(left.dtype)
    return left @ right.T


def logits_of_others(spec: LogitSpec, cosine: Tensor, context: Context, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Logits as if no class were a target; bias: () added to each. (B, c) → (B, c)."""
    logits = per_row(scale) * spec.others(cosine, context)
    return logits if bias is None else logits + bias


def dense_cosine(spec: LogitSpec, embeddings: Tensor, rows: Tensor, class_bias: Tensor | None) -> Tensor:
    """(B, C) pooled cosines of (C, D) or (C, K, D) rows."""
    cosine = product(embeddings, rows.flatten(0, -2), low_precision=spec.low_precision)
    if rows.ndim == 3:
        cosine = spec.margin.pool(cosine.unflatten(1, rows.shape[:2]))
    return cosine if class_bias is None else cosine + class_bias


def dense_others(spec: LogitSpec, given: LogitInputs) -> NegativeTerms:
    """By ordinary autograd over B×C matrices: the reference, and quickest where they are small."""
    rows = spec.built_rows(given.class_weights.to(given.embeddings.dtype), slice(None))
    cosine = dense_cosine(spec, given.embeddings, rows, given.class_bias)
    weights = None if spec.log_weights is None else spec.log_weights.exp()
    targets = Targets.within(spec.targets, slice(0, cosine.shape[1]))
    mask = targets.mask(cosine)
    nearest = cosine.detach().masked_fill(mask, -math.inf).amax(1)
    sums, totals = [], []
    own = torch.cat(targets.take(cosine), 1)
    counted = torch.cat([inside for _, inside in targets.places], 1)  # (B, labels)
    if weights is not None:
        counted = counted * torch.cat([weights[place] for place, _ in targets.places], 1)
    for context in spec.contexts:
        logits = logits_of_others(spec, cosine, context, given.scale, given.logit_bias)
        weighted = logits if weights is None else logits * weights
        at_targets = logits_of_others(spec, own, context, given.scale, given.logit_bias) * counted
        totals.append(weighted.sum(1) - at_targets.sum(1))
        logits = logits.masked_fill_(mask, -math.inf)  # a tensor of its own, which no gradient needs as it was
        sums.append((logits if spec.log_weights is None else logits + spec.log_weights).logsumexp(1))
    softplus = repelled = None
    if spec.margin.reduction == "bce":
        # ln(1+e^x) as −ln σ(−x): torch's softplus is x above 20, an error of 2e-9
        terms = -logsigmoid(-logits)
        softplus = (terms if weights is None else terms * weights).sum(1)
    if spec.margin.reduction == "proxy":
        columns = repelled_columns(logits)
        repelled = (columns if weights is None else columns * weights).sum()
    penalty = spec.penalty(rows) if spec.row_penalty else None
    own_rows = [rows_at(given.class_weights, each) for each in spec.targets]
    return NegativeTerms(own_rows, sums, totals, nearest, softplus, repelled, penalty)


def no_others(spec: LogitSpec, given: LogitInputs) -> NegativeTerms:
    """The same over no class at all; in the graph, since other processes wait for its part of shared gradients."""
    zero = 0.0 * (given.embeddings.sum(1) + given.scale) + 0.0 * given.class_weights.sum()
    zero = zero if given.logit_bias is None else zero + 0.0 * given.logit_bias
    return NegativeTerms(
        [rows_at(given.class_weights, each) for each in spec.targets],
        [zero - math.inf for _ in spec.contexts],
        [zero for _ in spec.contexts],
        torch.full_like(zero.detach(), -math.inf),
        zero if spec.margin.reduction == "bce" else None,
        zero.sum() if spec.margin.reduction == "proxy" else None,
        zero.sum() if spec.row_penalty else None,
    )


def rows_at(class_weights: Tensor, places: Tensor) -> Tensor:
    """(B, …) rows of the class weights, zeros without a gradient where the place is −1."""
    if not len(class_weights):
        return class_weights.new_zeros(len(places), *class_weights.shape[1:])
    rows = class_weights[places.clamp_min(0)]
    return torch.where((places >= 0).view(-1, *[1] * (rows.ndim - 1)), rows, rows.new_zeros(()))


def distinct_labels(targets: Tensor) -> Tensor:
    """(B, labels) whether a label is no repetition of the row's first."""
    distinct = torch.ones_like(targets, dtype=torch.bool)
    distinct[:, 1:] = targets[:, 1:] != targets[:, :1]
    return distinct


def repelled_columns(logits: Tensor) -> Tensor:
    """(c,) ln(1+Σ exp z) over the batch. (B, c)."""
    return torch.cat([logits.new_zeros(1, logits.shape[1]), logits]).logsumexp(0)  # exp 0 is the 1
