"""What is trained on and measured: lists of tables, tables that hold a test, boxes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eml.config import load
from eml.dataset.pipeline import table_to_evaluate
from eml.dataset.splits.folds import add_folds
from eml.dataset.splits.groups import group_rows
from eml.dataset.table import Table, write_table
from eml.errors import CheckpointError, ConfigError, DataError, Interrupted
from eml.evaluation.evaluate import evaluate_model
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.retrieval_set import build_retrieval_set
from eml.evaluation.runs import evaluate_models
from eml.inference.load import load as load_model
from eml.training.build import build_parts
from eml.training.config import DataConfig, RunConfig
from eml.training.data import table_to_train_on, training_data
from eml.training.fit import Run, fit
from tests.training.runs import changed


def config_errors(folder: Path, data: str) -> list[str]:
    (folder / "run.yaml").write_text(f"output: run\ndata:\n{data}")
    with pytest.raises(ConfigError) as error:
        load(RunConfig, folder / "run.yaml")
    return [problem.removeprefix(f"{folder}/") for problem in error.value.problems]


def two(folder: Path, table: Table) -> RunConfig:
    """A run on the colours twice over: a copy of their table that is called so, and three images of one more."""
    rows = table.frame.drop(columns="fold")
    write_table(rows[rows["label"] < "c3"], folder / "one.csv", command="test", root=table.root)
    write_table(rows[rows["label"] >= "c3"], folder / "two.csv", command="test", root=table.root)
    return RunConfig.model_validate(
        {
            "output": folder / "run",
            "data": {"table": [folder / "one.csv", {"table": folder / "two.csv", "name": "2"}], "workers": 0},
            "image": {"size": 32},
            "model": {"backbone": "test_resnet", "weights": "none", "neck": {"type": "linear", "size": 16}},
            "head": {"scale": 16},
            "epochs": 1,
            "batch_size": 8,
        }
    )


def test_a_list_of_tables_is_read_from_a_config_with_paths_from_its_folder(tmp_path: Path) -> None:
    tables = "    - a/t.csv\n    - {table: b.csv, root: images, name: other}\n"
    (tmp_path / "run.yaml").write_text(f"output: run\ndata:\n  table:\n{tables}  labels: merged\n")
    data = load(RunConfig, tmp_path / "run.yaml", ["data.table.1.name=third"]).data
    assert isinstance(data.table, list)
    assert data.table[0] == tmp_path / "a" / "t.csv"
    assert data.model_dump(exclude_defaults=True)["table"][1] == {
        "table": tmp_path / "b.csv",
        "root": tmp_path / "images",
        "name": "third",
    }
    assert data.labels == "merged"


def test_mistakes_in_a_list_of_tables_are_reported_with_their_lines(tmp_path: Path) -> None:
    keys = "file_column, label_column, strip_prefix, path_prefix, path_suffix, match_names, table, root, name"
    assert config_errors(tmp_path, "  table:\n    - 5\n    - {tabel: b.csv}\n    - {table: c.csv, root: 3}\n") == [
        f"run.yaml:4: data.table.0 must be a path or a section (keys: {keys}), got 5.",
        f"run.yaml:5: unknown key 'data.table.1.tabel' (did you mean 'table'?); known: {keys}",
        "run.yaml:6: data.table.2.root must be a path or null, got 3.",
    ]


def test_an_empty_list_and_a_root_beside_a_list_are_refused(tmp_path: Path) -> None:
    assert config_errors(tmp_path, "  table: []\n") == ["run.yaml:3: data.table must not be empty."]
    assert config_errors(tmp_path, "  table: [a.csv]\n  root: x\n") == [
        "run.yaml:4: data.root is for a single table; write the entries of a list as {table: …, root: …}"
    ]


def test_a_root_that_is_gone_is_named_with_its_key(tmp_path: Path, table: Table) -> None:
    write_table(table.frame, tmp_path / "t.csv", command="test", root=table.root)
    with pytest.raises(
        DataError, match=r"gone: no such folder\. Where the images were moved, set data\.root"
    ) as caught:
        table_to_train_on(DataConfig(table=tmp_path / "t.csv", root=tmp_path / "gone"))
    assert (caught.value.code, caught.value.parameter) == ("missing-folder", "data.root")


def test_several_tables_are_trained_on_as_one(tmp_path: Path, table: Table) -> None:
    config, told = two(tmp_path, table), list[str]()
    merged = table_to_train_on(config.data, told.append, task="closed")
    assert training_data(merged, 0).classes == ["2:c3", "2:c4", "one:c0", "one:c1", "one:c2"]
    assert told[-1].endswith(
        "one.csv and 1 more has no fold column: adding 5 folds by images, seed 28, as eml kfold does"
    )
    fit(config, merged)
    facts = (tmp_path / "run" / "run.json").read_text()
    assert str(tmp_path / "one.csv") in facts
    assert str(tmp_path / "two.csv") in facts


def test_a_run_on_several_tables_is_not_resumed_when_one_of_them_has_changed(tmp_path: Path, table: Table) -> None:
    config = two(tmp_path, table)

    def stop(event: object) -> None:
        if type(event).__name__ == "Stepped":
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Interrupted)):
        fit(config, table_to_train_on(config.data), observe=stop)
    write_table(table.frame[table.frame["label"] > "c3"], tmp_path / "two.csv", command="test", root=table.root)
    with pytest.raises(CheckpointError, match=r"one\.csv and 1 more: is not the table that the run in"):
        fit(config, table_to_train_on(config.data), resume=True)


def oml(folder: Path, table: Table) -> Path:
    """The colours as a table of open-metric-learning: c3 and c4 are its validation."""
    frame = table.frame.drop(columns="fold").rename(columns={"file_name": "path"})
    test = frame["label"] >= "c3"
    frame["split"] = test.map({True: "validation", False: "train"})
    frame["is_query"] = [str(number % 2 == 0) if on else "" for number, on in enumerate(test)]
    frame["is_gallery"] = [str(number % 2 == 1) if on else "" for number, on in enumerate(test)]
    frame.to_csv(folder / "df.csv", index=False)
    return folder / "df.csv"


def test_the_validation_of_open_metric_learning_is_never_trained_on_nor_validated_with(
    tmp_path: Path, table: Table
) -> None:
    data = DataConfig(table=oml(tmp_path, table), root=table.root)
    read = table_to_train_on(data)
    assert sorted(read.frame["fold"].unique()) == [-2, 0, 1, 2, 3, 4]  # of 3 classes none can be held out whole
    for fold in (0, None):
        sets = training_data(read if fold == 0 else table_to_train_on(data.model_copy(update={"fold": None})), fold)
        assert sets.classes == ["c0", "c1", "c2"]
        if sets.validation is not None:
            assert set(sets.validation.frame["label"]) <= {"c0", "c1", "c2"}


def test_no_folds_are_added_to_a_table_whose_folds_are_all_for_training(tmp_path: Path, table: Table) -> None:
    path = write_table(table.frame.assign(fold=-1), tmp_path / "t.csv", command="test", root=table.root).source
    with pytest.raises(DataError, match="no image is in fold 0; the folds are -1"):
        training_data(table_to_train_on(DataConfig(table=path)), 0)


def test_rows_that_are_neither_query_nor_gallery_are_not_embedded(tmp_path: Path, table: Table) -> None:
    read = table_to_evaluate(oml(tmp_path, table), table.root)
    retrieval = build_retrieval_set(read.frame, read.name)
    assert (len(retrieval.frame), len(retrieval.queries), len(retrieval.gallery)) == (12, 6, 6)
    assert set(retrieval.frame["label"]) == {"c3", "c4"}
    model = load_model("timm:test_resnet", weights="none", image_size=32, device="cpu")
    result = evaluate_model(model, read, retrieval).facts()
    assert (result["images"], result["classes"], result["queries"], result["gallery"]) == (12, 2, 6, 6)


def test_images_of_one_class_measure_nothing(table: Table) -> None:
    one = table.frame[table.frame["label"] == "c1"]
    with pytest.raises(DataError, match="t: all images are of one class, 'c1', so every answer is right"):
        build_retrieval_set(one, "t")


def test_flags_that_are_all_blank_say_nothing(tmp_path: Path, table: Table) -> None:
    read = table_to_evaluate(oml(tmp_path, table), table.root)
    train = read.frame[read.frame["split"] == "train"]
    assert build_retrieval_set(train, "t").protocol == "leave-one-out"


def test_a_box_outside_its_image_is_reported_before_training_and_evaluation(tmp_path: Path, table: Table) -> None:
    boxes = "label,file_name,x_1,y_1,x_2,y_2\nc0,c0/0.png,0,0,20,40\nc1,c1/0.png,0,0,41,40\n"
    (tmp_path / "t.csv").write_text(boxes)
    told = r"t\.csv:3: box 0, 0, 41, 40 is not within the 40 × 40 pixels of 'c1/0\.png'"
    with pytest.raises(DataError, match=told):
        table_to_train_on(DataConfig(table=tmp_path / "t.csv", root=table.root))
    with pytest.raises(DataError, match=told):
        table_to_evaluate(tmp_path / "t.csv", table.root)


def test_a_table_without_folds_gets_those_of_kfold_and_near_duplicates_stay_together(
    table: Table, config: RunConfig, tmp_path: Path
) -> None:
    frame = table.frame.drop(columns="fold").assign(
        hash=[f"{n // 2 * 0x0F83_5A1C_97E2_B46D % 2**64:016x}" for n in range(30)]
    )
    written = write_table(frame, tmp_path / "t.csv", command="test", root=table.root)
    told: list[str] = []
    found = table_to_train_on(config.data.model_copy(update={"table": written.path}), told.append, task="closed")
    groups = group_rows(written).ids
    assert len(set(groups)) == 15
    assert found.frame.equals(add_folds(written, groups=groups))
    assert found.frame["fold"].groupby(groups).nunique().eq(1).all()
    assert len(told) == 2
    assert told[0] == f"images: those of {table.root}"
    bare = write_table(frame.drop(columns="hash"), tmp_path / "bare.csv", command="test", root=table.root)
    table_to_train_on(config.data.model_copy(update={"table": bare.path}), told.append)
    assert "has no column 'hash'" in told[-2]


def test_fold_by_class_is_validated_leave_one_out_among_its_own_images(config: RunConfig, table: Table) -> None:
    by_class = table.frame.assign(fold=(table.frame["label"] < "c2").map({True: 0, False: 1}))
    run = Run(build_parts(config, Table(by_class, table.root)))
    assert run.parts.data.classes == ["c2", "c3", "c4"]
    assert run.parts.data.validation is not None
    assert run.parts.data.validation.protocol == "leave-one-out"
    assert len(run.parts.data.validation.queries) == len(run.parts.data.validation.gallery) == 12


def test_folds_are_added_by_class_where_classes_have_two_images_and_not_where_none_can_be_measured(
    tmp_path: Path, table: Table
) -> None:
    frame = table.frame.drop(columns="fold").groupby("label").head(2)
    told: list[str] = []
    two = write_table(frame, tmp_path / "two.csv", command="test", root=table.root)
    added = table_to_train_on(DataConfig(table=two.source), told.append).frame
    assert added.groupby("label")["fold"].nunique().eq(1).all()
    assert sorted(added["fold"].unique()) == [0, 1]
    assert "has no fold column: adding 2 folds by class, seed 28, as eml kfold does: task open" in told[-1]
    few = write_table(frame[frame["label"] < "c3"], tmp_path / "few.csv", command="test", root=table.root)
    with pytest.raises(DataError, match=r"no folds of its images can be validated on; set data\.fold: null to train"):
        table_to_train_on(DataConfig(table=few.source))
    assert len(table_to_train_on(DataConfig(table=few.source, fold=None)).frame) == 6


@pytest.mark.parametrize(
    "folds, problem",
    [
        ({"c0": [0] * 6}, "holds one class to find images of, so every answer is right and nothing is measured"),
        ({"c0": [0] + [1] * 5}, "holds one class to find images of"),
        ({"c0": [0] + [-2] * 5, "c1": [0] + [-2] * 5}, "holds one image of each class, so there is nothing to find"),
    ],
)
def test_a_fold_that_nothing_can_be_measured_on_is_refused(
    folds: dict[str, list[int]], problem: str, table: Table
) -> None:
    numbers = [number for label in ("c0", "c1", "c2", "c3", "c4") for number in folds.get(label, [1] * 6)]
    with pytest.raises(DataError, match=f"fold 0 {problem}") as error:
        training_data(Table(table.frame.assign(fold=numbers), table.root), 0)
    assert (error.value.code, error.value.parameter) == ("unusable-folds", "data.fold")


def test_fold_minus_two_is_never_looked_at(config: RunConfig, table: Table) -> None:
    hidden = table.frame.assign(fold=table.frame["fold"].where(table.frame["label"] != "c0", -2))
    run = Run(build_parts(config, Table(hidden, table.root)))
    assert "c0" not in {*run.parts.data.classes, *run.parts.data.validation.frame["label"]}  # type: ignore[union-attr]


def test_too_little_to_train_on_is_an_error(config: RunConfig, table: Table) -> None:
    one = table.frame[table.frame["label"] == "c0"]
    single = table.frame.groupby("label").head(1)
    for frame, message in ((one, "1 class to train on"), (single, "every class has one image")):
        with pytest.raises(DataError, match=message):
            fit(changed(config, data={"table": table.path, "fold": None}), Table(frame, table.root))
    with pytest.raises(DataError, match="no image is in fold 7; the folds are 0, 1, 2"):
        fit(changed(config, data={"table": table.path, "fold": 7}), table)


def test_an_error_about_a_missing_category_column_lists_the_columns(config: RunConfig, table: Table) -> None:
    with pytest.raises(DataError) as error:
        Run(build_parts(changed(config, sampler={"type": "per_category", "per_class": 2}), table))
    assert str(error.value) == (
        f"{table.name}: has no column 'category' by which the sampler groups classes; set sampler.column to one "
        "of its columns: label, file_name, fold"
    )


def test_blank_categories_are_none(table: Table) -> None:
    shop = np.where(table.frame["label"] == "c1", "", np.where(table.frame["label"] == "c2", None, "north"))
    data = training_data(Table(table.frame.assign(shop=shop), table.root), None)
    categories = data.sampler_classes("shop", "folds.csv").categories
    assert categories is not None
    assert set(categories[np.isin(data.labels, [1, 2])]) == {-1}
    assert set(categories[~np.isin(data.labels, [1, 2])]) == {0}


def test_images_of_unknown_identity_are_not_trained_on_and_distract_in_validation(table: Table) -> None:
    strangers = replace(table, unknown_label="c4")
    data = training_data(strangers, 0)
    assert data.classes == ["c0", "c1", "c2", "c3"]
    assert "c4" not in set(data.frame["label"])
    images = data.validation
    assert images is not None
    held_out = int((table.frame["fold"] == 0).sum())
    unknown = int(((table.frame["fold"] == 0) & (table.frame["label"] == "c4")).sum())
    assert images.unknown is not None
    assert (int(images.unknown.sum()), len(images.queries)) == (unknown, held_out - unknown)
    assert set(np.flatnonzero(images.unknown)) <= set(images.gallery)
    by_class = replace(strangers, frame=table.frame.assign(fold=(table.frame["label"] > "c1").astype(int)))
    alone = training_data(by_class, 1).validation
    assert alone is not None
    assert set(alone.frame["label"].iloc[alone.queries]) == {"c2", "c3"}
    assert set(alone.frame["label"].iloc[alone.gallery]) == {"c2", "c3", "c4"}


def test_the_checkpoint_keeps_the_unknown_label_for_tables_that_do_not_say_it(
    tmp_path: Path, config: RunConfig, table: Table
) -> None:
    data = config.data.model_copy(update={"unknown_label": "c4"})
    run = config.model_copy(update={"data": data, "epochs": 1})
    fit(run, table_to_train_on(data))
    labels = json.loads(next((run.output / "checkpoints").glob("epoch-*/labels.json")).read_text())
    assert labels == ["c0", "c1", "c2", "c3"]
    table.frame.drop(columns="fold").to_csv(tmp_path / "mine.csv", index=False)  # without a sidecar
    options = EvaluationOptions([str(run.output)], [tmp_path / "mine.csv"], root=table.root, device="cpu")
    lines: list[str] = []
    facts = evaluate_models(options, report=lines.append).results[0].facts()
    assert (facts["classes"], facts["unknown_label"], facts["unknown_images"]) == (4, "c4", 6)
    assert (facts["queries"], facts["gallery"]) == (24, 30 - 1)
    assert any("6 images with the label 'c4' are of unknown identity, as" in line for line in lines)
    with pytest.raises(DataError, match="`unknown_label` 'c9': no image has this label"):
        table_to_train_on(data.model_copy(update={"unknown_label": "c9"}))
