"""Odd tables come back as they were: odd names and columns, labels that look like numbers, through CSV and Parquet."""

from pathlib import PurePosixPath

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.dataset.problems import LEAVES_ROOT
from eml.dataset.splits.folds import add_folds
from eml.dataset.splits.split import split_by_alternate
from eml.dataset.table import Table, read_table, write_table
from tests.examples import examples

ODD = [
    "007",
    "7.0",
    "1e3",
    "-0",
    "NA",
    "nan",
    "None",
    "True",
    "",
    " ",
    '"',
    "'",
    ",",
    ";",
    "\n",
    "\r",
    "\t",
    "#",
    "é",
    "e\u0301",
]
texts = st.one_of(
    st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
)


def is_file_name(name: str) -> bool:
    spelt = str(PurePosixPath(name)) == name and name not in {"", "."}
    return spelt and pd.Series([name]).str.contains(LEAVES_ROOT).sum() == 0


file_names = st.builds("{}/{}.jpg".format, texts, texts).filter(is_file_name)


@pytest.mark.slow
@settings(max_examples=examples(30), deadline=None)
@given(
    st.lists(
        st.tuples(texts.filter(bool), file_names, texts, texts), min_size=4, max_size=8, unique_by=lambda row: row[1]
    ),
    st.sampled_from(["t.csv", "t.parquet"]),
)
def test_an_odd_table_keeps_every_row_through_split_folds_and_files(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str]], name: str
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    frame = pd.DataFrame(rows, columns=["label", "file_name", 'a "note", odd', "camera\n"])
    write_table(frame, folder / name, command="test", root=folder)
    read = read_table(folder / name)
    assert read.frame.to_dict("list") == frame.to_dict("list")
    folds = add_folds(Table(frame.assign(label="one"), folder), 2)
    write_table(folds, folder / f"folds-{name}", command="test", root=folder)
    assert read_table(folder / f"folds-{name}").frame.to_dict("list") == folds.to_dict("list")
    if frame["label"].nunique() > 1:
        sides = split_by_alternate(read)
        both = pd.concat([sides.train, sides.test]).sort_values("file_name")
        assert both.to_dict("list") == frame.sort_values("file_name").to_dict("list")
