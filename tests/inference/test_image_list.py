"""Images are listed as their user names them: each once, with a name that a table can hold."""

import io
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from eml.dataset.column_map import ColumnMap
from eml.errors import DataError
from eml.inference.image_list import ImageList, list_images


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("photos/a/1.jpg", "photos/a/2.jpg", "photos/b/deep/3.jpg", "photos/4.jpg", "other/5.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(images: ImageList) -> dict[str, str]:
    return dict(zip(images.frame["file_name"], images.frame["label"], strict=True))


def test_a_folder_needs_no_scan_and_gives_labels_where_it_has_folders(photos: Path) -> None:
    images = list_images(["photos"])
    assert listed(images) == {"4.jpg": "", "a/1.jpg": "a", "a/2.jpg": "a", "b/deep/3.jpg": "b"}
    assert (images.root, images.name) == (photos / "photos", "photos")
    assert images.locate(1).read_bytes() == b"photos/a/1.jpg"
    assert listed(list_images("photos", class_level="last"))["b/deep/3.jpg"] == "b/deep"
    assert set(listed(list_images(photos / "photos", label="x")).values()) == {"x"}


def test_names_are_relative_to_what_holds_the_images(photos: Path) -> None:
    assert listed(list_images(["photos/a", "photos/b"])) == {"a/1.jpg": "a", "a/2.jpg": "a", "b/deep/3.jpg": "b"}
    assert listed(list_images(["photos/a/1.jpg", "./photos/a/1.jpg", "other/5.jpg"])) == {
        "photos/a/1.jpg": "",
        "other/5.jpg": "",
    }
    assert listed(list_images(["photos/a", "other/5.jpg"])) == {
        "photos/a/1.jpg": "",
        "photos/a/2.jpg": "",
        "other/5.jpg": "",
    }
    assert listed(list_images(["photos/a/1.jpg"], root=Path("photos"))) == {"a/1.jpg": ""}
    assert listed(list_images(["photos/a/1.jpg"], root=Path("photos"), class_level=1)) == {"a/1.jpg": "a"}
    os.chdir("other")
    assert list_images(["../photos/a/1.jpg"]).root == photos / "photos/a"


def test_patterns_are_expanded_and_folders_that_they_fit_are_walked(photos: Path) -> None:
    assert sorted(listed(list_images(["photos/**/*.jpg"]))) == [
        "photos/4.jpg",
        "photos/a/1.jpg",
        "photos/a/2.jpg",
        "photos/b/deep/3.jpg",
    ]
    assert listed(list_images(["photos/[ab]"])) == {"a/1.jpg": "a", "a/2.jpg": "a", "b/deep/3.jpg": "b"}
    (photos / "photos" / "[x].jpg").write_bytes(b"")
    assert listed(list_images(["photos/[x].jpg"])) == {"photos/[x].jpg": ""}


@pytest.mark.parametrize("text", [b"photos/a/1.jpg\nother/5.jpg\r\n\n", b"photos/a/1.jpg\0other/5.jpg\0"])
def test_a_list_on_stdin_has_lines_or_nul(photos: Path, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert list(listed(list_images(["-"]))) == ["photos/a/1.jpg", "other/5.jpg"]


def test_a_named_link_is_read_and_one_in_a_folder_must_stay_in_it(photos: Path) -> None:
    (photos / "photos/a/link.jpg").symlink_to(photos / "other/5.jpg")
    images = list_images(["photos"])
    assert "a/link.jpg" not in listed(images)
    assert images.unusable["reason"].tolist() == ["outside_dataset"]
    named = list_images(["photos/a/link.jpg"])
    assert named.locate(0).read_bytes() == b"other/5.jpg"
    assert named.files().path(0) == named.locate(0)


@pytest.mark.skipif(sys.platform != "linux", reason="file names of other systems are text")
def test_names_that_no_table_can_hold_are_told(photos: Path) -> None:
    for name in (b"\xff.jpg", b"C:\\x.jpg"):
        Path(os.fsdecode(b"other/" + name)).write_bytes(b"")
    folder = list_images(["other"])
    files = list_images([os.fsdecode(b"other/\xff.jpg"), "other/5.jpg"])
    assert [*listed(folder), *listed(files)] == ["5.jpg", "other/5.jpg"]
    assert sorted(folder.unusable["file_name"]) == ["C:\\x.jpg", "\\xff.jpg"]
    assert files.unusable.to_numpy().tolist()[0][:2] == ["other/\\xff.jpg", "unusable_name"]


def test_a_table_needs_no_labels_and_keeps_its_columns(photos: Path) -> None:
    (photos / "t.csv").write_text("file_name,price\nphotos/a/1.jpg,7\nphotos/gone.jpg,8\n")
    images = list_images(["t.csv"])
    assert images.frame.to_dict("list") == {
        "file_name": ["photos/a/1.jpg", "photos/gone.jpg"],
        "price": ["7", "8"],
        "label": ["", ""],
    }
    (photos / "own.csv").write_text("photo,kind\na/1,shoe\n")
    columns = ColumnMap(file_column="photo", label_column="kind", path_suffix=".jpg")
    assert listed(list_images(["own.csv"], root=Path("photos"), columns=columns)) == {"a/1.jpg": "shoe"}


def refused(call: Callable[[], object]) -> list[tuple[str, str | None]]:
    with pytest.raises(DataError) as caught:
        call()
    return [(problem.code, problem.parameter) for problem in caught.value.problems]


def test_every_name_that_means_nothing_is_told_at_once(photos: Path) -> None:
    (photos / "t.csv").write_text("file_name\n../x.jpg\n")
    (photos / "empty").mkdir()
    assert refused(lambda: list_images(["gone", "no/*.png", "photos"])) == [("missing-file", "images")] * 2
    assert refused(lambda: list_images(["empty"])) == [("no-images", "images")]
    assert refused(lambda: list_images(["t.csv", "photos"])) == [("conflicting-settings", "images")]
    assert refused(lambda: list_images(["t.csv"], class_level=1)) == [("conflicting-settings", "class_level")]
    assert refused(lambda: list_images(["photos"], columns=ColumnMap(path_suffix=".jpg"))) == [
        ("conflicting-settings", "path_suffix")
    ]
    assert refused(lambda: list_images(["photos"], root=Path("gone"))) == [("missing-folder", "root")]
    assert refused(lambda: list_images(["photos"], root=Path("other"))) == [("path-outside-root", "root")]
    assert refused(lambda: list_images(["t.csv"]))[0] == ("path-outside-root", None)


def test_images_in_packed_files_have_the_labels_that_these_say(tmp_path: Path) -> None:
    content = b"bytes"
    (tmp_path / "packed" / "data").mkdir(parents=True)
    with tarfile.open(tmp_path / "packed" / "data" / "train-00000.tar", "w") as packed:
        for name in ("cat/1.png", "dog/1.png"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    images = list_images(tmp_path / "packed")
    assert listed(images) == {"data/train-00000.tar/cat/1.png": "cat", "data/train-00000.tar/dog/1.png": "dog"}
    assert set(list_images(tmp_path / "packed", class_level=1).frame["label"]) == {"data"}
