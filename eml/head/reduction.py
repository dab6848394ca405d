"""From the target's logit and the reductions over the negatives to the loss terms of a sample."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from eml.devices import to_device
from eml.head.negatives import (
    LogitInputs,
    LogitSpec,
    NegativeTerms,
    check_shape,
    dense_negatives,
    no_negatives,
    repelled_columns,
)
from eml.head.plan import ClassPlan
from eml.head.shards import Shard
from eml.head.tiled import tiled_negatives
from eml.margins import Context, Margin

Sums = tuple[Tensor, Tensor, Tensor]
"""(B,) ln Σ exp z, Σ z, and the largest cosine to another class."""


def detach_context(context: Context) -> Context:
    """Return the context for the negatives' cosines, from which the target gets no gradient."""
    norms = None if context.norms is None else context.norms.detach()
    return replace(context, cosine_y=context.cosine_y.detach(), norms=norms)


def reduce_negatives(spec: LogitSpec, inputs: LogitInputs, plan: ClassPlan, shard: Shard) -> NegativeTerms:
    """Return the reductions over the negatives of all processes; their rows are of the classes in this one."""
    if not len(inputs.classes.weights):
        part = no_negatives(spec, inputs)
    elif plan.tile is None:
        part = dense_negatives(spec, inputs)
    else:
        part = tiled_negatives(spec, inputs, tile=plan.tile, keep=plan.kept if torch.is_grad_enabled() else 0)
    if shard.group is None:
        return part
    shared = (part.softplus, part.repelled, part.row_penalty)
    return NegativeTerms(
        part.rows,
        [shard.log_sum_exp(sums) for sums in part.log_sum_exp],
        [shard.total(totals) for totals in part.total],
        shard.largest(part.nearest),
        *(None if term is None else shard.total(term) for term in shared),
    )


def target_logit(margin: Margin, context: Context, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Return the target's (B,) logits. scale: () or (B,); bias: () added to them."""
    moved = margin.target(context.cosine_y, context)
    check_shape(margin, "target", moved, context.cosine_y)
    logit = scale * moved
    return logit if bias is None else logit + bias


def add_target(negatives: NegativeTerms, index: int, logit: Tensor) -> Sums:
    """Return the sums over the negatives and the target of label `index`. logit: (B,) of the target."""
    part = min(index, len(negatives.log_sum_exp) - 1)
    return torch.logaddexp(logit, negatives.log_sum_exp[part]), negatives.total[part] + logit, negatives.nearest


def add_second_label(sums: Sums, logit: Tensor, cosine: Tensor, same: Tensor) -> Sums:
    """Return the sums with a mixed sample's second label, a class like any other unless it is the `same`. (B,) each."""
    log_sum_exp, total, nearest = sums
    log_sum_exp = torch.logaddexp(log_sum_exp, logit.masked_fill(same, -math.inf))
    total = total + logit.masked_fill(same, 0.0)
    return log_sum_exp, total, torch.maximum(nearest, cosine.detach().masked_fill(same, -math.inf))


def objective(
    margin: Margin, negatives: NegativeTerms, target_logit: Tensor, labels: Tensor, count: int
) -> Tensor | None:
    """Return the (B,) losses of a margin whose loss is no softmax over classes, None for the others.

    target_logit, labels: (B,), the labels on the CPU or the device. count: number of classes that the negatives stand
    for.
    """
    match margin.reduction:
        case "softmax":
            return None
        case "bce":
            assert negatives.softplus is not None
            positive, negative = margin.balance()
            return -positive * logsigmoid(target_logit) + negative * negatives.softplus
        case "proxy":
            assert negatives.repelled is not None
            return (_attraction(target_logit, labels) + negatives.repelled / count).expand(len(labels))


def penalty(margin: Margin, negatives: NegativeTerms, context: Context) -> Tensor | None:
    """Return the penalty added to the losses, (B,) or (); None for none."""
    per_sample, shared = margin.penalty(context), negatives.row_penalty
    if per_sample is None or shared is None:
        return shared if per_sample is None else per_sample
    return per_sample + shared


def loss_weights(counts: Sequence[int], power: float) -> list[float]:
    """Return count^(−power) for each class, scaled so that the mean over the images is 1."""
    mean = sum(math.pow(count, 1 - power) for count in counts) / sum(counts)
    return [math.pow(count, -power) / mean for count in counts]


def _attraction(target_logit: Tensor, labels: Tensor) -> Tensor:
    """Return the mean () over the batch's classes of ln(1+Σ exp(−z)) over the samples of each. (B,), (B,)."""
    classes, places = labels.unique(return_inverse=True)  # of labels on the device, this waits for it
    places = to_device(places, target_logit.device)
    own = target_logit.new_full((len(labels), len(classes)), -math.inf)
    own = own.scatter(1, places.unsqueeze(1), -target_logit.unsqueeze(1))
    return repelled_columns(own).mean()
