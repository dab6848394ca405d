"""Which folder of a path is the class is chosen, told and kept."""

from pathlib import Path

import pytest

import eml
from eml.dataset.pipeline import resolve
from eml.dataset.scanning.class_level import class_of, describe_levels, parse_class_level
from eml.dataset.table import read_table
from eml.errors import ConfigError, DataError
from tests.dataset.scanning.test_scan import image


@pytest.fixture
def herd(tmp_path: Path) -> Path:
    """Two species of two and three individuals, called by the same numbers; one image beside the individuals."""
    for name in ("cow/1/a", "cow/1/b", "cow/2/a", "cow/2/b", "goat/1/a", "goat/1/b", "goat/2/a", "goat/3/x/a"):
        image(tmp_path / "herd" / f"{name}.jpg")
    image(tmp_path / "herd" / "goat" / "loose.jpg")
    return tmp_path / "herd"


@pytest.mark.parametrize(
    "level, labels",
    [
        (1, ["cow", "goat"]),
        (2, ["cow/1", "cow/2", "goat/1", "goat/2", "goat/3"]),
        ("last", ["cow/1", "cow/2", "goat", "goat/1", "goat/2", "goat/3/x"]),
    ],
)
def test_the_folders_of_a_level_are_the_classes_and_equal_names_stay_apart(
    herd: Path, level: str | int, labels: list[str]
) -> None:
    scan = eml.scan(herd, class_level=level)
    assert sorted(scan.table.frame["label"].unique()) == labels
    loose = scan.scan.errors[["file_name", "reason"]].to_numpy().tolist()
    assert loose == ([["goat/loose.jpg", "not_in_a_class"]] if level == 2 else [])
    assert scan.table.frame["label"].tolist() == [
        class_of(name, parse_class_level(level)) for name in scan.table.frame["file_name"]
    ]


def test_folders_that_lie_deeper_are_told_with_the_classes_of_each_level(herd: Path) -> None:
    warning, *_ = eml.scan(herd).scan.warnings
    assert warning == (
        "folders are 3 levels deep; the classes are folders of level 1: 2. There would be 5 at level 2, 1 at level 3, "
        f"6 at last. To choose, run: eml scan {herd} --class-level N"
    )
    assert describe_levels(["a/1.jpg", "b/1.jpg"], 1) is None
    assert describe_levels(["a/images/1.jpg", "b/images/1.jpg"], 1) is None  # the same classes at each level


def test_a_later_scan_keeps_the_level_and_so_does_the_advice(herd: Path) -> None:
    eml.scan(herd, class_level=2, unknown_label="goat/3")
    again = eml.scan(herd)
    assert again.messages[0] == "as in the last scan: `class_level=2` `unknown_label=goat/3`"
    assert again.facts.classes == 4
    (herd / "dataset_info.csv").unlink()
    lines: list[str] = []
    table = resolve(herd, "filter", report=lines.append)  # it scans by itself
    assert (table.frame["label"].nunique(), table.unknown_label) == (5, "goat/3")
    image(herd / "cow" / "3" / "new.jpg")
    with pytest.raises(DataError, match=rf"Run: eml scan {herd} --class-level 2 --unknown-label goat/3$"):
        resolve(herd, "filter")
    assert eml.scan(herd, class_level=1, unknown_label="").table.unknown_label is None
    assert read_table(herd / "dataset_info.csv").frame["label"].nunique() == 2


def test_a_command_that_scans_takes_the_level_and_refuses_another_one_afterwards(herd: Path) -> None:
    assert eml.filter(herd, min_size=1, class_level="last").filtered.counts.classes == 6
    with pytest.raises(DataError, match=r"was made of a scan with `class_level=last`, not 2\. Scan the folder again"):
        eml.kfold(herd, k=2, class_level=2)
    with pytest.raises(DataError, match="`class_level` goes with a folder"):
        eml.kfold(herd / "dataset_info.csv", k=2, class_level=2)


def test_a_level_without_images_and_what_is_no_level_are_refused(herd: Path) -> None:
    with pytest.raises(DataError, match=r"no file lies 4 folders deep, the deepest 3\. Give `class_level=3`"):
        eml.scan(herd, class_level=4)
    for wrong in ("0", "first", "-1", "1e3", "²"):
        with pytest.raises(ConfigError, match="`class_level` must be a level from 1"):
            eml.scan(herd, class_level=wrong)
