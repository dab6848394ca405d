"""Sorting photos: nothing is overwritten, a stopped sorting is finished, the list says what went where."""

import csv
import errno
import os
import unicodedata
from pathlib import Path

import pytest

from eml.errors import OutputError
from eml.indexing import sorting
from eml.indexing.sorting import ImageToSort, check_sorting, class_folders, finish_sorting, sort_images
from tests.packed_files import write_tar


def photo(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def listed(folder: Path) -> list[tuple[str, str]]:
    rows = list(csv.DictReader((folder / sorting.LIST).read_text().splitlines()))
    return [(Path(row["file_name"]).name, row["sorted_to"]) for row in rows]


def content(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != sorting.LIST)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.fixture
def photos(tmp_path: Path) -> list[ImageToSort]:
    """Three photos, two of one name, and one of no class."""
    places = {
        "a/1.jpg": ("mug", False),
        "b/1.jpg": ("mug", False),
        "a/2.jpg": ("tea/green", None),
        "a/3.jpg": ("tea", True),
    }
    return [ImageToSort(photo(tmp_path / "in" / name, name), *answer) for name, answer in places.items()]


SORTED = {"mug/1.jpg": "a/1.jpg", "mug/1-2.jpg": "b/1.jpg", "tea_green/2.jpg": "a/2.jpg", "unknown/3.jpg": "a/3.jpg"}


@pytest.mark.parametrize("action", ["move", "copy"])
def test_each_image_comes_into_the_folder_of_its_class_and_the_unknown_into_their_own(
    photos: list[ImageToSort], action: sorting.Action, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sorting_result = sort_images(out, photos, action)
    assert content(out) == SORTED
    assert (sorting_result.placed, sorting_result.in_place, sorting_result.problems) == (4, 0, ())
    assert listed(out) == [(Path(source).name, target) for target, source in SORTED.items()]
    assert [image.path.exists() for image in photos] == [action == "copy"] * 4


@pytest.mark.parametrize("action", ["move", "copy"])
def test_nothing_that_is_there_is_overwritten(
    photos: list[ImageToSort], action: sorting.Action, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    photo(out / "mug" / "1.jpg", "mine")
    (out / "unknown").parent.mkdir(exist_ok=True)
    photo(out / "unknown", "a file with the name of a class's folder")
    result = sort_images(out, photos, action)
    assert content(out)["mug/1.jpg"] == "mine"
    assert content(out)["mug/1-2.jpg"] == "a/1.jpg"
    assert content(out)["mug/1-3.jpg"] == "b/1.jpg"
    assert [line.partition(": ")[2] for line in result.problems] == [f"stays: {out}/unknown is a file"]
    assert photos[-1].path.read_text() == "a/3.jpg"


@pytest.mark.parametrize("action", ["move", "copy"])
@pytest.mark.parametrize("calls", range(9))
@pytest.mark.parametrize("links", [True, False])
def test_a_kill_between_any_two_steps_loses_no_image_and_the_next_call_finishes(
    photos: list[ImageToSort], action: sorting.Action, calls: int, links: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out, left = tmp_path / "out", calls

    class Killed(BaseException):
        pass

    def stopping(function):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return function(*arguments, **options)

        return call

    def no_link(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    with monkeypatch.context() as patch:
        if not links:
            patch.setattr(sorting.os, "link", no_link)
        for place, name in ((sorting.shutil, "copy2"), (sorting.os, "link"), (Path, "unlink"), (Path, "rename")):
            patch.setattr(place, name, stopping(getattr(place, name)))
        try:
            sort_images(out, photos, action)
        except Killed:
            assert calls < 9 * 4
    everything = {*content(out).values(), *content(tmp_path / "in").values()}
    assert everything >= set(SORTED.values())
    finish_sorting(out)
    shown = {name: text for name, text in content(out).items() if ".eml-tmp-" not in name}
    assert shown == SORTED
    assert sorted(listed(out)) == sorted((Path(source).name, target) for target, source in SORTED.items())
    assert content(tmp_path / "in") == ({} if action == "move" else {name: name for name in SORTED.values()})


def test_what_is_sorted_already_stays(photos: list[ImageToSort], tmp_path: Path) -> None:
    out = tmp_path / "out"
    sort_images(out, photos[:1], "copy")
    again = sort_images(out, photos[:1], "copy")
    assert (again.placed, again.in_place) == (0, 1)
    moved = ImageToSort(out / "mug" / "1.jpg", "mug", False)
    assert sort_images(out, [moved], "move").in_place == 1
    assert content(out) == {"mug/1.jpg": "a/1.jpg"}
    assert len(listed(out)) == 1


def test_a_copy_under_another_number_is_known_again(photos: list[ImageToSort], tmp_path: Path) -> None:
    sort_images(tmp_path / "out", photos, "copy")
    again = sort_images(tmp_path / "out", photos, "copy")
    assert (again.placed, again.in_place) == (0, 4)
    assert content(tmp_path / "out") == SORTED


def test_a_class_keeps_its_folder_when_one_of_a_similar_name_follows(tmp_path: Path) -> None:
    images = [ImageToSort(photo(tmp_path / f"{label}.jpg", label), label, False) for label in ("a_b", "a:b")]
    sort_images(tmp_path / "out", images[:1], "copy")
    sort_images(tmp_path / "out", images, "copy")
    assert content(tmp_path / "out") == {"a_b/a_b.jpg": "a_b", "a_b-2/a:b.jpg": "a:b"}


def test_many_images_of_one_name_are_placed_without_trying_all_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []
    monkeypatch.setattr(os.path, "lexists", lambda path: bool(tries.append(str(path))))
    places = sorting._FreePlaces(Path("out"))
    assert [places.take(Path("mug/1.jpg")) for _ in range(50)][-1] == "mug/1-50.jpg"
    assert len(tries) == 50


@pytest.mark.parametrize("place", ["../1.jpg", "/tmp/1.jpg", "mug/../../1.jpg", "a/b/1.jpg", "1.jpg", "../", "mug/\0"])
def test_a_list_that_leads_out_of_the_folder_is_refused(place: str, tmp_path: Path) -> None:
    image = photo(tmp_path / "in" / "1.jpg", "pixels")
    line = ",".join([str(image), place, "mug", "", "move"])
    photo(tmp_path / "out" / sorting.PENDING, ",".join(sorting.COLUMNS) + "\n" + line + "\n")
    with pytest.raises(OutputError, match="is not the list"):
        finish_sorting(tmp_path / "out")
    assert image.read_text() == "pixels"


def test_a_link_is_moved_as_the_image_that_it_leads_to(tmp_path: Path) -> None:
    image = photo(tmp_path / "shop" / "1.jpg", "pixels")
    link = tmp_path / "in" / "1.jpg"
    link.parent.mkdir()
    link.symlink_to("../shop/1.jpg")
    sort_images(tmp_path / "out", [ImageToSort(link, "mug", False)], "move")
    assert content(tmp_path / "out") == {"mug/1.jpg": "pixels"}
    assert not (tmp_path / "out" / "mug" / "1.jpg").is_symlink()
    assert image.read_text() == "pixels"
    assert not os.path.lexists(link)


def test_names_of_folders_are_different_and_can_be_names() -> None:
    labels = ["a/b", "a_b", "A_B", "..", ".hidden", "unknown", "Unknown", "", "x" * 300, "a\0b", "CON: 5"]
    labels += ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}", sorting.LIST]
    names = class_folders(labels)
    spellings = {unicodedata.normalize("NFC", name).casefold() for name in names.values()}
    assert len(spellings | {"unknown", sorting.LIST}) == len(labels) + 2
    assert not any(name.startswith(".") or "/" in name or not name or len(name) > 255 for name in names.values())


def test_a_list_of_another_program_is_not_touched(photos: list[ImageToSort], tmp_path: Path) -> None:
    mine = photo(tmp_path / "out" / sorting.LIST, "my,list\n1,2\n")
    with pytest.raises(OutputError, match="is not the list that eml classify keeps"):
        check_sorting(tmp_path / "out")
    assert mine.read_text() == "my,list\n1,2\n"
    with pytest.raises(OutputError, match="is a file, not a folder"):
        check_sorting(photos[0].path)


def test_images_inside_packed_files_are_copied_and_never_moved(tmp_path: Path) -> None:
    packed = write_tar(tmp_path / "in" / "a.tar", [("x/1.jpg", b"one"), ("x/2.jpg", b"two")])
    images = [ImageToSort(packed / "x" / f"{number}.jpg", "mug", False) for number in (1, 2)]
    assert sort_images(tmp_path / "out", images, "copy").placed == 2
    assert content(tmp_path / "out") == {"mug/1.jpg": "one", "mug/2.jpg": "two"}
    assert sort_images(tmp_path / "out", images, "copy").in_place == 2
    moved = sort_images(tmp_path / "other", images, "move")
    assert moved.placed == 0
    assert "only be copied" in str(moved.problems[0])
    assert packed.is_file()
