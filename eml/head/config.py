"""The section `head` of a config: settings of the class head."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from eml.config import Strict
from eml.errors import Problem
from eml.head.class_margins import ClassMargins
from eml.head.inits import HeadInit
from eml.head.inits.random import RandomInit
from eml.head.modes import Auto, Mode
from eml.margins import Margin, Prototypes


class MarginSchedule(Strict):
    """Growth of the margin over training: a factor on `m`, or on the class margins, that rises from `start` to 1."""

    shape: Literal["linear", "cosine", "log"] = Field(
        "linear", description="cosine: slow at both ends; log: start^(1−t), equal ratios in equal times"
    )
    start: float = Field(0.1, ge=0, le=1, description="factor at the first step; above 0 for log")
    until: float = Field(1.0, gt=0, le=1, description="share of the training after which the factor is 1")

    @model_validator(mode="after")
    def _positive_for_log(self) -> Self:
        if self.shape == "log" and self.start == 0:
            raise ValueError("start must be above 0 for shape log, got 0")
        return self

    def factor(self, progress: float) -> float:
        """Return the factor. progress: of the training, 0 at its first step and 1 at its last."""
        t = min(1.0, progress / self.until)
        match self.shape:
            case "linear":
                return self.start + (1 - self.start) * t
            case "cosine":
                return self.start + (1 - self.start) * (1 - math.cos(math.pi * t)) / 2
            case "log":
                return float(self.start ** (1 - t))


class HeadConfig(Strict):
    """Settings of the class head that hold for any margin.

    Attributes:
        scale: Factor from cosine to logit, above 0: a number, `auto` for √2·ln(C−1) (arXiv:1905.00292), `paper` for the
            value that the margin's paper trains with, or `learned`, starting from that value.
        centers: Centres K per class, 1 to 100; the nearest one counts.
        prototypes: `none`, `vpl`, or `Prototypes`: mix class weights with the latest embedding of the class.
        init: What class weights begin at, in a training run: `random`, `means` or `text`.
        mode: How the head goes over its classes: `auto`, `dense`, `tiled` or `sampled`.
        product: Precision of the factors of the large product, `full` or `bfloat16`.
        class_margins: A margin per class from its number of images, which replaces the margin's `m`.
        margin_schedule: Growth of the margin over training; None for the full margin from the first step.
        loss_weight_power: Weigh a class's loss by count^(−power), in [0, 1]; 0 for equal weights.
    """

    scale: Annotated[float, Field(gt=0)] | Literal["auto", "paper", "learned"] = Field(
        "paper",
        description="factor from cosine to logit: a number, 'auto' for √2·ln(C−1) (arXiv:1905.00292), 'paper' for "
        "the value that the margin's paper trains with, which suits many thousands of classes, or 'learned', starting "
        "there; softmax and sphereface have their own scale, adacos starts at it",
    )
    centers: int = Field(1, ge=1, le=100, description="centres K per class; the nearest one counts")
    prototypes: Prototypes | Literal["vpl", "none"] = Field(
        "none", description="vpl: mix class weights with the class's latest embedding; or a section with its settings"
    )
    init: HeadInit = Field(
        RandomInit(),
        description="class weights at the start: random; means, the mean embedding of some images of each class; text, "
        "the vectors of class_texts, see docs/text.md",
    )
    mode: Mode = Field(
        Auto(), description="how the head goes over its classes; changes memory and time, and for sampled the result"
    )
    product: Literal["full", "bfloat16"] = Field(
        "full",
        description="precision of the factors of the large product; target cosines and sums are always float32; "
        "full: as the device computes float32, on CUDA see cuda.tf32",
    )
    class_margins: ClassMargins | None = Field(
        None, description="a margin for each class from its number of images, instead of the margin's m"
    )
    margin_schedule: MarginSchedule | None = Field(
        None, description="growth of m over training; null: full from the start"
    )
    loss_weight_power: float = Field(
        0.0,
        ge=0,
        le=1,
        description="weigh a class's loss by count^(−power), scaled to a mean of 1 over all images; 0: off",
    )

    def problems(self, margin: Margin, num_classes: int, counts: Sequence[int] | None) -> list[Problem]:
        """Return a line for each pair of settings that do not fit together. counts: images per class."""
        return [
            *self._count_problems(counts),
            *self._margin_problems(margin, counts),
            *self._scale_problems(margin, num_classes),
            *self._family_problems(margin),
        ]

    def _count_problems(self, counts: Sequence[int] | None) -> Iterator[Problem]:
        for key in ("class_margins", "loss_weight_power"):
            if not getattr(self, key):
                continue
            if counts is None:
                yield _problem(key, "needs the number of images of each class (counts)", "missing-key")
            elif min(counts) < 1:
                yield _problem(
                    key, f"class {list(counts).index(min(counts))} has no image; leave it out", "too-few-images"
                )

    def _margin_problems(self, margin: Margin, counts: Sequence[int] | None) -> Iterator[Problem]:
        adapting = [key for key in ("class_margins", "margin_schedule") if getattr(self, key) is not None]
        if adapting and "m" not in type(margin).model_fields:
            for key in adapting:
                yield _problem(key, f"needs a margin with a field m, and {margin.type} has none")
        elif adapting and not (self.class_margins and (counts is None or min(counts) < 1)):
            full = self.class_margins.margins(counts) if self.class_margins and counts else [margin.model_dump()["m"]]
            factor = self.margin_schedule.start if self.margin_schedule else 1.0
            for value in sorted({min(full) * factor, max(full)}):
                try:
                    type(margin).model_validate(margin.model_dump() | {"m": value})
                except ValidationError as error:
                    reason = error.errors()[0]["msg"]
                    text = f"makes margin.m {value:.4g}, which {margin.type} does not allow: {reason}"
                    yield _problem(adapting[0], text, "out-of-range")

    def _scale_problems(self, margin: Margin, num_classes: int) -> Iterator[Problem]:
        if self._first(margin) == "auto" and num_classes < 3:
            text = "auto is √2·ln(C−1), which is 0 for 2 classes; give a number, such as 16"
            yield _problem("scale", text, "out-of-range")
        if self.scale == "learned" and margin.own_scale():
            yield _problem("scale", f"cannot be learned, {margin.type} has its own")

    def _family_problems(self, margin: Margin) -> Iterator[Problem]:
        if self.centers > 1 and "centers" in type(margin).model_fields:
            yield _problem("centers", f"{margin.type} has centres of its own; set margin.centers")
        if self.prototypes != "none" and margin.prototypes() is not None:
            yield _problem("prototypes", f"{margin.type} has prototypes of its own")
        if self.prototypes != "none" and not margin.normalised:
            text = f"needs normalised class weights, and {margin.type} does not normalise them"
            yield _problem("prototypes", text)
        if self.loss_weight_power and margin.reduction == "proxy":
            yield _problem("loss_weight_power", f"{margin.type} has no loss per sample to weigh")

    def memory(self, margin: Margin) -> Prototypes | None:
        """Return how class weights are mixed with remembered embeddings, by the margin or the head, or None."""
        match self.prototypes:
            case "none":
                return margin.prototypes()
            case "vpl":
                return Prototypes()
            case prototypes:
                return prototypes

    def first_scale(self, margin: Margin, num_classes: int) -> float:
        """Return the scale as a number: the constant one, or the one that training starts with."""
        scale = self._first(margin)
        return math.sqrt(2) * math.log(num_classes - 1) if scale == "auto" else float(scale)

    def _first(self, margin: Margin) -> float | Literal["auto"]:
        if not margin.normalised or self.scale == "paper" or self.scale == "learned":
            return margin.paper_scale
        return self.scale


def _problem(key: str, text: str, code: str = "conflicting-settings") -> Problem:
    """Return the problem of a key of the head."""
    return Problem(f"head.{key}: {text}", code, f"head.{key}")
