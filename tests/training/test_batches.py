"""The batches of a run."""

from pathlib import Path

import numpy as np
import pytest

from eml.dataset.merge import merge_tables
from eml.dataset.table import Table
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.fit import Run, fit
from tests.training.runs import changed, left_by

pytestmark = pytest.mark.slow

PAIRS = {"type": "per_class", "per_class": 2}


def test_the_number_of_workers_does_not_change_a_run(config: RunConfig, table: Table, tmp_path: Path) -> None:
    fit(config, table)
    other = changed(config, output=tmp_path / "workers", data={"table": table.path, "workers": 2})
    fit(other, table)
    assert left_by(other.output) == left_by(config.output)


def test_batches_are_those_of_the_sampler_and_an_epoch_shows_every_image(config: RunConfig, table: Table) -> None:
    run = Run(build_parts(changed(config, sampler=PAIRS), table))
    batches = [rows.tolist() for _, rows in run.batches.of_epoch(1, 0)]
    assert len(batches) == run.parts.steps_per_epoch == 5
    assert sorted(row for batch in batches for row in batch) == list(range(20))
    labels = run.parts.data.labels[np.array(batches)]
    assert (labels[:, [0, 2]] == labels[:, [1, 3]]).all()
    assert (labels[:, 0] != labels[:, 2]).all()
    assert [rows.tolist() for _, rows in run.batches.of_epoch(1, 3)] == batches[3:]


def test_a_dataset_of_a_merged_table_can_be_the_category(config: RunConfig, table: Table) -> None:
    halves = {
        name: Table(table.frame[table.frame["label"].isin(labels)].reset_index(drop=True), table.root)
        for name, labels in {"red": ["c0", "c1"], "blue": ["c2", "c3", "c4"]}.items()
    }
    merged = merge_tables(halves).table
    by_dataset = {"type": "per_category", "column": "dataset", "per_class": 2}
    run = Run(build_parts(changed(config, sampler=by_dataset), merged))
    datadata = run.parts.data.frame["dataset"].to_numpy()
    batches = [datadata[rows.numpy()] for _, rows in run.batches.of_epoch(1, 0)]
    assert {frozenset(batch) for batch in batches} == {frozenset({"red"}), frozenset({"blue"})}
