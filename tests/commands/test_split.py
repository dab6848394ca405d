from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import eml
from eml.commands.split import SplitResult
from eml.errors import ConfigError


def test_split_returns_both_sides_and_what_json_prints(
    photos: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    table = photos / "dataset_info.csv"
    result = eml.split(table, by="ratio", test_ratio=0.25)
    assert isinstance(result, SplitResult)
    assert (result.train["label"].nunique(), result.test["label"].nunique()) == (6, 2)
    assert repr(result) == "SplitResult(train: 24 images of 6 classes, test: 8 images of 2 classes)"
    assert printed_json("split", table, "--by", "ratio", "--test-ratio", 0.25) == result.to_dict()


def test_the_column_may_follow_the_dataset(photos: Path) -> None:
    frame = pd.read_csv(photos / "dataset_info.csv", dtype=str)
    frame["side"] = ["test" if label == "class 3" else "train" for label in frame["label"]]
    frame.to_csv(photos / "mine.csv", index=False)
    assert eml.split(photos / "mine.csv", "side", by="column").counts["test"].classes == 1


def test_every_option_that_would_be_ignored_is_a_problem(photos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        eml.split(photos, test_ratio=0.5, query_share=0.5)
    assert caught.value.problems == [
        '`test_ratio` goes with `by="ratio"`, not with `by="counts"`',
        "`query_share`: only with `query_gallery`",
    ]
    assert {problem.code for problem in caught.value.problems} == {"conflicting-settings"}
