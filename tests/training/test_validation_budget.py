"""What a validation after an epoch costs."""

import pytest

from eml.training.config import ValidationConfig
from eml.training.validation_budget import validation_budget


@pytest.mark.parametrize(
    "epochs, trained, held_out, images, every",
    [
        (7, 1_780, 890, 222, 1),  # groceries: a third of the classes is held out
        (5, 200_000, 40_000, 25_000, 1),
        (30, 130, 70, 100, 3),  # faces: all of them, but not after each epoch
        (5, 40, 30, 100, 1),  # a short run is validated after each epoch
        (30, 300, 150, 100, 2),
    ],
)
def test_a_validation_costs_little_beside_its_epochs(
    epochs: int, trained: int, held_out: int, images: int, every: int
) -> None:
    assert validation_budget(ValidationConfig(), epochs, trained, held_out) == (images, every)
    measured = min(images, held_out) * epochs / every / 3 + 2 * held_out / 3
    assert epochs == 5 or measured < 0.1 * (epochs * trained + measured)


def test_what_the_config_says_is_kept() -> None:
    assert validation_budget(ValidationConfig(images=None), 30, 130, 70) == (None, 1)
    assert validation_budget(ValidationConfig(images=50, every=2), 30, 130, 70) == (50, 2)
    assert validation_budget(ValidationConfig(every=4), 7, 1_780, 890) == (888, 4)
