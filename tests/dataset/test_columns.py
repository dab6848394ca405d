"""The known columns have their types, and say what the network sees."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eml.dataset.columns import has_query_gallery, parse_columns, query_or_gallery_rows, seen_sizes
from eml.dataset.problems import RowProblems


def test_the_size_that_counts_is_the_boxs() -> None:
    boxes = dict(zip(("x_1", "y_1", "x_2", "y_2"), ([1, None], [2, None], [10, None], [7, None]), strict=True))
    frame = pd.DataFrame({name: pd.array(values, dtype="Int64") for name, values in boxes.items()})
    assert seen_sizes(frame) is None  # of the second row nothing is known
    assert seen_sizes(frame.iloc[:1]).to_dict("list") == {"width": [9], "height": [5]}  # type: ignore[union-attr]
    sizes = seen_sizes(frame.assign(width=[60, 60], height=[40, 40]))
    assert sizes is not None
    assert sizes.to_dict("list") == {"width": [9, 60], "height": [5, 40]}
    assert seen_sizes(pd.DataFrame({"label": ["a"]})) is None


def test_query_and_gallery_rows_are_all_rows_where_the_flags_are_blank_or_missing() -> None:
    plain = pd.DataFrame({"label": ["a", "b"]})
    blank = plain.assign(is_query=pd.array([None, None], "boolean"), is_gallery=pd.array([None, None], "boolean"))
    marked = plain.assign(is_query=pd.array([None, False], "boolean"), is_gallery=pd.array([True, None], "boolean"))
    assert [has_query_gallery(frame) for frame in (plain, blank, marked)] == [False, False, True]
    assert [query_or_gallery_rows(frame).tolist() for frame in (plain, blank, marked)] == [
        [True, True],
        [True, True],
        [True, False],
    ]


def test_a_text_that_is_too_long_for_a_name_is_a_problem_of_its_row() -> None:
    frame = pd.DataFrame({"label": ["a" * 1000, "b" * 1001], "file_name": ["1", "2"], "more": ["x" * 9999, "y"]})
    problems: RowProblems = []
    parsed = parse_columns(frame.assign(dataset=["", "ü" * 70_000]), problems)
    assert [(row, text.partition(":")[0]) for row, text in problems] == [
        (1, "label must have at most 1,000 characters, got 1,001"),
        (1, "dataset must have at most 1,000 characters, got 70,000"),
    ]
    assert parsed["label"].str.len().tolist() == [1000, 1000]
    assert parsed["more"][0] == "x" * 9999


LARGEST = "2,147,483,647"
RANGES = {
    "width": f"a whole number from 1 to {LARGEST}",
    "height": f"a whole number from 1 to {LARGEST}",
    "bytes": "a whole number from 0 to 9,223,372,036,854,775,807",
    "fold": f"a whole number from -2 to {LARGEST}",
    "x_1": f"a whole number of at most {LARGEST} or blank",
}
NO_NUMBERS = (
    *(
        "1e19",
        "1e3",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "0x10",
        "1_000",
        "５",
        "٣",
        "²",
        "5.5",
        "5,0",
        "--5",
        "5 5",
        "true",
    ),
    *("9223372036854775808", "99999999999999999999", "9" * 5000, "-9223372036854775809", "\t5", "5\n", "\0", ".", "+"),
)


def number_problems(column: "pd.Series[Any]") -> list[tuple[int, str]]:
    columns = {"label": ["a"] * len(column), "file_name": [f"{n}.jpg" for n in range(len(column))]}
    problems: RowProblems = []
    parse_columns(pd.DataFrame(columns | {str(column.name): column}), problems)
    return [(row, text) for row, text in problems if row >= 0]


@pytest.mark.parametrize("name", RANGES)
def test_a_cell_that_is_no_whole_number_within_the_columns_bounds_is_an_error_of_its_row(name: str) -> None:
    cells = [*NO_NUMBERS, "5"]
    problems = dict(number_problems(pd.Series(cells, name=name)))
    assert list(problems) == list(range(len(NO_NUMBERS)))
    for row, text in enumerate(NO_NUMBERS[:10]):
        assert problems[row] == f"{name} must be {RANGES[name]}, got {text!r}"
    assert max(map(len, problems.values())) < 300


def test_the_bounds_are_those_of_what_the_column_counts() -> None:
    values = {
        "width": (["1", "2147483647"], ["0", "-5", "2147483648"]),
        "height": (["1", "2147483647"], ["0", "-5", "2147483648"]),
        "bytes": (["0", "9223372036854775807"], ["-1", "9223372036854775808"]),
        "fold": (["-2", "-1", "0", "2147483647"], ["-3", "2147483648", "3000000000"]),
    }
    for name, (within, beyond) in values.items():
        assert number_problems(pd.Series(within, name=name)) == []
        assert [row for row, _ in number_problems(pd.Series(beyond, name=name))] == list(range(len(beyond)))


def test_blanks_signs_and_a_decimal_point_without_decimals_are_whole_numbers() -> None:
    frame = pd.DataFrame({"label": ["a"] * 5, "file_name": list("abcde"), "fold": [" 5", "+5", "5.0", "5.", "005 "]})
    problems: RowProblems = []
    assert parse_columns(frame, problems)["fold"].tolist() == [5] * 5
    assert problems == []


@pytest.mark.parametrize(
    "values, wrong",
    [
        (np.array([2**63 + 5, 7], np.uint64), [0]),
        (np.array([-7, 7], np.int8), [0]),
        (np.array([1e300, 7.0]), [0]),
        (np.array([np.nan, np.inf, -np.inf, 7.5, 7.0]), [0, 1, 2, 3]),
        (np.array([True, False]), [0, 1]),
        ([Decimal("7.5"), Decimal("1e400"), Decimal("NaN"), Decimal("7.0")], [0, 1, 2]),
        ([b"7", [7], {"a": 7}, None, 7], [0, 1, 2, 3]),
        (pd.array([None, 7], "Int64"), [0]),
        (pd.Categorical(["7.5", "7"]), [0]),
        (pd.to_datetime(["2020-01-01", "2021-01-01"]), [0, 1]),
        (pd.to_timedelta([1, 2], unit="D"), [0, 1]),
    ],
    ids=lambda value: str(getattr(value, "dtype", ""))[:12],
)
def test_a_number_of_any_type_is_exact_or_an_error(values: Any, wrong: list[int]) -> None:
    assert [row for row, _ in number_problems(pd.Series(values, name="width"))] == wrong


def test_text_columns_are_text_and_refuse_what_has_no_one_spelling() -> None:
    def problems(values: Any, name: str = "label") -> list[str]:
        columns = {"label": ["a", "b"], "file_name": ["1.jpg", "2.jpg"]} | {name: values}
        lines: RowProblems = []
        parse_columns(pd.DataFrame(columns), lines)
        return [text.split("'")[2] for _, text in lines]

    decimal = " holds decimal numbers, and 7.0 may have been 7 or 007; write it as text"
    for name in ("label", "file_name", "hash", "content", "split"):
        assert problems([7, 8], name) == []
        assert problems([True, False], name) == []
        assert problems(pd.Categorical(["a", "b"]), name) == []
        assert problems([7.0, 8.5], name) == [decimal]
        assert problems([Decimal("7.0"), Decimal("8")], name) == [decimal]
        for values in (pd.to_datetime(["2020-01-01", "2021-01-01"]), [b"a", b"b"], [[1], [2]], [{"a": 1}, {}]):
            (line,) = problems(values, name)
            assert line.startswith(" holds neither text nor whole numbers (")
