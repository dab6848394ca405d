"""Names that are nearly right come with the rule that finds the images, and the rule then reads them."""

import re
from pathlib import Path

import pytest

from eml.dataset.column_map import ColumnMap
from eml.dataset.table import read_table
from eml.errors import DataError

FILES = tuple(f"photos/{label}/{number}.jpg" for label in "ab" for number in range(3))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


def table(place: Path, names: list[str]) -> Path:
    place.mkdir(exist_ok=True)
    rows = "".join(f"{file.split('/')[1]},{name}\n" for file, name in zip(FILES, names, strict=True))
    (place / "t.csv").write_text(f"label,file_name\n{rows}")
    return place / "t.csv"


def first_problem(path: Path, root: Path | None = None) -> str:
    with pytest.raises(DataError) as error:
        read_table(path, root, check_files=True)
    assert error.value.parameter in str(error.value)
    return str(error.value.problems[0])


CASES: dict[str, tuple[str, str]] = {  # the names as a function of the file's: what to set
    "backslashes": (r"photos\\{label}\\{number}.jpg", "`match_names` (it takes backslashes as slashes)"),
    "ids": ("photos/{label}/{number}", '`path_suffix=".jpg"`'),
    "case": ("Photos/{label}/{number}.JPG", "`match_names` (it takes names in another case or with another suffix)"),
    "suffix": (
        "photos/{label}/{number}.png",
        "`match_names` (it takes names in another case or with another suffix)",
    ),
    "slash": ("/photos/{label}/{number}.jpg", '`strip_prefix="/"`'),
    "own root": ("data/photos/{label}/{number}.jpg", '`strip_prefix="data/"`'),
    "elsewhere": ("/kaggle/input/photos/{label}/{number}.jpg", '`strip_prefix="/kaggle/input/"`'),
    "drive": (
        r"C:\\x\\photos\\{label}\\{number}.jpg",
        '`strip_prefix="C:\\x\\"` and `match_names` (it takes backslashes as slashes)',
    ),
    "folder": ("{label}/{number}.jpg", '`path_prefix="photos/"`'),
    "folder and ids": ("{label}/{number}", '`path_prefix="photos/"` and `path_suffix=".jpg"`'),
    "class": ("{number}.jpg", '`path_prefix="photos/{label}/"`'),
}


@pytest.mark.parametrize("form, advice", CASES.values(), ids=list(CASES))
def test_the_rule_is_named_with_its_count_and_reads_the_table(root: Path, form: str, advice: str) -> None:
    def name(file: str) -> str:
        _, label, last = file.split("/")
        return form.replace("\\\\", "\\").replace("{label}", label).replace("{number}", last.removesuffix(".jpg"))

    path = table(root, [name(file) for file in FILES])
    problem = first_problem(path)
    advice = advice.replace("\\\\", "\\")
    assert problem.startswith(f"{path}: none of its 6 ")
    assert problem.endswith(f"). With {advice} all 6 would be found")
    parameters = dict(re.findall(r'`(\w+)(?:="([^`]*)")?`', advice))
    columns = ColumnMap(**{key: value or True for key, value in parameters.items()})  # type: ignore[arg-type]
    assert read_table(path, check_files=True, columns=columns).frame["file_name"].tolist() == list(FILES)


def test_a_root_above_the_table_is_proposed(root: Path) -> None:
    path = table(root / "meta", list(FILES))
    assert f'With `root="{root}"` all 6 would be found' in first_problem(path)
    path = table(root / "meta", [f"../{name}" for name in FILES])
    assert f'With `root="{root}"` and `strip_prefix="../"` all 6 would be found' in first_problem(path)
    path = table(root, [f"{root}/{name}" for name in FILES])
    (root.parent / "other").mkdir()
    assert f"Give the folder that holds them, such as {root}/photos, as `root`" in first_problem(
        path, root.parent / "other"
    )


def test_a_rule_that_finds_few_is_not_proposed(root: Path) -> None:
    path = table(root, [f"photos/a/{number}.JPG" if number < 2 else f"x/{number}.jpg" for number in range(6)])
    assert first_problem(path).endswith("Give the folder that file_name is relative to as `root`")


def test_some_missing_images_come_with_the_rule_too(root: Path) -> None:
    path = table(root, [name if number else name.upper() for number, name in enumerate(FILES)])
    with pytest.raises(DataError) as error:
        read_table(path, check_files=True)
    assert error.value.problems == [
        f"{path}: 1 of its 6 images are not under {root}. With `match_names` (it takes names in another case or with "
        "another suffix) all 1 would be found",
        f"{path}:2: no such image under {root}: 'PHOTOS/A/0.JPG'",
    ]


def test_nothing_outside_the_root_is_proposed_through_a_link(root: Path) -> None:
    outside = root.parent / "outside"
    (outside / "photos").mkdir(parents=True)
    (outside / "1.jpg").touch()
    (root / "link").symlink_to(outside)
    path = table(root, ["1.jpg"] * 6)
    with pytest.raises(DataError) as error:
        read_table(path, check_files=True)
    assert "link" not in str(error.value)
