"""Images leave for one reason each, in a fixed order, and every one that stays stays for a reason too."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eml.dataset.duplicates.dedup import DedupRules
from eml.dataset.filter import FilteredTable, FilterRules, filter_table
from eml.dataset.table import Table
from eml.errors import DataError
from tests.examples import examples

LIST = Path("list.csv")


def table(*rows: dict[str, Any]) -> Table:
    """Rows get `label` a, file names 0, 1, … and 100×100 pixels unless they say otherwise; `bits` is the hash."""
    made = [
        {"label": "a", "file_name": str(n), "width": 100, "height": 100, "bytes": 1000, "bits": 0} | row
        for n, row in enumerate(rows)
    ]
    frame = pd.DataFrame(made)
    frame["hash"] = [f"{bits:016x}" for bits in frame.pop("bits")]
    frame["hash_kind"] = "phash-luma256"
    return Table(frame, Path("images"), Path("images/t.csv"))


def drawn(folder: Path, *rows: dict[str, Any]) -> Table:
    """As `table`, with images: noise, the same where `look` is the same, in brightness that differs by row."""
    folder.mkdir(exist_ok=True)
    for n, row in enumerate(rows):
        noise = np.random.default_rng(row.get("look", 0)).integers(0, 200, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise + np.uint8(n)).save(folder / str(n), format="PNG")
    made = table(*({name: value for name, value in row.items() if name != "look"} for row in rows))
    return Table(made.frame, folder, folder / "t.csv")


def apply(whole: Table, dedup: bool = False, **options: Any) -> FilteredTable:
    """Filter by rules given as one flat list of options."""
    of_duplicates = {name: options.pop(name) for name in [*options] if name in DedupRules.__annotations__}
    return filter_table(whole, FilterRules(dedup=DedupRules(**of_duplicates) if dedup else None, **options))


def kept(filtered: FilteredTable) -> list[str]:
    return filtered.kept["file_name"].tolist()


def reasons(filtered: FilteredTable) -> dict[str, str]:
    return dict(zip(filtered.removed["file_name"], filtered.removed["reason"], strict=True))


def bits(count: int) -> int:
    return (1 << count) - 1


def test_sizes_are_of_the_shorter_and_of_the_longer_side_and_inclusive() -> None:
    whole = table(
        {"width": 32, "height": 200},
        {"width": 31, "height": 99},
        {"width": 201, "height": 50},
        {"width": 200, "height": 32},
    )
    filtered = apply(whole, min_size=32, max_size=200)
    assert kept(filtered) == ["0", "3"]
    assert reasons(filtered) == {"1": "too_small", "2": "too_large"}


def test_of_near_duplicates_the_largest_stays_then_the_one_of_most_bytes_then_the_first_name() -> None:
    whole = table(
        {"bits": bits(0), "bytes": 10},
        {"bits": bits(4), "width": 150},
        {"bits": bits(8), "bytes": 9000},
        {"bits": bits(40), "bytes": 5},
        {"bits": bits(42), "bytes": 6},
        {"bits": bits(42) ^ 1, "bytes": 6},
    )
    filtered = apply(whole, dedup=True, hash_only=True)
    assert kept(filtered) == ["1", "4"]
    assert dict(zip(filtered.removed["file_name"], filtered.removed["kept"], strict=True)) == {
        "0": "1",
        "2": "1",
        "3": "4",
        "5": "4",
    }
    assert set(reasons(filtered).values()) == {"duplicate"}


def test_the_threshold_is_inclusive() -> None:
    whole = table({"bits": bits(0)}, {"bits": bits(6)})
    assert kept(apply(whole, dedup=True, hash_only=True, threshold=5)) == ["0", "1"]
    assert kept(apply(whole, dedup=True, hash_only=True, threshold=6)) == ["0"]


def test_scope_class_leaves_near_twins_of_other_classes_alone() -> None:
    filtered = apply(table({}, {"label": "b"}, {}), dedup=True, hash_only=True)
    assert kept(filtered) == ["0", "1"]
    assert filtered.conflicts.empty
    assert filtered.counts.pairs_across_classes is None


def test_identical_files_with_different_labels_are_a_conflict_in_scope_class_too() -> None:
    whole = table({"content": "x"}, {"content": "x", "label": "b"}, {"content": "x"}, {"content": "y"}, {"content": ""})
    whole.frame.loc[4, "label"] = "c"
    filtered = apply(whole, dedup=True, hash_only=True)
    assert kept(filtered) == ["3", "4"]
    assert reasons(filtered) == dict.fromkeys("012", "label_conflict")
    assert filtered.conflicts["distance"].tolist() == [0, 0, 0]
    only_listed = apply(whole, dedup=True, hash_only=True, conflicts="keep")
    assert reasons(only_listed) == {"2": "duplicate", "3": "duplicate"}
    assert only_listed.conflicts.equals(filtered.conflicts)


def test_what_the_second_look_does_not_confirm_stays(tmp_path: Path) -> None:
    rows = [{}, {"bits": bits(2)}, {"look": 1, "bits": bits(4)}, {"label": "b", "look": 2}, {"label": "b", "look": 1}]
    whole = drawn(tmp_path, *rows)
    within = apply(whole, dedup=True)
    assert reasons(within) == {"1": "duplicate"}
    assert kept(apply(whole, dedup=True, hash_only=True)) == ["0", "3"]
    over = apply(whole, dedup=True, scope="dataset")
    assert reasons(over) == {"1": "duplicate", "2": "label_conflict", "4": "label_conflict"}
    pairs = over.counts.pairs_across_classes
    assert pairs is not None
    assert (pairs.near, pairs.compared, pairs.same_image) == (6, 6, 1)


def test_identical_content_needs_no_second_look() -> None:
    whole = table(
        {"content": "x"}, {"content": "x"}, {"content": "x", "bits": bits(64)}, {"label": "b", "content": "y"}
    )
    whole.frame.loc[3, "hash"] = f"{bits(32):016x}"
    assert kept(apply(whole, dedup=True)) == ["0", "2", "3"]  # the third has another hash: it is not asked about


def test_an_image_that_can_no_longer_be_read_is_reported_with_all_others(tmp_path: Path) -> None:
    whole = drawn(tmp_path, {}, {}, {})
    (tmp_path / "0").write_bytes((tmp_path / "0").read_bytes()[:60])
    (tmp_path / "2").unlink()
    assert problems(whole, dedup=True) == [
        f"{tmp_path}/0: the file ends before the image does (truncated), though its table has a hash of it. "
        "Run eml scan again",
        f"{tmp_path}/2: no such file (missing), though its table has a hash of it. Run eml scan again",
    ]


@pytest.mark.parametrize("keep, stays", [("largest", "1"), ("most-bytes", "2"), ("first", "0"), ("last", "3")])
def test_keep_says_which_twin_stays(keep: Any, stays: str) -> None:
    whole = table({}, {"width": 150}, {"bytes": 9000}, {})
    assert kept(apply(whole, dedup=True, hash_only=True, keep=keep)) == [stays]


def test_hash_only_is_refused_over_the_dataset() -> None:
    lines = problems(table({}), dedup=True, scope="dataset", hash_only=True)
    assert lines == [
        '`hash_only` needs `scope="class"`: images of different classes are never removed by the hash alone'
    ]


def test_scope_dataset_twins_with_different_labels_both_leave(tmp_path: Path) -> None:
    whole = drawn(
        tmp_path,
        {"label": "a", "bits": bits(0)},
        {"label": "b", "bits": bits(4)},
        {"label": "c", "bits": bits(6)},
        {"label": "c", "bits": bits(36)},
        {"label": "d", "bits": bits(46)},
        {"label": "d", "bits": bits(64)},
        {"label": "d", "bits": bits(62)},
    )
    filtered = apply(whole, dedup=True, scope="dataset")
    assert kept(filtered) == ["5"]
    assert reasons(filtered) == dict.fromkeys("01234", "label_conflict") | {"6": "duplicate"}
    assert filtered.removed["kept"].tolist() == ["", "", "", "", "", "5"]
    assert filtered.conflicts.to_dict("list") == {
        "group": [1, 1, 1, 2, 2],
        "file_name": ["0", "1", "2", "3", "4"],
        "label": ["a", "b", "c", "c", "d"],
        "distance": [4, 2, 2, 10, 10],
    }


def test_a_twin_of_the_same_class_as_a_conflict_stays_if_it_is_far_enough_from_the_other_label(tmp_path: Path) -> None:
    whole = drawn(tmp_path, {"bits": bits(0)}, {"bits": bits(8)}, {"label": "b", "bits": bits(16)})
    filtered = apply(whole, dedup=True, scope="dataset")
    assert kept(filtered) == ["0"]
    assert reasons(filtered) == {"1": "label_conflict", "2": "label_conflict"}


def test_an_image_whose_better_twin_leaves_as_a_conflict_stays(tmp_path: Path) -> None:
    rows = [{"bits": bits(8), "width": 500}, {"bits": bits(0)}, {"label": "b", "bits": bits(16)}]
    filtered = apply(drawn(tmp_path, *rows), dedup=True, scope="dataset")
    assert kept(filtered) == ["1"]
    assert reasons(filtered) == {"0": "label_conflict", "2": "label_conflict"}


def test_a_class_is_counted_after_all_other_removals() -> None:
    whole = table(
        {}, {"bits": bits(30)}, {}, {"label": "b"}, {"label": "b", "bits": bits(30)}, {"label": "b", "bits": bits(60)}
    )
    filtered = apply(whole, dedup=True, hash_only=True, min_per_class=3)
    assert kept(filtered) == ["3", "4", "5"]
    assert reasons(filtered) == {"0": "small_class", "1": "small_class", "2": "duplicate"}


def test_excluded_images_leave_first_so_that_their_twins_stay() -> None:
    filtered = apply(table({"width": 500}, {}), exclude={LIST: ["0"]}, dedup=True, hash_only=True, max_size=300)
    assert kept(filtered) == ["1"]
    assert reasons(filtered) == {"0": "excluded"}


def test_a_list_with_names_that_the_table_does_not_have_is_refused_with_their_lines(tmp_path: Path) -> None:
    listed = tmp_path / "bad.csv"
    listed.write_text('rank,file_name,reason\n1,0,"two\nlines"\n\n2,not there,x\n3,1,x\n4,nor this,x\n')
    message = "is not in images/t.csv. Delete the line, or give the table that the list was made from"
    assert problems(table({}, {}, {}), exclude={listed: ["0", "not there", "1", "nor this"]}) == [
        f"{listed}:5: `exclude`: 'not there' {message}",
        f"{listed}:7: `exclude`: 'nor this' {message}",
    ]


def test_what_stands_in_any_of_several_lists_leaves_and_each_list_is_checked() -> None:
    other = Path("other.csv")
    lists = {LIST: ["0", "2"], other: ["2", "3"]}
    assert kept(apply(table({}, {}, {}, {}), exclude=lists)) == ["1"]
    assert problems(table({}, {}, {}, {}), exclude=lists | {other: ["x"]}) == [
        "other.csv: `exclude`: none of its 1 images is in images/t.csv. Check the spelling of its file names"
    ]


def test_a_list_of_which_nothing_is_left_removes_nothing() -> None:
    assert kept(apply(table({}, {}), exclude={LIST: []})) == ["0", "1"]


def test_rows_keep_their_order_and_columns() -> None:
    whole = table({"note": "x", "label": "b"}, {"note": "y", "width": 5}, {"note": "z", "label": "007"})
    filtered = apply(whole, min_size=50)
    assert filtered.kept.equals(whole.frame.iloc[[0, 2]].reset_index(drop=True))
    assert filtered.removed.columns.tolist() == [*whole.frame.columns, "reason", "kept"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


rows = st.lists(
    st.fixed_dictionaries(
        {
            "label": st.sampled_from(["a", "b", "007"]),
            "bits": st.integers(0, 12).map(lambda n: bits(n * 3)),
            "width": st.integers(1, 9),
            "bytes": st.integers(0, 2),
            "look": st.integers(0, 2),
        }
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=examples(25), deadline=None)
@given(rows, st.sampled_from(["class", "dataset"]), st.integers(0, 20), st.integers(1, 3), st.integers(0, 99))
def test_what_is_left_is_free_of_duplicates_and_of_conflicts_whatever_the_order_of_rows(
    images: Path, made: list[dict[str, Any]], scope: Any, threshold: int, least: int, seed: int
) -> None:
    whole = drawn(images, *made)
    look = {str(n): row["look"] for n, row in enumerate(made)}
    shuffled = Table(whole.frame.sample(frac=1, random_state=seed).reset_index(drop=True), whole.root, whole.path)
    options: dict[str, Any] = {"dedup": True, "scope": scope, "threshold": threshold, "min_per_class": least}
    try:
        filtered = apply(whole, **options)
    except DataError:
        with pytest.raises(DataError):
            apply(shuffled, **options)
        return
    assert sorted(kept(apply(shuffled, **options))) == sorted(kept(filtered))
    assert sorted(kept(filtered) + filtered.removed["file_name"].tolist()) == sorted(whole.frame["file_name"])
    assert filtered.kept["label"].value_counts().min() >= least
    left = [(row.label, int(str(row.hash), 16), look[str(row.file_name)]) for row in filtered.kept.itertuples()]
    for n, (label, value, seen) in enumerate(left):
        for other, another, other_seen in left[:n]:
            far = (value ^ another).bit_count() > threshold or seen != other_seen
            assert far or (scope == "class" and label != other)
    names = whole.frame.set_index("file_name")
    for row in filtered.removed.itertuples():
        if row.reason == "duplicate":
            assert reasons(filtered).get(str(row.kept)) in (None, "small_class")
            twin = names.loc[str(row.kept)]
            assert twin["label"] == row.label
            assert look[str(row.kept)] == look[str(row.file_name)]
            assert (int(str(twin["hash"]), 16) ^ int(str(row.hash), 16)).bit_count() <= threshold


def problems(whole: Table, **options: Any) -> list[str]:
    with pytest.raises(DataError) as error:
        apply(whole, **options)
    return error.value.problems


def test_nothing_asked_for_names_the_options() -> None:
    assert problems(table({})) == [
        "no rule to filter by. Give at least one of `dedup`, `min_size`, `max_size`, `min_per_class`, `exclude`"
    ]


def test_nothing_left_says_what_took_it() -> None:
    whole = table({"width": 5}, {"label": "b"}, {"label": "b"}, {"label": "c"})
    assert problems(whole, min_size=50, dedup=True, hash_only=True, min_per_class=2) == [
        "images/t.csv: no image would be left of 4 (1 too_small, 1 duplicate, 2 small_class). Filter less strictly"
    ]


def test_all_options_that_cannot_be_met_are_reported_at_once() -> None:
    whole = table({})
    bare = Table(whole.frame[["label", "file_name"]], whole.root, whole.path)
    assert problems(bare, min_size=9, max_size=5, min_per_class=0, dedup=True, threshold=64) == [
        "`min_per_class` must be at least 1, got 0",
        "`min_size` 9 is above `max_size` 5: no image could stay",
        "`threshold` must be between 0 and 63 (bits of 64), got 64",
    ]
    assert problems(bare, max_size=5, exclude={LIST: ["x"]}) == [
        "images/t.csv: has no columns 'width' and 'height' to compare. eml scan FOLDER makes a table that has them",
        "list.csv: `exclude`: none of its 1 images is in images/t.csv. Check the spelling of its file names",
    ]
    assert "Run: eml scan FOLDER --hashes" in problems(bare, dedup=True, hash_only=True)[0]


def test_boxes_are_no_duplicates_of_each_other() -> None:
    whole = table({"file_name": "1.jpg", "x_1": 0}, {"file_name": "1.jpg", "x_1": 5})
    assert "`dedup` compares whole images" in problems(whole, dedup=True, hash_only=True)[0]


def test_sizes_are_those_that_the_network_sees_boxes_where_there_are_boxes() -> None:
    box = {"x_1": 10, "y_1": 10, "x_2": 40, "y_2": 30}
    blank = {"x_1": pd.NA, "y_1": pd.NA, "x_2": pd.NA, "y_2": pd.NA}
    frame = pd.DataFrame(
        [
            {"label": "a", "file_name": "0", "width": 100, "height": 100} | box,
            {"label": "a", "file_name": "1", "width": 100, "height": 100} | blank,
        ]
    ).astype(dict.fromkeys(box, "Int64"))
    done = apply(Table(frame, Path()), min_size=21)
    assert done.removed["file_name"].tolist() == ["0"]
    assert apply(Table(frame, Path()), min_size=20).removed.empty
