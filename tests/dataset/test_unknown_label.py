"""Images of unknown identity, such as whale competitions' new_whale: no class anywhere, and kept from step to step."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import eml
from eml.commands.base import Caller
from eml.dataset.duplicates.dedup import DedupRules
from eml.dataset.filter import FilterRules, filter_table
from eml.dataset.merge import merge_tables
from eml.dataset.pipeline import resolve
from eml.dataset.splits.folds import add_folds, balance
from eml.dataset.splits.leak_audit import audit_folds
from eml.dataset.splits.split import SplitTables, split_by_alternate, split_by_column, split_by_counts, split_by_ratio
from eml.dataset.table import Table, read_table
from eml.dataset.unknown_label import unknown_label_hint, with_unknown_label
from eml.errors import DataError

UNKNOWN = "new_whale"


def whales(classes: int = 10, images: int = 6, unknown: int = 25) -> Table:
    labels = [f"w{number}" for number in range(classes) for _ in range(images)] + [UNKNOWN] * unknown
    names = [f"{label}/{row:03}.jpg" for row, label in enumerate(labels)]
    return Table(pd.DataFrame({"label": labels, "file_name": names}), Path("/whales"), unknown_label=UNKNOWN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four classes of five images; new_whale has eight and a copy of an image of a."""
    random = np.random.default_rng(0)
    for label, count in (("a", 5), ("b", 5), ("c", 5), ("d", 5), (UNKNOWN, 8)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            image = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)
            image.save(tmp_path / "photos" / label / f"{number}.png")
    copy = tmp_path / "photos" / UNKNOWN / "copy.png"
    copy.write_bytes((tmp_path / "photos" / "a" / "0.png").read_bytes())
    return tmp_path / "photos"


def test_the_label_is_told_once_and_every_later_table_keeps_it(folder: Path) -> None:
    scan = eml.scan(folder, unknown_label=UNKNOWN)
    assert (scan.facts.images, scan.facts.classes, scan.facts.unknown_images) == (29, 4, 9)
    assert scan.facts.images_per_class.max == 5
    filtered = eml.filter(folder, dedup=True, scope="dataset", min_per_class=2).filtered
    assert (filtered.counts.classes, filtered.counts.unknown_images, filtered.counts.conflict_images) == (4, 8, 0)
    removed = filtered.removed[["file_name", "reason", "kept"]].to_numpy().tolist()
    assert removed == [[f"{UNKNOWN}/copy.png", "duplicate", "a/0.png"]]  # the known one stays
    split = eml.split(folder, by="ratio", test_ratio=0.5, query_gallery=True)
    assert {side: (of.classes, of.unknown_images) for side, of in split.counts.items()} == {
        "train": (2, 4),
        "test": (2, 4),
    }
    strangers = split.test[split.test["label"] == UNKNOWN]
    assert strangers[["is_query", "is_gallery"]].to_numpy(bool).all()
    eml.kfold(folder, k=2)
    for name in ("dataset_info", "dataset_info_filtered", "dataset_train", "dataset_test", "folds"):
        assert read_table(folder / f"{name}.csv").unknown_label == UNKNOWN, name
    assert UNKNOWN not in (folder / "classes_test.csv").read_text()
    merged = eml.merge([f"x={folder}/dataset_train.csv", f"y={folder}/dataset_test.csv"], out=folder.parent / "both")
    table = read_table(merged.written[0])
    assert table.unknown_label == UNKNOWN
    assert table.is_unknown.sum() == 8


def test_a_label_that_no_image_has_is_refused_with_the_nearest_ones(folder: Path) -> None:
    with pytest.raises(DataError) as error:
        eml.scan(folder, unknown_label="new_whales")
    (problem,) = error.value.problems
    assert problem.endswith("`unknown_label` 'new_whales': no image has this label. The nearest labels: 'new_whale'")
    assert (problem.code, problem.parameter) == ("unknown-choice", "unknown_label")
    with pytest.raises(DataError, match="Its labels: 'new_whale', 'w0', 'w1', 'w2', 'w3' …"):
        with_unknown_label(whales(), "zzzzzz")


def test_images_that_all_have_the_unknown_label_are_refused(folder: Path) -> None:
    only = replace(whales(classes=0, unknown=3), unknown_label=None)
    with pytest.raises(DataError) as error:
        with_unknown_label(only, UNKNOWN)
    (problem,) = error.value.problems
    assert "all 3 images have the unknown label 'new_whale'; there is no class. Give the label of some" in problem
    assert (problem.code, problem.parameter) == ("too-few-classes", "unknown_label")
    with pytest.raises(DataError, match="all 6 images have the unknown label"):
        merge_tables({name: replace(only, root=Path(f"/{name}"), unknown_label=UNKNOWN) for name in "xy"})
    with pytest.raises(DataError, match=r"left of 31 \(6 small_class\) but 25 with the unknown label 'new_whale'"):
        filter_table(whales(classes=1), FilterRules(min_per_class=7))
    eml.scan(folder, unknown_label=UNKNOWN)
    for label in "abcd":
        shutil.rmtree(folder / label)
    with pytest.raises(DataError, match="all 9 images have the unknown label"):  # as the last scan recorded it
        eml.scan(folder)


def test_a_largest_class_that_reads_like_unknown_images_is_only_hinted_at(folder: Path) -> None:
    plain = replace(whales(), unknown_label=None)
    assert "set `unknown_label=new_whale`" in (unknown_label_hint(plain) or "")
    assert unknown_label_hint(whales()) is None
    assert unknown_label_hint(replace(whales(unknown=3), unknown_label=None)) is None  # not the largest
    lines: list[str] = []
    assert resolve(folder, "filter", report=lines.append).unknown_label is None
    assert any("the largest class is 'new_whale'" in line for line in lines)


def test_a_hint_says_the_whole_command() -> None:
    plain = replace(whales(), unknown_label=None)
    assert "run eml scan 'my whales' --unknown-label new_whale:" in str(
        unknown_label_hint(plain, "eml scan 'my whales'")
    )
    assert "run eml scan --unknown-label new_whale -- -w:" in str(unknown_label_hint(plain, "eml scan -- -w"))
    assert unknown_label_hint(with_unknown_label(plain, "")) is None


@pytest.mark.wide
def test_every_step_repeats_the_hint_until_the_label_is_set_or_denied(folder: Path) -> None:
    def hints(step: Callable[..., Any], name: str, **options: Any) -> list[str]:
        lines: list[str] = []
        result = step.run(
            step.config_type(dataset=folder, **options), Caller(note=lines.append, command=f"eml {name} x")
        )
        texts = [*lines, *(result.scan.warnings if name == "scan" else [])]
        return [line.partition(", run ")[2].partition(":")[0] for line in texts if "the largest class" in line]

    steps = (
        ("scan", {}),
        ("filter", {"dedup": True}),
        ("split", {"by": "alternate"}),
        ("kfold", {"k": 2}),
        ("report", {}),
    )
    for name, options in steps:
        assert hints(getattr(eml, name), name, **options) == [f"eml {name} x --unknown-label new_whale"], name
    assert "eml report x --unknown-label new_whale" in (folder / "data_report.html").read_text()
    assert hints(eml.scan, "scan", unknown_label="") == []
    assert [hints(getattr(eml, name), name, **options) for name, options in steps] == [[]] * 5


def test_a_step_that_is_run_again_takes_the_label_over_from_the_tables_after_it(folder: Path) -> None:
    eml.scan(folder)
    eml.split(folder, by="ratio", unknown_label=UNKNOWN)
    lines: list[str] = []
    eml.filter.run(eml.filter.config_type(dataset=folder, dedup=True), Caller(note=lines.append))
    said = "`unknown_label=new_whale`; to take it back give `unknown_label=`"
    assert f"as in {folder}/dataset_train.csv: {said}" in lines or f"as in {folder}/dataset_test.csv: {said}" in lines
    split = eml.split(folder, by="ratio")
    assert UNKNOWN not in (folder / "classes_train.csv").read_text()
    assert (split.table.unknown_label, split.counts["train"].classes) == (UNKNOWN, 3)
    assert eml.kfold(folder, k=2).table.unknown_label == UNKNOWN
    assert eml.scan(folder, reread=True).table.unknown_label == UNKNOWN


def test_a_label_told_to_a_second_scan_reaches_the_tables_made_of_the_first(folder: Path) -> None:
    eml.scan(folder)
    eml.filter(folder, dedup=True)
    eml.scan(folder, unknown_label=UNKNOWN)  # the same rows, so the filtered table is not out of date
    assert eml.split(folder, by="ratio").table.unknown_label == UNKNOWN


def test_a_merge_that_loses_the_label_of_the_table_it_replaces_warns(folder: Path, tmp_path: Path) -> None:
    frame = eml.scan(folder).table.frame[["label", "file_name"]]
    for name, labels in (("x", ["a", "b", UNKNOWN]), ("y", ["c", "d"])):
        frame[frame["label"].isin(labels)].to_csv(folder / f"{name}.csv", index=False)
    tables = [str(folder / f"{name}.csv") for name in "xy"]
    lines: list[str] = []
    for label in (UNKNOWN, None):
        config = eml.merge.config_type(datasets=tables, out=tmp_path / "all.csv", unknown_label=label)
        eml.merge.run(config, Caller(warn=lines.append))
    (line,) = (line for line in lines if "unknown label" in line)
    assert line.endswith("has none; to keep it give `unknown_label=new_whale`")


@pytest.mark.wide
def test_a_label_that_was_taken_back_is_not_taken_over(folder: Path) -> None:
    eml.scan(folder)
    eml.split(folder, by="ratio", unknown_label=UNKNOWN)
    eml.kfold(folder, k=2)
    eml.split(folder, by="ratio", unknown_label="")
    assert eml.kfold(folder, k=2).table.unknown_label is None  # folds.csv before it had the label
    assert eml.filter(folder, dedup=True).table.unknown_label is None
    assert eml.split(folder, by="ratio", unknown_label=UNKNOWN).table.unknown_label == UNKNOWN


def test_a_label_of_other_images_is_not_taken_over(folder: Path, tmp_path: Path) -> None:
    eml.scan(folder)
    eml.split(folder, by="ratio", unknown_label=UNKNOWN, out=tmp_path / "out")
    other = tmp_path / "other"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("*.csv", "*.json"))
    eml.scan(other)
    assert eml.split(other, by="ratio", out=tmp_path / "out").table.unknown_label is None


def test_the_first_command_that_a_report_suggests_carries_the_label(folder: Path) -> None:
    eml.scan(folder)
    first, *later = eml.report(folder, unknown_label=UNKNOWN).suggestions
    assert first.endswith(" --unknown-label new_whale")
    assert not any("--unknown-label" in command for command in later)
    eml.scan(folder, unknown_label=UNKNOWN)
    assert not any("--unknown-label" in command for command in eml.report(folder).suggestions)


def test_labels_that_read_the_same_are_named_by_every_step(tmp_path: Path) -> None:
    rows = [(label, f"{number}.png") for number, label in enumerate(["Weber", "weber", "a", "b"] * 4)]
    for _, name in rows:
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    pd.DataFrame(rows, columns=["label", "file_name"]).to_csv(tmp_path / "own.csv", index=False)
    for step, source in ((eml.filter, tmp_path / "own.csv"), (eml.split, tmp_path)):
        lines: list[str] = []
        options = {"by": "alternate"} if step is eml.split else {"min_per_class": 2}
        step.run(step.config_type(dataset=source, **options), Caller(note=lines.append))
        assert sum("'Weber' and 'weber' (case)" in line for line in lines) == 1, (step, lines)


def test_small_class_limits_and_exact_conflicts_leave_unknown_images_alone() -> None:
    table = whales(classes=3, images=3, unknown=1)
    frame = table.frame.assign(content=[f"{row:032x}" for row in range(10)], hash=[f"{row:016x}" for row in range(10)])
    frame.loc[9, "content"] = frame.loc[0, "content"]
    kept = filter_table(replace(table, frame=table.frame), FilterRules(min_per_class=2))
    assert len(kept.kept) == 10
    rules = FilterRules(dedup=DedupRules(threshold=0, hash_only=True))
    one = filter_table(replace(table, frame=frame), rules)
    assert one.removed[["file_name", "kept"]].to_numpy().tolist() == [["new_whale/009.jpg", "w0/000.jpg"]]
    assert one.conflicts.empty
    as_class = filter_table(replace(table, frame=frame, unknown_label=None), rules)
    assert len(as_class.conflicts) == 2  # as before, where nobody says that the label is unknown


@pytest.mark.parametrize("by", ["images", "class"])
def test_unknown_images_are_spread_over_the_folds_and_change_no_other(by: Any) -> None:
    table = whales()
    groups = np.arange(len(table.frame))
    groups[-1] = groups[0]  # an unknown image that looks like a known one
    frame = add_folds(table, 5, by=by, groups=groups)
    known, unknown = frame[~table.is_unknown], frame[table.is_unknown]
    assert known["fold"].tolist() == add_folds(table.known, 5, by=by)["fold"].tolist()
    assert unknown["fold"].iloc[-1] == known["fold"].iloc[0]
    assert sorted(unknown["fold"].iloc[:-1].value_counts()) == [4, 5, 5, 5, 5]
    counts = balance(table, frame, 5, by, groups)
    assert sum(fold.images for fold in counts.folds) == 60
    assert sum(fold.unknown for fold in counts.folds) == 25
    assert UNKNOWN not in audit_folds(replace(table, frame=frame)).shared_classes


@pytest.mark.parametrize(
    "split",
    [
        lambda table, groups: split_by_ratio(table, 0.3, groups=groups),
        lambda table, groups: split_by_alternate(table, groups),
        lambda table, groups: split_by_counts(
            replace(table, frame=table.frame.drop([0, 6])), 6, 6, np.delete(groups, [0, 6])
        ),
    ],
)
def test_unknown_images_are_on_both_sides_in_the_share_of_the_known(
    split: Callable[[Table, Any], SplitTables],
) -> None:
    table = whales()
    groups = np.arange(len(table.frame))
    sides = split(table, groups)
    share = sides.test_counts.images / (sides.test_counts.images + sides.train_counts.images)
    assert sides.test_counts.unknown_images == pytest.approx(25 * share, abs=0.51)
    assert sides.test_counts.unknown_images + sides.train_counts.unknown_images == 25
    assert sides.test_counts.classes + sides.train_counts.classes == 10
    label = sides.test["label"].iloc[0]
    like = table.frame.index[table.frame["label"] == label][-1]
    groups[-1] = groups[like]
    assert table.frame["file_name"].iloc[-1] in set(split(table, groups).test["file_name"])


def test_a_split_by_column_takes_unknown_images_where_it_says() -> None:
    table = whales(classes=2, unknown=4)
    side = ["train"] * 6 + ["test"] * 6 + ["train", "test", "test", "test"]
    sides = split_by_column(replace(table, frame=table.frame.assign(side=side)), "side")
    assert (sides.train_counts.unknown_images, sides.test_counts.unknown_images) == (1, 3)


def test_merged_tables_have_one_unknown_label(tmp_path: Path) -> None:
    first = replace(whales(2, 2, 2), root=tmp_path / "x")
    second = replace(whales(2, 2, 3), root=tmp_path / "y", unknown_label="nobody")
    second = replace(second, frame=second.frame.replace({"label": {UNKNOWN: "nobody"}}))
    third = replace(whales(2, 2, 4), root=tmp_path / "z", unknown_label=None)
    merged = merge_tables({"x": first, "y": second, "z": third})
    assert merged.table.unknown_label == UNKNOWN
    assert merged.table.is_unknown.sum() == 5
    assert "z:new_whale" in set(merged.table.frame["label"])
    assert merged.notes[:2] == [
        "images of y with its unknown label 'nobody' get 'new_whale'",
        "4 images of z have the label 'new_whale': a class there",
    ]
    assert merge_tables({"x": first, "z": third}, "merged").table.is_unknown.sum() == 6
