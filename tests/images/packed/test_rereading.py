"""Row groups that are read again for each image are told with what they cost, once for a data set."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import eml
from eml.dataset.table import read_table
from eml.images.packed import parquet_file
from eml.images.packed.rereading import rereading
from eml.training.batches import TrainingBatches
from tests.packed_files import arrow_table, jpeg, write_parquet

IMAGES = [(f"c{number % 3}/{number}.jpg", jpeg(number, (40, 40)) + bytes(4000)) for number in range(30)]
LINE = (
    "the images lie in 3 compressed row groups of Parquet, of 10 images and .* MiB on average, and a process keeps 0 "
    "of .* MiB. In a shuffled training an image costs the reading of [5-9] on average. This makes it one: eml pack "
)


def test_scan_and_train_tell_what_a_shuffled_order_costs_and_packed_again_it_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_file, "KEPT", 40_000)
    folder = tmp_path / "photos"
    labels = [number % 3 for number in range(30)]
    path = write_parquet(folder / "a.parquet", arrow_table(IMAGES, ["a", "b", "c"], label=labels), row_group_size=10)
    assert rereading([path, tmp_path / "gone.parquet"]) is not None
    warnings = eml.scan(folder, workers=1).to_dict()["warnings"]
    assert any(re.match(LINE, line) for line in warnings), warnings
    table = read_table(folder / "dataset_info.csv")
    parts: Any = SimpleNamespace(table=table, data=SimpleNamespace(frame=table.frame))
    line = TrainingBatches(parts).rereading()
    assert line is not None
    assert re.match(LINE, line)
    assert line.endswith(f"eml pack {folder / 'dataset_info.csv'} FOLDER")
    eml.pack(folder, tmp_path / "packed")
    assert not [line for line in eml.scan(tmp_path / "packed", workers=1).to_dict()["warnings"] if "row groups" in line]
    monkeypatch.setattr(parquet_file, "KEPT", 10**6)
    assert rereading([path]) is None, "all of them are kept"
