"""Queries and gallery: no query has an image of its group in the gallery of its class."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.dataset.splits.groups import group_rows
from eml.dataset.splits.query_gallery import mark_query_gallery
from eml.dataset.table import Table
from eml.errors import DataError
from tests.examples import examples


def frame(rows: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "camera"]).assign(file_name=[f"{n:03}.jpg" for n in range(len(rows))])


def marked(some: pd.DataFrame, share: float | None = None, seed: int = 28) -> pd.DataFrame:
    groups = group_rows(Table(some, Path()), group_by=["camera"], near=False, within_class=True)
    return mark_query_gallery(some, groups.ids, share, seed)


tables = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "1", "2", "3"])), min_size=1, max_size=25)


@pytest.mark.slow
@settings(max_examples=examples(60), deadline=None)
@given(tables, st.one_of(st.none(), st.floats(0.05, 0.95)), st.integers(0, 99))
def test_no_query_has_an_image_of_its_class_and_camera_in_the_gallery(
    rows: list[tuple[str, str]], share: float | None, seed: int
) -> None:
    whole = frame(rows)
    units = whole["camera"].where(whole["camera"] != "", whole["file_name"]).groupby(whole["label"]).nunique()
    several = set(units.index[units > 1])
    try:
        test = marked(whole, share, seed)
    except DataError as error:
        message = str(error)
        assert "there is no query" in message
        assert not several
        return
    assert test.drop(columns=["is_query", "is_gallery"]).equals(whole)
    assert not (test["is_query"] & test["is_gallery"]).any()
    assert set(test["label"][test["is_query"]]) == several
    assert set(test["label"][test["is_gallery"]]) == set(whole["label"])
    for _, of in test[test["camera"] != ""].groupby(["label", "camera"]):
        assert not (of["is_query"].any() and of["is_gallery"].any())
    if share is None:
        assert (
            test.groupby("label")["is_query"].sum() == [label in several for label in sorted(set(whole["label"]))]
        ).all()
    else:
        assert (test["is_query"] | test["is_gallery"]).all()
    shuffled = marked(whole.sample(frac=1, random_state=seed).reset_index(drop=True), share, seed)
    assert shuffled.sort_values("file_name").reset_index(drop=True).equals(test)


def test_the_share_is_met_class_by_class_as_near_as_groups_allow() -> None:
    test = marked(frame([("a", "")] * 10 + [("b", "1")] * 4 + [("b", "2")] * 4 + [("b", "")] * 2), 0.3)
    queries = test.groupby("label")["is_query"].sum()
    assert queries["a"] == 3
    assert queries["b"] in {1, 2, 4, 5}  # nearest to 3, of the groups in the drawn order


def test_the_seed_decides_and_other_cameras_of_the_class_stay() -> None:
    whole = frame([(label, camera) for label in "abcdefgh" for camera in "1122"])
    assert marked(whole, None, 1).equals(marked(whole, None, 1))
    assert not marked(whole, None, 1).equals(marked(whole, None, 2))
    one = marked(whole, None, 1)
    assert (one.groupby("label")["is_gallery"].sum() == 2).all()  # the query's camera has left, the other is there
    assert (~one["is_gallery"] & ~one["is_query"]).sum() == 8


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="`query_share` must be between 0 and 1"):
        mark_query_gallery(frame([("a", ""), ("a", "")]), np.arange(2), share)


def test_however_large_the_share_something_of_each_class_stays_to_be_found() -> None:
    test = marked(frame([("a", ""), ("a", ""), ("b", "1"), ("b", "1"), ("b", "2")]), 0.95)
    assert test.groupby("label")["is_gallery"].any().all()
    assert test.groupby("label")["is_query"].any().all()
