"""A margin for each class from its number of images, larger for smaller classes. Ha 2020, arXiv:2010.05350."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from eml.config import Choice


class ClassMargins(Choice):
    """Margins per class, computed from the classes' numbers of images. They replace the margin's `m`, in its unit."""

    def margins(self, counts: Sequence[int]) -> list[float]:
        """Return one margin per class. counts: images per class, at least 1 each."""
        raise NotImplementedError


class Power(ClassMargins):
    """a·n^(−exponent) + b for a class of n images, the paper's formula and defaults."""

    type: Literal["power"] = "power"
    a: float = Field(0.5, ge=0, description="margin of a class with one image, above b")
    b: float = Field(0.05, ge=0, description="margin of an infinitely large class")
    exponent: float = Field(0.25, gt=0, description="how quickly the margin falls with the count")

    def margins(self, counts: Sequence[int]) -> list[float]:
        """Return one margin per class."""
        return [self.a * count**-self.exponent + self.b for count in counts]


class MinMax(ClassMargins):
    """n^(−exponent), scaled to [lower, upper] over the classes of the run, as in the released code of the paper."""

    type: Literal["min_max"] = "min_max"
    lower: float = Field(0.05, ge=0, description="margin of the largest class")
    upper: float = Field(
        0.5, ge=0, description="margin of the smallest class, and of all classes if they are of equal size"
    )
    exponent: float = Field(0.25, gt=0, description="how quickly the margin falls with the count")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower > self.upper:
            raise ValueError(f"upper must not be below lower, got {self.upper} and {self.lower}")
        return self

    def margins(self, counts: Sequence[int]) -> list[float]:
        """Return one margin per class."""
        powers = [count**-self.exponent for count in counts]
        low, high = min(powers), max(powers)
        if low == high:
            return [self.upper] * len(powers)
        return [self.lower + (self.upper - self.lower) * (power - low) / (high - low) for power in powers]
