"""Checks that margin, loss and mixing of images fit together."""

import math

import torch

from eml.errors import ConfigError, Problem
from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.head.modes import Sampled
from eml.head.text_terms import TextTerm
from eml.images.mixes import Mix
from eml.losses import Loss
from eml.margins import Context, Margin


def check_loss(margin: Margin, loss: Loss) -> None:
    """Raise ConfigError if the loss needs a softmax over classes and the margin has none."""
    if margin.reduction != "softmax" and not loss.plain():
        raise ConfigError(
            f"loss: margin {margin.type} has its own loss ({margin.reduction}, no softmax over classes), which allows "
            "neither smoothing nor another loss; set loss: {type: cross_entropy, label_smoothing: 0}",
            code="conflicting-settings",
            parameter="loss",
        )


def check_mix(margin: Margin, head: HeadConfig, mix: Mix | None, text: TextTerm | None = None) -> None:
    """Raise ConfigError if images are mixed and margin, the head's memory or a term of texts allow no two labels."""
    if mix is None:
        return
    start = f"mix: {mix.type} gives every image two labels, and"
    memory, problems = "remembers a class by the embedding of one image", []
    if not _allows_two_labels(margin):
        loss = f"has its own loss ({margin.reduction}, no softmax over classes)"
        reason = loss if margin.reduction != "softmax" else memory
        members = sorted(Margin.members().items())
        allowed = [name for name, member in members if _allows_two_labels(member.model_validate({"type": name}))]
        problems.append(
            f"{start} margin.type {margin.type} {reason}; set mix: null, or a margin that allows two labels: "
            f"{', '.join(allowed)}"
        )
    if head.prototypes != "none":
        problems.append(f"{start} head.prototypes {memory}; set mix: null, or head.prototypes: none")
    if text is not None and not text.takes_mixed:
        allowed = [name for name, member in sorted(TextTerm.members().items()) if member.takes_mixed]
        problems.append(
            f"{start} text.type {text.type} compares images by the text of one; set mix: null, or a term that "
            f"allows two labels: {', '.join(allowed)}"
        )
    if problems:
        raise ConfigError(problems, code="conflicting-settings", parameter="mix")


def _allows_two_labels(margin: Margin) -> bool:
    return margin.reduction == "softmax" and margin.prototypes() is None


def check_texts(
    margin: Margin,
    head: HeadConfig,
    mix: Mix | None,
    loss: Loss,
    text: TextTerm | None = None,
    *,
    neck: str = "identity",
) -> None:
    """Raise ConfigError, with all problems at once, for settings that the texts of classes cannot be compared with.

    neck: The type of the network's neck.
    """
    if not loss.compares_texts:
        return
    keys = {
        "model.neck": neck != "identity",
        "margin": margin.reduction != "softmax" or margin.own_scale() or margin.prototypes() is not None,
        "head.scale": head.scale != "paper",
        "head.centers": max(head.centers, getattr(margin, "centers", 1)) > 1,
        "head.prototypes": head.prototypes != "none",
        "head.mode": isinstance(head.mode, Sampled),
        "head.init": head.init.type != "random",
        "mix": mix is not None,
        "text": text is not None,
    }
    texts = {
        "model.neck": f"{neck} takes images out of the space of the texts; set it to identity",
        "margin": f"{margin.type} needs class weights of its own, or a scale; set it to normface, which has no margin, "
        "or to another, such as cosface, which acts on image→text alone",
        "head.scale": "the scale is the text tower's, which is learned as in its pretraining; set it to paper, which "
        "leaves it to the tower",
        "head.centers": "a class has one text in a step and so one centre; set it to 1",
        "head.prototypes": "class weights are texts, which are mixed with nothing; set it to none",
        "head.mode": "sampled is for class weights; set it to auto, negatives: batch compares with few classes",
        "head.init": "class weights are texts and begin at nothing else; set it to random, which leaves them so",
        "text": "the loss itself compares with the texts; set it to null",
        "mix": "an image of two classes has no text; set it to null",
    }
    if problems := [
        Problem(f"{key}: with loss {loss.type} {texts[key]}", "conflicting-settings", key)
        for key, is_wrong in keys.items()
        if is_wrong
    ]:
        raise ConfigError(problems)


def smoothing_warning(head: ClassHead, loss: Loss) -> str | None:
    """Return a warning if label smoothing opposes the margin: its optimal gap is narrower than the margin.

    The margin is measured in cosine units at θ = 90°, where it has its full effect: cos 90° − target.
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
        f"{gap:.2f} above the others, which opposes the margin of {margin:.2f}; use 0.02 or less, a smaller scale, or "
        "no smoothing"
    )
