"""The columns of a table of the user's own are told apart by their names and values, and the advice is what works."""

from pathlib import Path

import pandas as pd
import pytest

from eml.dataset.column_advice import missing_columns
from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.table import read_table
from eml.errors import DataError

PRODUCTS = pd.DataFrame({"id": [f"{n:04}" for n in range(8)], "product": list("aabbccdd")})


def test_names_differ_in_each_row_and_labels_repeat() -> None:
    assert missing_columns(PRODUCTS, AS_NAMED) == (
        "columns 'label' and 'file_name' are missing (are they 'product' and 'id'? Set `file_column=\"id\"` "
        '`label_column="product"`); columns found: id, product'
    )


def test_after_one_was_named_the_other_is_suggested_and_all_are_listed(tmp_path: Path) -> None:
    PRODUCTS.to_csv(tmp_path / "t.csv", sep=";", index=False)
    for columns, text in (
        (ColumnMap(label_column="product"), "column 'file_name' is missing (is it 'id'? Set `file_column=\"id\"`)"),
        (ColumnMap(file_column="id"), "column 'label' is missing (is it 'product'? Set `label_column=\"product\"`)"),
        (
            ColumnMap(label_column="id"),
            "column 'file_name' is missing. 'id' looks like the images' names and 'product' like the labels: set "
            '`file_column="id"` `label_column="product"`',
        ),
        (
            ColumnMap(file_column="product"),
            "column 'label' is missing. 'id' looks like the images' names and 'product' like the labels: set "
            '`file_column="id"` `label_column="product"`',
        ),
    ):
        with pytest.raises(DataError) as error:
            read_table(tmp_path / "t.csv", columns=columns)
        assert error.value.problems == [f"{tmp_path}/t.csv:1: {text}; columns found: id, product"]


@pytest.mark.parametrize(
    "columns, name, label",
    [
        ({"id": list("aabb"), "target": ["x/1", "x/2", "y/1", "y/2"]}, "target", "id"),  # by values, not by names
        ({"photo": ["1", "2", "3", "4"], "price": ["1.5", "1.5", "2", "2"], "genus": list("aabb")}, "photo", "genus"),
        ({"weight": ["1.25", "1.5", "2.5", "3.5"], "key": list("wxyz"), "year": ["1", "1", "2", "2"]}, "key", "year"),
        ({"image": ["a.jpg"] * 6, "note": list("uvwxyz"), "kind": list("ababab"), "x_1": [1] * 6}, "image", "kind"),
        ({"fold": [0, 0, 1, 1], "hash": list("wxyz"), "what": list("aabb"), "name": list("wxyz")}, "name", "what"),
    ],
)
def test_values_decide(columns: dict[str, list[object]], name: str, label: str) -> None:
    text = missing_columns(pd.DataFrame(columns), AS_NAMED)
    assert f'Set `file_column="{name}"` `label_column="{label}"`)' in text


def test_without_rows_only_the_names_decide() -> None:
    text = missing_columns(pd.DataFrame(columns=["Image", "key", "Class"]), AS_NAMED)
    assert "(are they 'Class' and 'Image'?" in text
    assert "(set `label_column`)" in missing_columns(pd.DataFrame(columns=["key"]), AS_NAMED)
