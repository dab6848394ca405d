"""Decide how many held-out images are measured after an epoch, so that validation costs a tenth of a run."""

import math
from typing import NamedTuple

from eml.training.config import ValidationConfig

SHARE = 1 / 8
"""Images that are measured after an epoch, as a share of those trained on in it. An image to embed costs about a third
of one to train on, and two validations of a run are of all held-out images."""
LARGEST_SHARE = 1 / 4
"""The same where `LEAST` needs more; where that is not enough, not every epoch is validated."""
LEAST = 100
"""Images below which nothing is left out, since the best epoch would be chosen by chance."""
EPOCHS_EACH = 10
"""Epochs of a run for each epoch between validations: of 30 epochs at least every third is validated."""


class ValidationBudget(NamedTuple):
    """The images that a run is validated on after an epoch, and how often.

    Attributes:
        images: The most images that are measured after an epoch; None: all.
        every: Epochs between validations.
    """

    images: int | None
    every: int


def validation_budget(config: ValidationConfig, epochs: int, trained: int, held_out: int) -> ValidationBudget:
    """Return how many images are validated on after an epoch, and how often.

    How many depends on the images alone, so that a run that is resumed with more epochs is measured on the same ones.

    Args:
        config: Of the validation.
        epochs: Of the run.
        trained: Images trained on in an epoch.
        held_out: Images in the validation sets.
    """
    interval = None if config.every == "auto" else config.every
    if config.images != "auto":
        return ValidationBudget(config.images, interval or 1)
    images = max(LEAST, round(SHARE * trained) * (interval or 1))
    if interval is not None:
        return ValidationBudget(images, interval)
    needed = math.ceil(min(images, held_out) / max(1.0, LARGEST_SHARE * trained))
    return ValidationBudget(images, max(1, min(needed, epochs // EPOCHS_EACH)))
