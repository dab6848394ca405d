"""Whether a loss goes with a margin: what is an error, and what deserves a warning."""

import math

import torch

from eml.errors import ConfigError
from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.images.mixes import Mix
from eml.losses import Loss
from eml.margins import Context, Margin


def check_loss(margin: Margin, loss: Loss) -> None:
    """Raises ConfigError when the loss is one over a softmax, and the margin is none."""
    if margin.reduction != "softmax" and not loss.plain():
        raise ConfigError(
            f"loss: margin {margin.type} is a loss of its own ({margin.reduction}, no softmax over classes), "
            "with which neither smoothing nor another loss goes; set loss: {type: cross_entropy, label_smoothing: 0}"
        )


def check_mix(margin: Margin, head: HeadConfig, mix: Mix | None) -> None:
    """Raises ConfigError when images are mixed, and the margin or the head's memory has no place for two labels."""
    problems, remembers = [], "remembers a class by the embedding of one image of it"
    if mix is None:
        return
    if not _takes_two_labels(margin):
        own = f"is a loss of its own ({margin.reduction}, no softmax over classes)"
        allowed = [name for name, each in sorted(Margin.members().items()) if _takes_two_labels(each(type=name))]
        problems.append(
            f"mix: {mix.type} gives every image two labels, and margin.type {margin.type} "
            f"{own if margin.reduction != 'softmax' else remembers}; set mix: null, or a margin that takes two: "
            f"{', '.join(allowed)}"
        )
    if head.prototypes != "none":
        problems.append(
            f"mix: {mix.type} gives every image two labels, and head.prototypes {remembers}; set mix: null, or "
            "head.prototypes: none"
        )
    if problems:
        raise ConfigError(problems)


def _takes_two_labels(margin: Margin) -> bool:
    return margin.reduction == "softmax" and margin.prototypes() is None


def smoothing_warning(head: ClassHead, loss: Loss) -> str | None:
    """A line to show where label smoothing opposes the margin: the gap it settles at is narrower than the margin.

    The margin is measured in cosine units at θ = 90°, where it takes full effect: cos 90° − target.
    """
    gap = loss.optimal_gap(head.num_classes, head.scale)
    if head.margin.reduction != "softmax" or not head.margin.normalised or math.isinf(gap):
        return None
    with torch.no_grad():
        right_angle = head.class_weights.new_zeros(1)
        context = Context(right_angle, norms=right_angle + 1, state=head.state())
        margin = -float(head.margin.target(right_angle, context))
    if gap >= margin:
        return None
    return (
        f"loss.label_smoothing: with {head.num_classes:,} classes at scale {head.scale:.4g} it holds the target cosine "
        f"{gap:.2f} above the others, and so opposes the margin, which asks for {margin:.2f}; use 0.02 or less, a "
        "smaller scale, or none"
    )
