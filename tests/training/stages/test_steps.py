"""Stages one after another: kept where other classes than those that chose judge them better."""

import json

import numpy as np
import pytest

from eml.retrieval.statistics.choice import divide_classes
from eml.training.stages.steps import AS_BEFORE, StageJudge, StagesResult, StageStep


def judge_of(values: dict[str, np.ndarray], classes: int, comparisons: int = 2) -> StageJudge[str]:
    labels = np.repeat(np.arange(classes), 5)
    division = divide_classes(labels, seed=1)
    return StageJudge(division, lambda name, part: values[name], "plain", comparisons)


def drawn(classes: int, mean: float, seed: int) -> np.ndarray:
    return mean + 0.1 * np.random.default_rng(seed).random(5 * classes)


@pytest.mark.parametrize("classes", [8, 30])
def test_a_stage_is_kept_only_where_it_is_better_than_what_was_kept_before_it(classes: int) -> None:
    values = {"plain": drawn(classes, 0.3, 0), "worse": drawn(classes, 0.2, 1), "better": drawn(classes, 0.5, 2),
              "same": drawn(classes, 0.5, 2)}  # fmt: skip
    judge = judge_of(values, classes)
    worse = judge.stage("first", {"worse": lambda name: "worse"}, optional=False)
    assert (worse.kept, judge.shipped, worse.chosen) == (False, "plain", "worse")
    assert worse.high < 0
    better = judge.stage("second", {"worse": lambda name: "worse", "better": lambda name: "better"})
    assert (better.kept, judge.shipped, better.chosen) == (True, "better", "better")
    assert set(better.tried) == {AS_BEFORE, "worse", "better"}
    assert better.before == pytest.approx(worse.before)
    same = judge.stage("third", {"same": lambda name: "same"})
    assert (same.kept, same.chosen, judge.shipped) == (False, AS_BEFORE, "better")
    assert judge.value == pytest.approx(better.value)


def test_an_earlier_candidate_is_preferred_unless_another_is_better_by_a_standard_error() -> None:
    values = {"plain": drawn(30, 0.2, 0), "first": drawn(30, 0.4, 1), "alike": drawn(30, 0.4, 1),
              "better": drawn(30, 0.5, 2)}  # fmt: skip
    division = judge_of(values, 30).division
    values["alike"][division.labels == division.labels[division.choosing][0]] += 0.3  # of one class alone
    changes = {name: (lambda own: lambda before: own)(name) for name in ("first", "alike")}
    assert judge_of(values, 30).stage("tried", changes, optional=False, prefers_first=True).chosen == "first"
    more = changes | {"better": lambda before: "better"}
    assert judge_of(values, 30).stage("tried", more, optional=False, prefers_first=True).chosen == "better"


def test_with_folds_each_is_judged_by_what_the_others_choose() -> None:
    labels = np.repeat(np.arange(6), 5)
    division = divide_classes(labels, seed=1)
    asked: list[tuple[str, int | None]] = []

    def measure(name: str, part: int | None) -> np.ndarray:
        asked.append((name, part))
        own = np.full(30, 0.2)
        if name.isdecimal():  # very good for one class, bad for all others: no other class would choose it
            own[labels == int(name)] = 1.0
        return own if name != "plain" else np.full(30, 0.3)

    judge = StageJudge(division, measure, "plain", 1)
    step = judge.stage("flattering", {str(name): (lambda own: lambda before: own)(str(name)) for name in range(6)})
    assert step.value <= 0.3
    assert not step.kept
    assert {part for _, part in asked} == {None, *range(6)}


def test_the_result_survives_json_and_says_why_nothing_is_better() -> None:
    judge = judge_of({"plain": drawn(1, 0.3, 0), "other": drawn(1, 0.4, 0)}, 1)
    judge.stage("fine-tuned", {"other": lambda name: "other"}, optional=False)
    result = StagesResult("MAP@R", tuple(judge.steps), judge.value, "untouched network", judge.value, "none", 2)
    facts = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    read = StagesResult.of_dict(facts)
    assert read is not None
    assert read.to_dict() == result.to_dict()
    assert "untouched network" in read.conclusion
    assert [len(row) for row in read.rows] == [len(read.columns)] * 2
    assert StagesResult.of_dict({"steps": [{"name": "x"}]}) is None


def test_a_stage_that_chooses_nothing_shows_no_change() -> None:
    step = StageStep("mirror image", "as before", {}, 0.66, 0.64, -0.1, 0.1, 6, kept=False)
    assert step.row == ["mirror image", "as before", "", "", "", "no"]
