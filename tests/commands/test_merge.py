from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.commands.merge import MergeResult


def test_merge_returns_the_table_and_what_json_prints(
    images: Path, photos: Path, tmp_path: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    result = eml.merge([images, f"p={photos}/dataset_info.csv"], out=tmp_path / "all")
    assert isinstance(result, MergeResult)
    assert [dataset.dataset for dataset in result.merged.datasets] == ["images", "p"]
    assert repr(result) == "MergeResult(2 datasets, 56 images of 12 classes)"
    words = ("merge", images, f"p={photos}/dataset_info.csv", "--out", tmp_path / "all")
    assert printed_json(*words) == result.to_dict()


def test_several_datasets_are_one_list(images: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="takes 1 positional arguments, got 2; give `datasets` as a list"):
        eml.merge(images, photos, out=tmp_path / "all")  # type: ignore[call-overload]
