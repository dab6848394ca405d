"""A margin for each class from its number of images: the fewer, the larger. Ha 2020, arXiv:2010.05350."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from eml.config import Choice


class ClassMargins(Choice):
    """From the classes' counts to their margins, in the unit of the margin's `m`, whose place they take."""

    def of(self, counts: Sequence[int]) -> list[float]:
        """One margin per class; every count must be at least 1."""
        raise NotImplementedError


class Power(ClassMargins):
    """a·n^(−exponent) + b: the paper's formula and defaults."""

    type: Literal["power"] = "power"
    a: float = Field(0.5, ge=0, description="what a class of one image has above b")
    b: float = Field(0.05, ge=0, description="margin of an endless class")
    exponent: float = Field(0.25, gt=0, description="how quickly it falls with the count")

    def of(self, counts: Sequence[int]) -> list[float]:
        """One margin per class."""
        return [self.a * count**-self.exponent + self.b for count in counts]


class MinMax(ClassMargins):
    """n^(−exponent) stretched to [lower, upper] over the classes at hand: the released code of the paper's authors."""

    type: Literal["min_max"] = "min_max"
    lower: float = Field(0.05, ge=0, description="margin of the largest class")
    upper: float = Field(0.5, ge=0, description="margin of the smallest class, and of all where all are equal")
    exponent: float = Field(0.25, gt=0, description="how quickly it falls with the count")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower > self.upper:
            raise ValueError(f"upper must not be below lower, got {self.upper} and {self.lower}")
        return self

    def of(self, counts: Sequence[int]) -> list[float]:
        """One margin per class."""
        powers = [count**-self.exponent for count in counts]
        low, high = min(powers), max(powers)
        if low == high:
            return [self.upper] * len(powers)
        return [self.lower + (self.upper - self.lower) * (power - low) / (high - low) for power in powers]
