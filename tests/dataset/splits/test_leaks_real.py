"""On the real photos and drawings of ../shared/data: the counts that docs/leaks.md gives."""

from pathlib import Path

import numpy as np
import pytest

from eml.dataset.scanning.scan import scan_folder
from eml.dataset.splits.folds import add_folds, balance
from eml.dataset.splits.groups import group_rows
from eml.dataset.splits.leak_audit import audit_folds, audit_tables
from eml.dataset.splits.split import split_by_ratio
from eml.dataset.table import Table
from tests.dataset.archives import unpacked

pytestmark = pytest.mark.wide


@pytest.fixture(scope="module", params=["grocery160", "emoji"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Table]:
    root = unpacked(request.param, tmp_path_factory.mktemp(request.param)) / "images"
    return request.param, Table(scan_folder(root).table, root, root / "dataset_info.csv")


def test_folds_have_no_look_alikes_in_common_and_plain_ones_have(data: tuple[str, Table]) -> None:
    name, table = data
    k, some = (5, 40) if name == "grocery160" else (3, 400)
    groups = group_rows(table).ids
    plain = audit_folds(Table(add_folds(table, k), table.root, table.path))
    assert plain.num_pairs > some
    folds = add_folds(table, k, groups=groups)
    assert audit_folds(Table(folds, table.root, table.path)).clean
    images = folds["fold"].value_counts()
    assert images.max() - images.min() <= 3
    if name == "grocery160":
        result = balance(table, folds, k, "images", groups)
        assert result.worst_class is not None
        assert abs(result.worst_class.images - result.worst_class.even) < 1  # as even as without groups


def test_a_split_by_ratio_has_no_look_alikes_on_both_sides(data: tuple[str, Table]) -> None:
    _, table = data
    sides = split_by_ratio(table, groups=group_rows(table).ids)
    train, test = (Table(side, table.root, Path(f"{name}.csv")) for name, side in vars(sides).items())
    result = audit_tables(train, test)
    assert result.clean
    assert result.shared_classes == []
    assert len(set(test.frame["label"])) == round(0.2 * table.frame["label"].nunique())
    assert np.isin(test.frame["label"], train.frame["label"]).sum() == 0
