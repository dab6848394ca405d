"""The files of a folder are listed class by class."""

from pathlib import Path

from eml.dataset.scanning.listing import list_files
from tests.dataset.scanning.test_scan import image


def test_files_are_listed_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a b", "a", "c"):
        image(tmp_path / name / "1.jpg")
        image(tmp_path / name / "0.jpg")
    listing = list_files(tmp_path)
    assert len(listing.files) == 10
    assert listing.files == sorted(listing.files)
    assert listing.classes == ["a", "a b", "b", "c"]


def test_a_link_in_a_circle_is_a_link_to_nothing_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").touch()
    for name in ("loop.csv", "cat/loop.png"):
        (tmp_path / name).symlink_to(Path(name).name)
    listing = list_files(tmp_path)
    assert listing.files == ["cat/1.png"]
    assert {(problem.file_name, problem.detail) for problem in listing.problems} == {
        (name, "a link to nothing") for name in ("loop.csv", "cat/loop.png")
    }
