"""Whether training helped."""

from dataclasses import replace

import numpy as np
import pytest

from eml.training.starting_point import FROM_A_RUN
from eml.training.verdict import Verdict, verdict

RANDOM = np.random.default_rng(0)
LABELS = np.repeat(np.arange(40), 10)
BEFORE = RANDOM.random(400)


def of(after: np.ndarray, question: str = "") -> Verdict:
    result = verdict("MAP@R", BEFORE, after, LABELS, question)
    assert result is not None
    return result


def test_an_interval_covers_its_difference_and_knows_chance_from_gain() -> None:
    better = of(np.clip(BEFORE + 0.1 * RANDOM.random(400), 0, 1))
    assert better.helped
    assert better.low < better.difference < better.high
    assert len(better.lines()) == 1
    worse = of(BEFORE - 0.2)
    assert worse.is_worse
    assert worse.lines()[1] == "Training made it worse: the untrained network serves you better"
    assert replace(worse, start=FROM_A_RUN).conclusion().endswith("the run that it started from serves you better")
    one = verdict("MAP@R", np.array([0.1, np.nan, 0.3]), np.array([0.2, 0.5, 0.5]), np.array([0, 0, 1]))
    assert one is not None
    assert one.difference == pytest.approx(0.15)
    assert one.lines()[-1].endswith("take this as a hint") or not one.helped
    assert verdict("MAP@R", np.array([np.nan]), np.array([np.nan]), np.array([0])) is None


def test_an_interval_around_0_says_that_the_data_cannot_tell() -> None:
    unknown = Verdict("MAP@R", 0.403, 0.450, -0.024, 0.117, 30)
    assert not unknown.helped
    assert not unknown.is_worse
    assert unknown.lines()[1] == (
        "The data cannot tell whether training helped: the interval includes 0. Validation on more classes narrows it"
    )
    assert of(RANDOM.permutation(BEFORE)).conclusion().startswith("The data cannot tell")
    assert of(BEFORE).conclusion() == "No query changed: training made no difference"


def test_the_line_begins_with_what_was_measured() -> None:
    assert of(BEFORE, "unseen classes").result().startswith("unseen classes: MAP@R 0.")
    assert of(BEFORE, "unseen classes").to_dict()["question"] == "unseen classes"


def test_a_verdict_that_cannot_tell_says_what_more_classes_say() -> None:
    unsure = Verdict("MAP@R", 0.3, 0.4, -0.02, 0.2, 7, more="over 20, each held out once, it gains")
    assert unsure.conclusion() == "over 20, each held out once, it gains"
    assert Verdict("MAP@R", 0.3, 0.4, 0.02, 0.2, 7, more="over 20").conclusion() == ""
