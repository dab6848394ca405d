"""Samplers in a run."""

from pathlib import Path

import numpy as np
import pytest

from eml.config import load
from eml.dataset.merge import merge_tables
from eml.dataset.table import Table
from eml.errors import ConfigError, DataError
from eml.training.config import RunConfig
from eml.training.data import training_sets
from eml.training.dry_run import rehearse
from eml.training.events import Event, Note
from eml.training.fit import Run, fit
from eml.training.recipe import resolved
from tests.training.runs import changed, left_by, stop_at

PAIRS = {"type": "per_class", "per_class": 2}


def quiet(event: Event) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("sampler", [PAIRS, {"type": "balanced", "images": 18}], ids=lambda each: each["type"])
def test_a_run_stopped_and_resumed_equals_an_uninterrupted_one(
    sampler: dict[str, object], config: RunConfig, table: Table, tmp_path: Path
) -> None:
    whole = changed(config, sampler=sampler)
    fit(whole, table)
    stopped = changed(whole, output=tmp_path / "stopped", data={"table": table.path, "workers": 1})
    stop_at(stopped, table, 6)
    fit(stopped, table, resume=True)
    assert left_by(stopped.output) == left_by(whole.output)


def test_batches_are_those_of_the_sampler_and_an_epoch_shows_every_image(config: RunConfig, table: Table) -> None:
    run = Run(changed(config, sampler=PAIRS), table, quiet)
    batches = [rows.tolist() for _, rows in run.batches(1, 0)]
    assert len(batches) == run.epoch_steps == 5
    assert sorted(row for batch in batches for row in batch) == list(range(20))
    labels = run.sets.labels[np.array(batches)]
    assert (labels[:, [0, 2]] == labels[:, [1, 3]]).all()
    assert (labels[:, 0] != labels[:, 2]).all()
    assert [rows.tolist() for _, rows in run.batches(1, 3)] == batches[3:]


def test_notes_of_the_sampler_are_told_by_a_run_and_by_a_rehearsal(config: RunConfig, table: Table) -> None:
    uneven = table.frame.groupby("label", group_keys=False).head(3)
    kept = Table(uneven[~uneven["file_name"].isin(["c0/0.png", "c0/1.png"])].reset_index(drop=True), table.root)
    given = changed(config, sampler=PAIRS, epochs=1, data={"table": table.path, "fold": None, "workers": 0})
    told: list[str] = []
    fit(given, kept, observe=lambda event: told.append(event.text) if isinstance(event, Note) else None)
    expected = Run(given, kept, quiet).sampling_notes()
    assert expected[0] == "sampler per_class: 5 batches per epoch, 35% of their images are repeats"
    assert "1 of 5 classes have fewer than per_class 2 images" in expected[1]
    assert set(expected) <= set(told)
    facts, warnings = rehearse(given, kept)
    assert set(expected) <= set(warnings)
    assert (facts["batch_size"], facts["steps"]) == (4, 5)


def test_a_dataset_of_a_merged_table_can_be_the_category(config: RunConfig, table: Table) -> None:
    halves = {
        name: Table(table.frame[table.frame["label"].isin(labels)].reset_index(drop=True), table.root)
        for name, labels in {"red": ["c0", "c1"], "blue": ["c2", "c3", "c4"]}.items()
    }
    gather_state = merge_tables(halves).table
    by_dataset = {"type": "per_category", "column": "dataset", "per_class": 2}
    run = Run(changed(config, sampler=by_dataset), gather_state, quiet)
    datasets = run.sets.frame["dataset"].to_numpy()
    batches = [datasets[rows.numpy()] for _, rows in run.batches(1, 0)]
    assert {frozenset(batch) for batch in batches} == {frozenset({"red"}), frozenset({"blue"})}


def test_a_table_without_the_column_is_told_which_it_has(config: RunConfig, table: Table) -> None:
    with pytest.raises(DataError) as error:
        Run(changed(config, sampler={"type": "per_category", "per_class": 2}), table, quiet)
    assert str(error.value) == (
        f"{table.name}: has no column 'category', by which the sampler puts classes together; set sampler.column to "
        "one that it has: label, file_name, fold"
    )


def test_blank_categories_are_none(table: Table) -> None:
    shop = np.where(table.frame["label"] == "c1", "", np.where(table.frame["label"] == "c2", None, "north"))
    sets = training_sets(Table(table.frame.assign(shop=shop), table.root), None)
    categories = sets.sampled("shop", "folds.csv").categories
    assert categories is not None
    assert set(categories[np.isin(sets.labels, [1, 2])]) == {-1}
    assert set(categories[~np.isin(sets.labels, [1, 2])]) == {0}


def test_a_batch_that_the_sampler_cannot_fill_is_an_error_of_the_config_with_its_line(tmp_path: Path) -> None:
    head = "output: run\ndata: {table: folds.csv}\n"
    for text, line, told in (
        (
            "batch_size: 30\nsampler: {type: per_class}\n",
            3,
            r"multiple of sampler\.per_class 4, .*, got 30; set it to 28 or 32",
        ),
        ("sampler: {type: per_class}\nbatch_size: 4\n", 4, r"multiple .* at least two of them, got 4; set it to 8"),
        (
            "batch_size: 36\nsampler: {type: per_category, categories: 2}\n",
            3,
            r"multiple of 8, sampler\.per_class 4 × categories 2, .* got 36; set it to 32 or 40",
        ),
    ):
        (tmp_path / "run.yaml").write_text(head + text)
        with pytest.raises(ConfigError, match=rf"run\.yaml:{line}: batch_size must be a {told}"):
            load(RunConfig, tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_text(head + "sampler: {type: per_clas}\n")
    with pytest.raises(ConfigError, match=r"unknown sampler 'per_clas' .did you mean 'per_class'"):
        load(RunConfig, tmp_path / "run.yaml")


def test_a_recipe_leaves_the_batch_that_the_sampler_can_fill(config: RunConfig, table: Table) -> None:
    given = RunConfig.model_validate(
        {"output": config.output, "data": {"table": table.path}, "sampler": {"type": "per_class", "per_class": 32}}
    )
    made, told = resolved(given, table)
    assert made.batch_size == 64, "the recipe's 32 would be one class"
    assert not any("batch_size" in line for line in told)
