"""An image is recognised by its bytes and its box, whatever its name, its label and the table it is in."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eml.dataset.columns import parse_columns
from eml.dataset.image_keys import image_keys, is_known
from eml.dataset.recorded_content import has_content
from eml.dataset.table import Table
from eml.errors import DataError
from eml.files import digest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three files, of which c is a copy of a."""
    for name, data in (("a.png", b"first"), ("b.png", b"second"), ("c.png", b"first")):
        (tmp_path / name).write_bytes(data)
    return tmp_path


def keys_of(root: Path, **columns: list[object]) -> list[int]:
    frame = parse_columns(pd.DataFrame({"label": "x", **columns}), [])
    return [int(key) for key in image_keys(Table(frame, root), frame)]


def test_a_key_is_the_first_64_bits_of_the_hash_of_the_file(root: Path) -> None:
    names: list[object] = ["a.png", "b.png", "c.png"]
    expected = [int(digest(root / str(name))[:16], 16) for name in names]
    assert keys_of(root, file_name=names) == expected
    assert expected[0] == expected[2] != expected[1]


def test_the_column_content_is_taken_in_place_of_reading_files(root: Path) -> None:
    content = [digest(root / name) for name in ("a.png", "b.png")]
    read = keys_of(root, file_name=["a.png", "b.png"])
    assert keys_of(root, file_name=["gone.png", "gone_too.png"], content=[*content]) == read
    assert keys_of(root, file_name=["gone.png", "b.png"], content=[content[0], ""]) == read, "empty: the file is read"
    own: list[object] = ["photo", content[1].upper()]
    assert keys_of(root, file_name=["a.png", "b.png"], content=own) == read, "a user's own column of that name"


def test_boxes_of_one_file_are_different_images(root: Path) -> None:
    corners: dict[str, list[object]] = {"x_1": [0, 0, 1, None], "y_1": [0, 0, 0, None]}
    corners |= {"x_2": [5, 5, 6, None], "y_2": [5, 6, 5, None]}
    names: list[object] = ["a.png"] * 4
    keys = keys_of(root, file_name=names, **corners)
    assert len(set(keys)) == 4
    assert keys[3] == keys_of(root, file_name=["a.png"])[0], "a row without a box is the whole image"
    copies: list[object] = ["c.png"] * 4
    assert keys_of(root, file_name=copies, **corners) == keys, "the same boxes of a copy are the same images"


def test_known_keys_are_found_as_often_as_they_occur() -> None:
    known = np.array([2, 5, 9], np.uint64)
    found = is_known(np.array([9, 9, 1, 2, 10, 2**63], np.uint64), known)
    assert found.tolist() == [True, True, False, True, False, False]
    assert is_known(np.array([1], np.uint64), known[:0]).tolist() == [False]
    assert is_known(known[:0], known).tolist() == []


def test_a_file_that_cannot_be_read_is_named(root: Path) -> None:
    assert has_content(pd.DataFrame({"content": ["0" * 32, "0" * 31, ""]})).tolist() == [True, False, False]
    with pytest.raises(DataError, match=r"'gone\.png' cannot be read: No such file"):
        keys_of(root, file_name=["a.png", "gone.png"])
