"""Keys of images in packed files."""

import pytest

from eml.images.packed.keys import KeyIndex, RowKeys, key_problem, normal_key


@pytest.mark.parametrize(
    "name, key",
    [("./a/1.jpg", "a/1.jpg"), ("a//b.jpg", "a/b.jpg"), ("a/./b", "a/b"), ("a.b/c", "a.b/c"), ("/etc", "/etc")],
)
def test_a_stored_name_becomes_a_key_of_the_same_file(name: str, key: str) -> None:
    assert normal_key(name) == key


@pytest.mark.parametrize("key", ["", "..", "a/../b", "/a", "\\a", "C:/a", "a\0b", "a\nb", "x" * 256, "a/" * 3000])
def test_texts_that_can_be_no_name_below_a_folder_are_no_keys(key: str) -> None:
    problem = key_problem(key)
    assert problem is not None
    assert len(problem.key) <= 6000


def test_an_index_finds_the_last_of_equal_keys() -> None:
    index = KeyIndex(["a", "b", "a", "c"])
    assert [index.find(key) for key in "abc"] == [2, 1, 3]
    with pytest.raises(KeyError):
        index.find("d")


def test_rows_have_their_names_only_where_all_have_one() -> None:
    assert RowKeys(2, ["x", "y"]).all() == ["x", "y"]
    assert RowKeys(2, ["x", "x"]).all() == RowKeys(2, None).all() == ["00000000", "00000001"]
    assert RowKeys(2, ["x", "./y"]).row("00000001") == 1
