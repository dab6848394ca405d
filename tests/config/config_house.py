"""Families and sections with every kind of field, for the tests of eml.config."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, field_validator, model_validator

from eml.config import Choice, ConfigPath, Strict, load
from eml.errors import ConfigError, Problem


class Margin(Choice):
    pass


class ArcFace(Margin):
    type: Literal["arcface"] = "arcface"
    m: float = Field(default=0.5, ge=0, lt=math.pi, description="(radians) added to the angle of the target class")


class CosFace(Margin):
    type: Literal["cosface"] = "cosface"
    m: float = Field(default=0.35, ge=0, le=1, json_schema_extra={"unit": "cosine"})


class Transform(Choice):
    pass


class Flip(Transform):
    type: Literal["flip"] = "flip"
    p: float = Field(default=0.5, ge=0, le=1)


class OneOf(Transform):
    type: Literal["one_of"] = "one_of"
    transforms: list[Transform] = Field(min_length=1)


class Optimizer(Strict):
    """How the weights
    are changed.

    Not for the comment.
    """

    lr: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(default=1e-3, description="peak learning rate")
    betas: tuple[float, float] = (0.9, 0.999)
    epochs: int = Field(default=10, ge=1)
    warmup: int = Field(default=1, ge=-9, description="length of the rise (epochs)")

    @model_validator(mode="after")
    def _warmup_fits(self) -> "Optimizer":
        if self.warmup > self.epochs:
            raise ValueError(f"warmup must be at most epochs ({self.epochs}), got {self.warmup}")
        return self


class Table(Strict):
    table: ConfigPath
    root: ConfigPath


class House(Strict):
    data: ConfigPath | Table = Field(description="where the images are listed")
    margin: Margin = Field(default=ArcFace(m=0.4), description="what keeps the classes apart")
    extra: Margin | None = None
    transforms: list[Transform] = Field(default=[])
    optimizer: Optimizer = Field(default=Optimizer(epochs=20), description="what learns")
    schedule: Optimizer | None = None
    sections: list[Optimizer] = Field(default=[])
    weights: Literal["pretrained", "none"] | ConfigPath = "pretrained"
    kind: Literal["small", "large"] = "small"
    size: int = Field(default=128, multiple_of=32)
    name: str = Field(default="", max_length=5)
    fast: bool = False
    notes: dict[str, Any] = Field(default={})

    @field_validator("name")
    @classmethod
    def _one_word(cls, name: str) -> str:
        if " " in name:
            raise ValueError(f"must be one word, got {name!r}")
        return name


class Reader:
    """Loads a text as run.yaml, in a current folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, text: str | bytes, *overrides: str) -> House:
        path = self.folder / "run.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(House, "run.yaml", overrides, override_name="--set")

    def problems(self, text: str | bytes, *overrides: str) -> list[Problem]:
        with pytest.raises(ConfigError) as caught:
            self.load(text, *overrides)
        return caught.value.problems
