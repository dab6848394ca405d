"""Events of a training run, which the command line shows and a notebook may ignore."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Started:
    """The run is about to take its first step (or the next one, when resumed). loss: of the step before, if any."""

    images: int
    classes: int
    steps: int
    steps_per_epoch: int
    first_step: int
    loss: float | None = None


@dataclass(frozen=True)
class Caching:
    """`done` of `total` images are cached."""

    done: int
    total: int


@dataclass(frozen=True)
class Preparing:
    """`done` of `total` are done of work before the first step; description: in words, such as `embedding photos`."""

    description: str
    done: int
    total: int | None


@dataclass(frozen=True)
class Stepped:
    """An optimizer step was taken. step counts from 1; images_per_second is the mean of the epoch so far.

    teacher_cosine: of the batch's embeddings to the teacher's, where the run has one.
    """

    step: int
    epoch: int
    loss: float
    learning_rate: float
    images_per_second: float
    teacher_cosine: float | None = None


@dataclass(frozen=True)
class Validating:
    """`done` of `total` images of a validation are embedded."""

    done: int
    total: int


@dataclass(frozen=True)
class Validated:
    """A validation is done; epoch 0 is the network before training.

    Attributes:
        epoch: After which the network was validated.
        values: Metric → value, as in metrics.json.
        shown: Metric → its name in tables.
        best: Whether it is the best so far.
        start: The network of epoch 0: untrained, or from a run.
    """

    epoch: int
    values: dict[str, float]
    shown: dict[str, str]
    best: bool
    start: str = "untrained"


@dataclass(frozen=True)
class Note:
    """A line that the user should read."""

    text: str


Event = Caching | Preparing | Started | Stepped | Validating | Validated | Note
Observer = Callable[[Event], None]
