"""The batches of a run."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eml.dataset.merge import merge_tables
from eml.dataset.table import Table
from eml.errors import DataError
from eml.images import loading_team, loading_workers
from eml.images.loading_workers import Worker
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.fit import Run, fit
from tests.training.runs import changed, left_by

pytestmark = pytest.mark.slow

PAIRS = {"type": "per_class", "per_class": 2}


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="its workers do not inherit the change")
def test_neither_the_number_of_workers_nor_a_killed_one_changes_a_run(
    config: RunConfig, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(config, validation={"batch_size": 4})
    fit(config, table)
    other = changed(config, output=tmp_path / "workers", data={"table": table.path, "workers": 2})
    of_step_4, of_validation = (1, 12), (0, 4)
    for first, step in ((of_step_4, 3), (of_validation, 5)):
        monkeypatch.setattr(loading_workers, "_read", killed_at(first))
        with pytest.raises(DataError) as caught:
            fit(other, table, resume=first is of_validation)
        monkeypatch.undo()
        assert caught.value.problems == [
            "data.workers: a process that loads images was ended by SIGKILL, perhaps for lack of memory; it was one "
            f"of 2. The last saved state is of step {step}. Resume with: eml train {other.output / 'config.yaml'} "
            "--resume --set data.workers=1"
        ]
    started: list[int] = []
    monkeypatch.setattr(loading_team, "Worker", lambda *args: started.append(args[0]) or Worker(*args))
    fit(changed(other, data={"table": table.path, "workers": 1}), table, resume=True)
    assert len(started) == 1  # for all epochs and validations
    assert left_by(other.output) == left_by(config.output)


def killed_at(first: tuple[int, int]) -> Callable[..., object]:
    """Return a worker's function for batches, which gets its process killed at one: (epoch, position)."""
    read = loading_workers._read

    def read_or_die(reader: object, pixels: object, keys: list[tuple[int, int, int]]) -> object:
        if keys[0][:2] == first:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(reader, pixels, keys)  # type: ignore[arg-type]

    return read_or_die


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
