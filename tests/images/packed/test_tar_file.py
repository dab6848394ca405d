"""Tar files with images: plain ones and webdataset's; labels, columns, and names that mean harm."""

import tarfile
from pathlib import Path

import pytest

from eml.images.packed.random_access import LocalFile
from eml.images.packed.tar_file import TarFile
from tests.packed_files import KeepingFile, write_tar


def opened(path: Path) -> TarFile:
    return TarFile(LocalFile(str(path), path.stat().st_size))


def test_images_without_bytes_are_listed_at_once_and_what_is_hidden_is_not(tmp_path: Path) -> None:
    names = ["a/1.jpg", "a/.1.jpg", "__MACOSX/1.jpg", "a/2.png", "a/.gitkeep", "a/notes"]
    members = [*((name, b"") for name in names), ("a/2.cls", b""), ("a/3.jpg", b"x"), ("a/3.cls", b"0")]
    contents = opened(write_tar(tmp_path / "a.tar", members)).contents()
    assert contents.problems == [("a/1.jpg", "empty", "0 bytes"), ("a/2.png", "empty", "0 bytes")]
    assert contents.keys == ["a/.1.jpg", "__MACOSX/1.jpg", "a/.gitkeep", "a/notes", "a/3.jpg"]
    assert contents.labels == [None, None, None, None, "0"]


def test_images_are_found_by_their_names_and_read_whole(tmp_path: Path) -> None:
    members = [(f"class {number % 3}/{number}.jpg", bytes([number]) * (number * 300)) for number in range(1, 20)]
    file = opened(write_tar(tmp_path / "a.tar", members))
    contents = file.contents()
    assert (contents.keys, contents.labels) == ([name for name, _ in members], [None] * 19)
    for name, data in members:
        assert (file.read(name), file.size(name)) == (data, len(data))
        with file.open(name) as part:
            assert part.read(7) == data[:7]
            assert part.seek(-3, 2) == len(data) - 3
            assert part.read() == data[-3:]
    with pytest.raises(KeyError):
        file.read("class 1/none.jpg")


def test_labels_of_webdataset_are_those_of_json_then_cls_then_txt(tmp_path: Path) -> None:
    members = [
        *(("1.jpg", b"1"), ("1.cls", b"7\n"), ("1.json", b'{"label": "cat", "width": 3, "tags": [1], "seen": true}')),
        *(("2.PNG", b"2"), ("2.txt", b"dog"), ("2.cls", b"8")),
        *(("sub/3.webp", b"3"), ("sub/3.txt", b"bird")),
        *(("4.jpg", b"4"), ("4.txt", b"a caption\nof two lines"), ("4.json", b"{broken")),
        *(("5.jpg", b"5"), ("5.seg.png", b"mask"), ("5.json", b'{"cls": 3}')),
    ]
    contents = opened(write_tar(tmp_path / "a.tar", members)).contents()
    assert contents.keys == ["1.jpg", "2.PNG", "sub/3.webp", "4.jpg", "5.jpg", "5.seg.png"]
    assert contents.labels == ["cat", "8", "bird", None, "3", "3"]
    assert contents.columns == {"width": [3, *[None] * 5], "seen": [True, *[None] * 5]}


def test_names_that_mean_harm_are_listed_and_nothing_of_them_is_read(tmp_path: Path) -> None:
    link = tarfile.TarInfo("cat/link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    pipe = tarfile.TarInfo("cat/pipe.jpg")
    pipe.type = tarfile.FIFOTYPE
    odd = ["../up.jpg", "/etc/passwd", "a/../../b.jpg", "C:\\x.jpg", "a\nb.jpg", "n" * 300 + ".jpg"]
    members = [*((name, b"x") for name in odd), (link, b""), (pipe, b""), ("./cat//1.jpg", b"good")]
    path = write_tar(tmp_path / "a.tar", members)
    contents = opened(path).contents()
    assert contents.keys == ["cat/1.jpg"]
    assert opened(path).read("cat/1.jpg") == b"good"
    assert [problem.reason for problem in contents.problems] == ["unusable_name"] * 6 + ["not_an_image"] * 2
    assert contents.problems[6].detail == "a link within a tar file, which is not followed"


def test_a_name_that_is_not_utf_8_is_shown_with_its_bytes(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "a.tar", [("cat/\udcff.jpg", b"1")], errors="surrogateescape", format=tarfile.GNU_FORMAT
    )
    (problem,) = opened(path).contents().problems
    assert problem[:2] == ("cat/\\xff.jpg", "unusable_name")


def test_of_a_name_that_is_there_twice_the_last_one_counts_and_it_is_listed(tmp_path: Path) -> None:
    file = opened(write_tar(tmp_path / "a.tar", [("a/1.jpg", b"old"), ("a/2.jpg", b"2"), ("a/1.jpg", b"new")]))
    contents = file.contents()
    assert (contents.keys, file.read("a/1.jpg")) == (["a/2.jpg", "a/1.jpg"], b"new")
    assert contents.problems[0].key == "a/1.jpg"


def test_of_a_tar_file_that_is_cut_the_whole_images_are_read_and_the_last_is_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("a/1.jpg", bytes(700)), ("a/2.jpg", bytes(700))])
    path.write_bytes(path.read_bytes()[:2200])
    file = opened(path)
    assert file.contents().keys == ["a/1.jpg", "a/2.jpg"]
    assert [problem[:2] for problem in file.contents().problems] == [("", "truncated")]
    assert file.read("a/1.jpg") == bytes(700)
    with pytest.raises(EOFError, match="ends within"):
        file.read("a/2.jpg")


def test_what_has_no_suffix_of_an_image_and_none_beside_it_is_judged_by_its_bytes(tmp_path: Path) -> None:
    contents = opened(write_tar(tmp_path / "a.tar", [("a/README", b"x"), ("a/1.jpg", b"1"), ("a/notes.txt", b"n")]))
    assert contents.contents().keys == ["a/README", "a/1.jpg", "a/notes.txt"]


@pytest.mark.parametrize("first", ["contents", "read"])
def test_places_are_kept_so_that_the_next_process_reads_no_header(tmp_path: Path, first: str) -> None:
    path = write_tar(tmp_path / "a.tar", [(f"a/{number}.jpg", bytes([number]) * 700) for number in range(9)])
    kept: dict[str, bytes] = {}
    before = TarFile(KeepingFile(path, kept))
    _ = before.contents() if first == "contents" else before.read("a/1.jpg")
    file = KeepingFile(path, kept)
    again = TarFile(file)
    assert (again.has("a/7.jpg"), again.has("a/10.jpg"), file.reads) == (True, False, 0)
    assert (again.read("a/7.jpg"), file.reads) == (bytes([7]) * 700, 1)
