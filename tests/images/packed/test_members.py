"""Paths into packed files are read like files of their own, by several threads, and notice that a file was replaced."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eml.files import bytes_digest
from eml.images import decode
from eml.images.decode import ImageError, has_transparency, read, shown_size
from eml.images.locate import image_path
from eml.images.packed.members import is_member, member_digest, member_state, split_member
from tests.packed_files import jpeg, write_tar


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return write_tar(tmp_path / "data" / "a.tar", [("cat/1.jpg", jpeg(1)), ("cat/2.jpg", jpeg(2)), ("cat/0", b"")])


def test_a_path_into_a_packed_file_is_read_like_a_file(packed: Path) -> None:
    path = packed / "cat" / "1.jpg"
    assert read(path) == jpeg(1)
    assert (shown_size(path), has_transparency(path)) == ((12, 8), False)
    assert decode.decode(path).size == (12, 8)
    assert member_digest(path) == bytes_digest(jpeg(1))
    state = member_state(path)
    assert state is not None
    assert state == (len(jpeg(1)), packed.stat().st_mtime_ns)
    assert image_path(packed.parent, "a.tar/cat/1.jpg") == path


@pytest.mark.parametrize("key, reason", [("cat/none.jpg", "missing"), ("cat", "missing"), ("cat/0", "empty")])
def test_what_cannot_be_read_is_told_with_its_path(packed: Path, key: str, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        read(packed / key)
    assert (caught.value.reason, str(packed / key) in str(caught.value)) == (reason, True)
    assert is_member(packed / key) == (reason == "empty")


def test_a_folder_with_such_a_name_stays_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.tar" / "cat").mkdir(parents=True)
    (tmp_path / "x.tar" / "cat" / "1.jpg").write_bytes(jpeg(3))
    assert split_member(tmp_path / "x.tar" / "cat" / "1.jpg") is None
    assert read(tmp_path / "x.tar" / "cat" / "1.jpg") == jpeg(3)
    inner = write_tar(tmp_path / "y.tar" / "z.tar", [("1.jpg", jpeg(4))])
    assert read(inner / "1.jpg") == jpeg(4)


def test_names_that_lead_out_and_links_to_packed_files_elsewhere_are_refused(tmp_path: Path, packed: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link.tar").symlink_to(packed)
    for name in ("link.tar/cat/1.jpg", "../data/a.tar/cat/1.jpg"):
        with pytest.raises(ImageError) as caught:
            image_path(tmp_path / "other", name)
        assert caught.value.reason == "outside_dataset"


def test_a_file_that_is_replaced_is_read_anew(packed: Path) -> None:
    assert read(packed / "cat/1.jpg") == jpeg(1)
    write_tar(packed.with_name("new.tar"), [("cat/0.jpg", jpeg(7)), ("cat/1.jpg", jpeg(8))])
    Path(packed.with_name("new.tar")).replace(packed)
    assert read(packed / "cat/1.jpg") == jpeg(8)
    packed.unlink()
    with pytest.raises(ImageError) as caught:
        read(packed / "cat/1.jpg")
    assert caught.value.reason in ("missing", "unreadable")


def test_threads_read_the_right_images_at_once(tmp_path: Path) -> None:
    files = [
        write_tar(tmp_path / f"{number}.tar", [(f"{row}.jpg", bytes([number, row]) * 500) for row in range(20)])
        for number in range(5)
    ]
    names = [(number, row) for row in range(20) for number in range(5)] * 4
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda own: read(files[own[0]] / f"{own[1]}.jpg"), names)
        for (number, row), data in zip(names, results, strict=True):
            assert data == bytes([number, row]) * 500
