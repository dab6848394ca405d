"""A run for every fold."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from eml.dataset.table import Table
from eml.training.config import RunConfig
from eml.training.cross_validation import fit_folds
from eml.training.events import Note, Started
from eml.training.out_of_fold import read_overlap
from tests.training.runs import changed

pytestmark = pytest.mark.slow


def test_every_fold_in_one_command_leaves_an_embedding_of_every_image_by_a_network_that_has_not_seen_it(
    config: RunConfig, table: Table
) -> None:
    short = changed(config, epochs=1)
    seen: list[bool] = []
    done = fit_folds(short, table, observe=lambda event: seen.append((short.output / "folds.json").is_file()))
    assert all(seen), "from the start: by it a scan knows that the folder is no class"
    facts = json.loads((short.output / "folds.json").read_text())
    values = [facts["folds"][str(fold)]["best"]["map_at_r"] for fold in range(3)]
    assert facts["metrics"]["map_at_r"]["mean"] == pytest.approx(np.mean(values))
    assert facts["metrics"]["map_at_r"]["std"] == pytest.approx(np.std(values, ddof=1))
    assert facts["trained_on"]["status"] == "known"
    assert (facts["trained_on"]["images"], facts["trained_on"]["of_images"]) == (0, 30)
    assert read_overlap(short.output / "out_of_fold.npz").facts() == facts["trained_on"]
    found = np.load(short.output / "out_of_fold.npz")
    assert sorted(found["file_name"]) == sorted(table.frame["file_name"])
    assert found["embeddings"].shape == (30, 16)
    before = {fold: (result.folder / "state.pt").stat().st_mtime_ns for fold, result in done.folds.items()}
    shutil.rmtree(done.folds[2].folder)
    again = fit_folds(short, table, resume=True)
    assert again.metrics == done.metrics
    assert {fold: (again.folds[fold].folder / "state.pt").stat().st_mtime_ns for fold in (0, 1)} == {
        fold: before[fold] for fold in (0, 1)
    }, "what was done is not touched"

    two = replace(table, frame=table.frame[table.frame["fold"] != 2])
    notes: list[object] = []

    def stop(event: object) -> None:
        notes.append(event)
        if isinstance(event, Started):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_folds(short, two, overwrite=True, observe=stop)
    assert not (short.output / "out_of_fold.npz").exists(), "it would be taken for that of the new runs"
    assert not (short.output / "fold-2").exists()
    assert Note(f"removed {short.output / 'fold-2'}, of the cross-validation that is replaced") in notes
