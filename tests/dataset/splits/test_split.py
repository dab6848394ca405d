"""Never a class on both sides, whatever the order of the rows; an empty side says what would work."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.dataset.splits.split import (
    SplitTables,
    class_counts,
    rows_on_both_sides,
    split_by_alternate,
    split_by_column,
    split_by_counts,
    split_by_ratio,
)
from eml.dataset.table import Table
from eml.errors import DataError
from tests.examples import examples


def table(sizes: dict[str, int], **columns: Any) -> Table:
    rows = [(label, f"{label}/{n}.jpg") for label, size in sizes.items() for n in range(size)]
    frame = pd.DataFrame(rows, columns=["label", "file_name"]).assign(**columns)
    return Table(frame, Path("images"), Path("images/t.csv"))


def shuffled(whole: Table, seed: int) -> Table:
    frame = whole.frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    return Table(frame, whole.root, whole.path)


def classes(frame: pd.DataFrame) -> set[str]:
    return set(frame["label"])


def problem(call: Callable[[], SplitTables]) -> str:
    with pytest.raises(DataError) as error:
        call()
    return str(error.value)


class_sizes = st.dictionaries(st.text("abcäß01🍎", min_size=1, max_size=4), st.integers(1, 12), min_size=2, max_size=25)
STRATEGIES: list[Callable[[Table], SplitTables]] = [
    split_by_alternate,
    lambda whole: split_by_ratio(whole, 0.5),
    lambda whole: split_by_ratio(whole, 0.3, random_seed=5),
    lambda whole: split_by_counts(whole, 3, 7),
]


@settings(max_examples=examples(40), deadline=None)
@given(class_sizes, st.sampled_from(STRATEGIES), st.integers(0, 1000))
def test_every_row_is_on_one_side_every_class_too_and_row_order_is_of_no_account(
    sizes: dict[str, int], strategy: Callable[[Table], SplitTables], seed: int
) -> None:
    whole = table(sizes)
    try:
        sides = strategy(whole)
    except DataError as error:
        message = str(error)
        assert "leaves none to" in message
        return
    assert not classes(sides.train) & classes(sides.test)
    assert len(sides.train)
    assert len(sides.test)
    both = Counter(sides.train["file_name"]) + Counter(sides.test["file_name"])
    assert both == Counter(whole.frame["file_name"])
    again = strategy(shuffled(whole, seed))
    assert classes(again.train) == classes(sides.train)


def test_rows_keep_their_order_and_columns() -> None:
    whole = table({"b": 2, "a": 2, "c": 1}, note=["1", "2", "3", "4", "5"])
    sides = split_by_alternate(whole)
    assert sides.train["note"].tolist() == ["1", "2", "3", "4", "5"][2:]
    assert sides.test.to_dict("list") == {"label": ["b", "b"], "file_name": ["b/0.jpg", "b/1.jpg"], "note": ["1", "2"]}


def test_by_counts_both_bounds_are_inclusive() -> None:
    sides = split_by_counts(table({"two": 2, "three": 3, "five": 5, "six": 6}), 3, 5)
    assert classes(sides.train) == {"three", "five"}
    assert classes(sides.test) == {"two", "six"}


def test_by_counts_an_empty_side_shows_the_sizes_and_options_that_work() -> None:
    whole = table({"a": 60, "b": 70, "c": 70, "d": 90, "e": 90, "f": 90})
    assert problem(lambda: split_by_counts(whole)) == (
        "images/t.csv: no class has 3 to 50 images, which leaves none to train; its 6 classes have 60 to 90 "
        'images. These would work: `min_n_samples=3` `max_n_samples=70`; `by="ratio"`; `by="alternate"`'
    )
    assert classes(split_by_counts(whole, 3, 70).train) == {"a", "b", "c"}
    assert "every class has 3 to 90 images, which leaves none to test" in problem(lambda: split_by_counts(whole, 3, 90))


@settings(max_examples=examples(30), deadline=None)
@given(class_sizes, st.integers(1, 6), st.integers(0, 8))
def test_by_counts_the_options_it_advises_do_work(sizes: dict[str, int], least: int, more: int) -> None:
    whole = table(sizes)
    try:
        split_by_counts(whole, least, least + more)
    except DataError as error:
        advised = str(error).partition("These would work: ")[2].split("; ")
        for option in advised:
            match option.split():
                case [low, high] if low.startswith("`min_n_samples=") and high.startswith("`max_n_samples="):
                    split_by_counts(whole, *(int(bound.strip("`").partition("=")[2]) for bound in (low, high)))
                case ['`by="ratio"`']:
                    split_by_ratio(whole)
                case ['`by="alternate"`']:
                    split_by_alternate(whole)
                case _:
                    pytest.fail(f"advice that is not understood: {option}")


def test_by_counts_equal_classes_are_not_advised_other_counts() -> None:
    assert problem(lambda: split_by_counts(table({"a": 4, "b": 4}))).endswith('These would work: `by="alternate"`')


def test_one_class_cannot_be_split() -> None:
    one = table({"a": 4})
    assert problem(lambda: split_by_counts(one)).endswith("its only class has 4. A split needs two classes")
    assert problem(lambda: split_by_alternate(one)) == (
        "images/t.csv: has 1 class, which leaves none to test; a split needs two"
    )
    assert problem(lambda: split_by_ratio(one)).endswith("of 1 class leaves none to test. A split needs two classes")


def test_by_ratio_the_sizes_of_both_sides_are_alike() -> None:
    whole = table({f"{size:03}": size for size in range(1, 101)})
    for seed in range(5):
        sides = split_by_ratio(whole, 0.2, seed)
        sizes = sorted(int(label) for label in classes(sides.test))
        assert len(sizes) == 20
        assert [(size - 1) // 5 for size in sizes] == list(range(20))  # one of each five neighbours in size
        mostly = split_by_ratio(whole, 0.8, seed)
        assert len(classes(mostly.train)) == 20
        assert [(int(label) - 1) // 5 for label in sorted(classes(mostly.train))] == list(range(20))


def test_by_ratio_the_seed_decides() -> None:
    whole = table({f"{n}": 5 for n in range(40)})
    assert classes(split_by_ratio(whole, 0.2, 1).test) == classes(split_by_ratio(whole, 0.2, 1).test)
    assert classes(split_by_ratio(whole, 0.2, 1).test) != classes(split_by_ratio(whole, 0.2, 2).test)
    assert sorted(classes(split_by_ratio(whole).test)) == ["1", "10", "12", "13", "24", "31", "35", "9"]


def test_by_ratio_too_few_classes_say_which_ratio_works() -> None:
    few = table({"a": 3, "b": 3, "c": 3})
    assert problem(lambda: split_by_ratio(few, 0.1)) == (
        "images/t.csv: `test_ratio` 0.1 of 3 classes leaves none to test. Give a ratio from 0.33 to 0.67"
    )
    assert problem(lambda: split_by_ratio(table({"a": 3, "b": 3}), 0.1)).endswith(
        "leaves none to test. Give the ratio 0.5"
    )
    assert problem(lambda: split_by_ratio(few, 0.9)).startswith(
        "images/t.csv: `test_ratio` 0.9 of 3 classes leaves none to train"
    )
    split_by_ratio(few, 0.33)
    split_by_ratio(few, 0.67)
    for ratio in (0, 1, -0.5, 20, float("nan")):
        assert "`test_ratio` must be between 0 and 1" in problem(lambda ratio=ratio: split_by_ratio(few, ratio))


def test_by_alternate_is_by_the_sorted_names() -> None:
    sides = split_by_alternate(table({"b": 1, "10": 1, "a": 1, "2": 1, "C": 1}))
    assert classes(sides.train) == {"10", "C", "b"}
    assert classes(sides.test) == {"2", "a"}


def test_by_column_rows_go_where_it_says() -> None:
    sides = split_by_column(table({"a": 2, "b": 1}, side=["train", "train", "test"]), "side")
    assert (classes(sides.train), classes(sides.test)) == ({"a"}, {"b"})


def test_by_column_a_class_on_both_sides_is_named() -> None:
    whole = table({"a": 2, "b": 2, "c": 1}, side=["train", "test", "test", "train", "test"])
    assert problem(lambda: split_by_column(whole, "side")) == (
        "images/t.csv: column 'side' puts 2 classes on both sides: 'a', 'b'. The test measures classes that "
        "the model has not seen: put each class on one side. For a test with the same classes, such as by shop, camera "
        "or date, write -2 for the test's rows and -1 for the others into a column 'fold', or make a table of each "
        "side; then run: eml init TABLE --task closed"
    )


def test_by_column_other_values_an_empty_side_and_a_missing_column_are_reported() -> None:
    whole = table({"a": 2, "b": 1}, side=["train", "val", ""], same=["test"] * 3, shop=["n", "n", "s"])
    by_shop = problem(lambda: split_by_column(whole, "shop"))
    assert "found 2 of 'n', 1 of 's'. To test on one of these with the classes of training, write -2 for" in by_shop
    assert problem(lambda: split_by_column(whole, "side")).endswith("1 of ''")
    assert "must be 'train' or 'test' in every row, found 1 of 'train', 1 of 'val', 1 of ''" in problem(
        lambda: split_by_column(whole, "side")
    )
    assert "column 'same' leaves a side empty, found 3 of 'test'" in problem(lambda: split_by_column(whole, "same"))
    assert problem(lambda: split_by_column(whole, "x")) == (
        "images/t.csv: has no column 'x'; it has label, file_name, side, same, shop"
    )


def test_bounds_that_no_count_can_meet_are_refused() -> None:
    assert "the first must be at least 1 and at most the second" in problem(
        lambda: split_by_counts(table({"a": 1}), 5, 3)
    )


def test_class_counts_are_sorted_by_label() -> None:
    assert class_counts(table({"b": 2, "a": 1}).frame).to_dict("list") == {"label": ["a", "b"], "count": [1, 2]}


def in_groups(rows: list[tuple[str, int]]) -> tuple[Table, "np.ndarray[tuple[int], np.dtype[np.int64]]"]:
    frame = pd.DataFrame(rows, columns=["label", "group"]).assign(file_name=[f"{n:03}.jpg" for n in range(len(rows))])
    return Table(frame, Path("images"), Path("images/t.csv")), frame["group"].to_numpy()


rows_in_groups = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(0, 40)), min_size=2, max_size=40)


@settings(max_examples=examples(80), deadline=None)
@given(rows_in_groups, st.floats(0.1, 0.9), st.integers(0, 99))
def test_by_ratio_classes_that_a_group_joins_are_on_one_side(
    rows: list[tuple[str, int]], ratio: float, seed: int
) -> None:
    whole, groups = in_groups(rows)
    try:
        sides = split_by_ratio(whole, ratio, seed, groups)
    except DataError as error:
        message = str(error)
        assert "leaves none to" in message or "groups join" in message
        return
    assert not rows_on_both_sides(whole, sides, groups).any()
    assert not classes(sides.train) & classes(sides.test)
    assert Counter(sides.train["file_name"]) + Counter(sides.test["file_name"]) == Counter(whole.frame["file_name"])
    assert len(classes(sides.test)) <= round(ratio * len({label for label, _ in rows}))
    order = np.random.default_rng(seed).permutation(len(rows))
    again = split_by_ratio(Table(whole.frame.iloc[order].reset_index(drop=True), Path()), ratio, seed, groups[order])
    assert classes(again.test) == classes(sides.test)


def test_by_ratio_groups_within_classes_change_nothing_and_a_few_joined_ones_keep_the_ratio() -> None:
    whole = table({f"{n:02}": 5 for n in range(40)})
    alone = np.arange(200) // 5
    plain = split_by_ratio(whole)
    assert classes(split_by_ratio(whole, groups=alone).test) == classes(plain.test)
    joined = np.where(alone < 10, 0, np.where(alone < 15, 10, alone))  # ten classes are one, and five are
    sides = split_by_ratio(whole, groups=joined)
    assert len(classes(sides.test)) == len(classes(plain.test)) == 8
    assert not rows_on_both_sides(whole, sides, joined).any()


def test_by_ratio_one_group_over_all_classes_leaves_no_side() -> None:
    whole, groups = in_groups([(label, 1) for label in "abcd"])
    assert problem(lambda: split_by_ratio(whole, 0.5, groups=groups)) == (
        "images/t.csv: groups join 4 classes, which leaves none to test. Give another `test_ratio`, fewer columns "
        "as `group_by`, a lower `threshold`, or `near=False`"
    )


def test_what_leaks_is_counted_on_both_sides() -> None:
    whole, groups = in_groups([("a", 1), ("a", 2), ("b", 1), ("b", 1), ("c", 2), ("d", 3)])
    sides = split_by_alternate(whole)
    assert rows_on_both_sides(whole, sides, groups).tolist() == [True, False, True, True, False, False]


def test_classes_of_one_size_are_counted_in_one_number() -> None:
    whole = table({"a": 2, "b": 2})
    assert "no class has 3 images, which leaves none to train; its 2 classes have 2 images each. " in problem(
        lambda: split_by_counts(whole, 3, 3)
    )
