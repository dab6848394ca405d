from collections.abc import Callable
from pathlib import Path
from typing import Any

import eml
from eml.commands.kfold import KFoldResult


def test_kfold_returns_its_frame_and_what_json_prints(
    photos: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    table = photos / "dataset_info.csv"
    result = eml.kfold(table, k=4, near=False)
    assert isinstance(result, KFoldResult)
    assert sorted(result.frame["fold"].unique()) == [0, 1, 2, 3]
    assert repr(result) == "KFoldResult(4 folds of 8, 8, 8, 8 images)"
    assert printed_json("kfold", table, "--k", 4, "--no-near") == result.to_dict()
