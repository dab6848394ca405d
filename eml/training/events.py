"""What a training run tells while it runs; the command line shows it, a notebook may ignore it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Started:
    """The run is about to take its first step (or the next one, when resumed)."""

    images: int
    classes: int
    steps: int
    steps_per_epoch: int
    first_step: int


@dataclass(frozen=True)
class Caching:
    """`done` of `total` images of a cache are made."""

    done: int
    total: int


@dataclass(frozen=True)
class Stepped:
    """One optimizer step was taken. step counts from 1; images_per_second is a running mean."""

    step: int
    epoch: int
    loss: float
    learning_rate: float
    images_per_second: float


@dataclass(frozen=True)
class Validating:
    """`done` of `total` images of a validation are embedded."""

    done: int
    total: int


@dataclass(frozen=True)
class Validated:
    """A validation is done; epoch 0 is the untrained network. values as in metrics.json, shown: their table names."""

    epoch: int
    values: dict[str, float]
    shown: dict[str, str]
    best: bool


@dataclass(frozen=True)
class Note:
    """Something the user should know."""

    text: str


Event = Caching | Started | Stepped | Validating | Validated | Note
Observer = Callable[[Event], None]
