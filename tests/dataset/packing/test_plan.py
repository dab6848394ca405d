"""Which images go into which packed file."""

from pathlib import Path

import pandas as pd
import pytest

from eml.dataset.packing.plan import plan_pack
from eml.dataset.table import Table
from eml.errors import DataError
from tests.packed_files import write_files


def table(root: Path, sizes: list[int]) -> Table:
    files = {f"a/{number}.jpg": bytes(size) for number, size in enumerate(sizes)}
    frame = pd.DataFrame({"file_name": list(files), "label": "a"})
    return Table(frame, write_files(root, files))


@pytest.mark.parametrize(
    "sizes, shards",
    [
        ([5, 5, 5], [(0, 2), (2, 3)]),
        ([30, 1, 9, 1], [(0, 1), (1, 3), (3, 4)]),
        ([1], [(0, 1)]),
        ([10, 10], [(0, 1), (1, 2)]),
    ],
)
def test_a_packed_file_takes_images_up_to_its_size(
    tmp_path: Path, sizes: list[int], shards: list[tuple[int, int]]
) -> None:
    plan = plan_pack(table(tmp_path, sizes), "tar", 10, "train")
    assert plan.shards == shards
    assert plan.file(0) == f"data/train-00000-of-{len(shards):05d}.tar"


def test_rows_of_one_image_are_packed_once_and_what_differs_stays_in_the_table(tmp_path: Path) -> None:
    own = table(tmp_path, [5, 5])
    frame = pd.DataFrame({"file_name": ["a/1.jpg", "a/0.jpg", "a/1.jpg"], "label": ["x", "y", "z"], "kind": ["k"] * 3})
    plan = plan_pack(Table(frame.assign(x_1=[1, 2, 3]), own.root), "tar", 10, "train")
    assert plan.names == ["a/0.jpg", "a/1.jpg"]
    assert (list(plan.columns), plan.dropped) == (["kind"], ["label", "x_1"])
    assert plan.packed_names()["a/1.jpg"] == "data/train-00000-of-00001.tar/a/1.jpg"


def test_another_table_or_size_gives_another_digest(tmp_path: Path) -> None:
    own = table(tmp_path, [5, 5])
    first = plan_pack(own, "tar", 10, "train").digest
    assert plan_pack(own, "tar", 10, "train").digest == first
    assert plan_pack(own, "tar", 5, "train").digest != first
    assert plan_pack(Table(own.frame.assign(label="b"), own.root), "tar", 10, "train").digest != first


def test_a_column_called_image_is_refused_for_parquet(tmp_path: Path) -> None:
    own = table(tmp_path, [5])
    with pytest.raises(DataError, match="Rename it"):
        plan_pack(Table(own.frame.assign(image="x"), own.root), "parquet", 10, "train")
