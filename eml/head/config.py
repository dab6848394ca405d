"""The class head's section of a config."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from eml.config import Strict
from eml.head.class_margins import ClassMargins
from eml.head.modes import Auto, Mode
from eml.margins import Margin, Prototypes


class MarginSchedule(Strict):
    """The margin's growth over training, as a factor on `m` (per class too): from `start` to 1."""

    shape: Literal["linear", "cosine", "log"] = Field(
        "linear", description="cosine: slow at both ends; log: start^(1−t), which grows by equal ratios"
    )
    start: float = Field(0.1, ge=0, le=1, description="factor at the first step; above 0 for log")
    until: float = Field(1.0, gt=0, le=1, description="share of the training after which the margin is whole")

    @model_validator(mode="after")
    def _positive_for_log(self) -> Self:
        if self.shape == "log" and self.start == 0:
            raise ValueError("start must be above 0 for shape log, got 0")
        return self

    def factor(self, progress: float) -> float:
        """progress: 0 at the first step of training, 1 at the last."""
        t = min(1.0, progress / self.until)
        match self.shape:
            case "linear":
                return self.start + (1 - self.start) * t
            case "cosine":
                return self.start + (1 - self.start) * (1 - math.cos(math.pi * t)) / 2
            case "log":
                return float(self.start ** (1 - t))


class HeadConfig(Strict):
    """Settings of the class head that hold for any margin."""

    scale: Annotated[float, Field(gt=0)] | Literal["auto", "paper", "learned"] = Field(
        "paper",
        description="factor from cosine to logit: a number, 'auto' for √2·ln(C−1) (arXiv:1905.00292), 'paper' for "
        "the value the margin's paper trains with, which suits many thousands of classes, or 'learned' from there; "
        "softmax and sphereface have their own, adacos begins at it",
    )
    centers: int = Field(1, ge=1, le=100, description="centres K per class, of which the nearest counts")
    prototypes: Prototypes | Literal["vpl", "none"] = Field(
        "none", description="vpl: class weights mixed with the class's latest embedding; or a section with its settings"
    )
    mode: Mode = Field(Auto(), description="how it goes over its classes: memory and time, and for sampled the result")
    product: Literal["full", "bfloat16"] = Field(
        "full",
        description="precision of the factors of the large product; target cosines and all sums are float32 either way",
    )
    class_margins: ClassMargins | None = Field(
        None, description="a margin for each class from its number of images, in the place of the margin's m"
    )
    margin_schedule: MarginSchedule | None = Field(None, description="growth of m over training; null: whole at once")
    loss_weight_power: float = Field(
        0.0, ge=0, le=1, description="weight of a class's loss: count^(−power), over all images 1 in the mean; 0: off"
    )

    def problems(self, margin: Margin, num_classes: int, counts: Sequence[int] | None) -> list[str]:
        """What does not fit together, one line each. counts: images of each class, needed by what goes by them."""
        return [
            *self._count_problems(counts),
            *self._margin_problems(margin, counts),
            *self._others(margin, num_classes),
        ]

    def _count_problems(self, counts: Sequence[int] | None) -> Iterator[str]:
        for key in ("class_margins", "loss_weight_power"):
            if not getattr(self, key):
                continue
            if counts is None:
                yield f"head.{key}: needs the number of images of each class (counts)"
            elif min(counts) < 1:
                yield f"head.{key}: class {list(counts).index(min(counts))} has no image; leave it out"

    def _margin_problems(self, margin: Margin, counts: Sequence[int] | None) -> Iterator[str]:
        adapting = [key for key in ("class_margins", "margin_schedule") if getattr(self, key) is not None]
        if adapting and "m" not in type(margin).model_fields:
            for key in adapting:
                yield f"head.{key}: needs a margin with a field m, and {margin.type} has none"
        elif adapting and not (self.class_margins and (counts is None or min(counts) < 1)):
            whole = self.class_margins.of(counts) if self.class_margins and counts else [margin.model_dump()["m"]]
            factor = self.margin_schedule.start if self.margin_schedule else 1.0
            for value in sorted({min(whole) * factor, max(whole)}):
                try:
                    type(margin).model_validate(margin.model_dump() | {"m": value})
                except ValidationError as error:
                    why = error.errors()[0]["msg"]
                    yield f"head.{adapting[0]}: makes margin.m {value:.4g}, which {margin.type} does not take: {why}"

    def _others(self, margin: Margin, num_classes: int) -> Iterator[str]:
        if self._first(margin) == "auto" and num_classes < 3:
            yield "head.scale: auto is √2·ln(C−1), which is 0 for 2 classes; give a number, such as 16"
        if self.scale == "learned" and margin.own_scale():
            yield f"head.scale: cannot be learned, {margin.type} has its own"
        if self.centers > 1 and "centers" in type(margin).model_fields:
            yield f"head.centers: {margin.type} has centres of its own; set margin.centers"
        if self.prototypes != "none" and margin.prototypes() is not None:
            yield f"head.prototypes: {margin.type} has prototypes of its own"
        if self.prototypes != "none" and not margin.normalised:
            yield f"head.prototypes: needs normalised class weights, and {margin.type} does not normalise them"
        if self.loss_weight_power and margin.reduction == "proxy":
            yield f"head.loss_weight_power: {margin.type} has no loss per sample to weigh"

    def memory(self, margin: Margin) -> Prototypes | None:
        """The margin's prototypes or the head's."""
        match self.prototypes:
            case "none":
                return margin.prototypes()
            case "vpl":
                return Prototypes()
            case prototypes:
                return prototypes

    def first_scale(self, margin: Margin, num_classes: int) -> float:
        """The scale in numbers: where it stays, or where it begins."""
        scale = self._first(margin)
        return math.sqrt(2) * math.log(num_classes - 1) if scale == "auto" else float(scale)

    def _first(self, margin: Margin) -> float | Literal["auto"]:
        if not margin.normalised or self.scale == "paper" or self.scale == "learned":
            return margin.paper_scale
        return self.scale
