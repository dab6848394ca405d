"""The rule by which an open task holds out whole classes."""

from eml.dataset.splits.task import MANY_CLASSES, folds_rule, number_of_folds, too_few_rule


def test_a_third_of_few_classes_and_a_fifth_of_many_is_held_out() -> None:
    assert [number_of_folds(classes) for classes in (4, MANY_CLASSES - 1, MANY_CLASSES)] == [3, 3, 5]


def test_the_rule_is_said_in_words() -> None:
    assert folds_rule(1_000, 5) == "task open holds out whole classes, a fifth of 1,000"
    assert folds_rule(100, 10, is_given=True) == "task open holds out whole classes, 1 of 10 of 100"
    assert too_few_rule(1).startswith("1 class of several images cannot be held out whole")
