import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.retrieval.verification.calibration import calibrate
from eml.retrieval.verification.goal_checks import Goal
from eml.retrieval.verification.open_set import OpenSet
from tests.retrieval.verification.image_sets import classes


@pytest.mark.parametrize(
    "goal, told",
    [
        (
            Goal("far", 1e-3),
            r"`far` 0\.001 cannot be shown by 120 queries.*`far` 0\.017 or more, `pair_far` 0\.00059 or m",
        ),
        (Goal("pair_far", 1e-5), "`pair_far` 1e-05 cannot be shown by 6,840 pairs"),
        (Goal("precision", 0.999), r"`precision` 0\.999 cannot be shown by 120 .*`precision` 0\.983 or less"),
        (
            Goal("precision", 0.98),
            r"no threshold that accepts 50 answers or more reaches it; the highest is 0\.\d+, with",
        ),
        (Goal("far", 0.02), "cannot be expected on other classes, since these 20 differ too much"),
    ],
)
def test_a_goal_that_the_images_cannot_support_is_refused(goal: Goal, told: str) -> None:
    with pytest.raises(DataError, match=told) as error:
        calibrate(classes(20, 6, 1.2), goal, resamples=40, splits=1)
    assert error.value.code in {"goal-too-strict", "goal-unreachable", "too-few-classes"}
    assert error.value.parameter == goal.kind


def test_a_precision_that_is_not_reached_is_told_of_cosines_that_are_accepted_together() -> None:
    labels = np.repeat(np.arange(20), 4)
    alike = OpenSet(torch.ones(80, 4), labels, np.arange(80), np.arange(80))
    with pytest.raises(DataError, match=r"the highest is 0\.\d+, with 80 accepted at 1\.0000"):
        calibrate(alike, Goal("precision", 0.9), resamples=40, splits=1)


def test_too_few_classes_and_images_without_positives_are_refused() -> None:
    with pytest.raises(DataError, match="1 class: a threshold is chosen on half"):
        calibrate(classes(1, 5), Goal("far", 0.2))
    with pytest.raises(DataError, match="3 classes: a threshold is chosen on half"):
        calibrate(classes(3, 5), Goal("far", 0.2))
    with pytest.raises(DataError, match="0 pairs are of the same class"):
        calibrate(classes(30, 1), Goal("far", 0.2))
    data = classes(5, 5)
    data.embeddings[7, 0] = torch.nan
    with pytest.raises(DataError, match="row 7"):
        calibrate(data, Goal("far", 0.2))
