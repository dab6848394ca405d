"""Choosing by some classes and judging by others: they are disjoint, and what chance chose is not called better."""

import numpy as np
import pytest

from eml.retrieval.statistics.choice import choose, divide_classes, judge


def queries(classes: int, each: int = 6) -> np.ndarray:
    return np.repeat(np.arange(classes), each)


@pytest.mark.parametrize(("classes", "parts"), [(40, 1), (24, 1), (23, 8), (5, 5), (2, 2)])
def test_choosing_and_judging_classes_are_disjoint_and_every_class_plays_a_part(classes: int, parts: int) -> None:
    labels = queries(classes)
    division = divide_classes(labels, seed=3)
    assert len(division.parts) == parts
    for choosing, judging in division.parts:
        assert not set(labels[choosing]) & set(labels[judging])
        assert set(labels[choosing]) | set(labels[judging]) == set(range(classes))
    if parts > 1:  # each class judges in exactly one fold, and all choose in the end
        assert (np.sum([judging for _, judging in division.parts], axis=0) == 1).all()
        assert division.choosing.all()
    else:
        assert division.choosing.sum() + division.judging.sum() == len(labels)
        assert abs(len(set(labels[division.judging])) - classes / 2) < 1


def test_classes_that_share_a_group_of_look_alikes_stay_on_one_side() -> None:
    labels = queries(30)
    groups = np.full(len(labels), -1)
    groups[[0, 6, 13]] = 7  # classes 0, 1 and 2 are joined, and by the next line 2 and 20
    groups[[14, 121]] = 8
    for seed in range(20):
        (_, judging), *_ = divide_classes(labels, seed=seed, groups=groups).parts
        assert len({bool(judging[labels == name][0]) for name in (0, 1, 2, 20)}) == 1
    assert divide_classes(queries(3), groups=np.zeros(18, np.int64)).parts == ()


@pytest.mark.parametrize("classes", [12, 40])
def test_the_best_of_many_equal_candidates_is_not_judged_better(classes: int) -> None:
    labels, kept, gains, flattered = queries(classes), 0, [], []
    for seed in range(40):
        random = np.random.default_rng(seed)
        candidates = {str(number): random.random(len(labels)) for number in range(20)}
        choice = choose(candidates, labels, seed=seed)
        kept += choice.is_better
        gains.append(choice.judged.value)
        flattered.append(max(choice.tried.values()) - choice.tried["0"])
        assert choice.chosen == ("0" if not choice.is_better else choice.best)
    assert kept <= 5
    assert abs(np.mean(gains)) < 0.03 < np.mean(flattered)


@pytest.mark.parametrize("classes", [4, 40])
def test_a_gain_in_every_class_is_chosen_and_the_simpler_of_equal_candidates_taken(classes: int) -> None:
    labels = queries(classes)
    plain = np.random.default_rng(0).random(len(labels)) * 0.5
    better = plain + 0.2 + 0.05 * np.random.default_rng(1).random(len(labels))
    choice = choose({"complicated": better, "plain": plain, "simple": better.copy()}, labels,
                    simpler=["plain", "simple", "complicated"])  # fmt: skip
    assert (choice.chosen, choice.is_better) == ("simple", True)
    assert choice.judged.value == pytest.approx(0.225, abs=0.01)
    facts = choice.to_dict()
    assert facts["chosen"] == "simple"
    assert set(facts["tried"]) == {"plain", "simple", "complicated"}
    assert facts["low"] > 0
    assert np.isnan(choice.values).sum() == (0 if classes == 4 else len(labels) // 2)


def test_more_comparisons_on_the_same_classes_widen_the_interval() -> None:
    labels, random = queries(12), np.random.default_rng(5)
    before, after = random.random(72), random.random(72)

    def width(count: int, *, one_sided: bool = False) -> float:
        interval = judge(before, after, labels, count, one_sided=one_sided).interval
        return interval.high - interval.low

    assert width(1) < width(2) < width(6)
    assert width(1) == width(1, one_sided=True) == width(2, one_sided=True), "both ends of one, or the lower of two"
    assert width(2) < width(6, one_sided=True) < width(6)


def test_a_single_class_judges_nothing_so_that_the_simplest_is_taken() -> None:
    labels = np.zeros(5, np.int64)
    choice = choose({"plain": np.zeros(5), "better": np.ones(5)}, labels)
    assert (choice.chosen, choice.best, choice.is_better) == ("plain", "better", False)
    assert choice.to_dict()["low"] is None
