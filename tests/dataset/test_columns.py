"""The known columns have their types, and say what the network sees."""

import pandas as pd

from eml.dataset.columns import has_query_gallery, query_or_gallery_rows, seen_sizes


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
