"""Keys of packed images keep the order of the folder's names, and are what webdataset takes for samples."""

from pathlib import Path

import pytest

from eml.dataset.packing.names import PackFormat, packed_keys


@pytest.mark.parametrize(
    "names, format_, numbered",
    [
        (["a/1.jpg", "a/2.png", "b/x y.JPG"], "tar", False),
        (["a/1.jpg", "a/1.png"], "tar", True),  # one sample of webdataset
        (["a/1.jpg", "a/1.png"], "parquet", False),
        (["a/1.2.jpg"], "tar", True),
        (["a/1.2.jpg", "a/none"], "parquet", False),
        (["a/.jpg"], "tar", True),
        (["a/none"], "tar", True),
        (["a.b/1.jpg"], "tar", False),
    ],
)
def test_names_are_keys_where_every_reader_takes_them(
    tmp_path: Path, names: list[str], format_: PackFormat, numbered: bool
) -> None:
    keys, reason = packed_keys(tmp_path, names, format_)
    assert (keys != names, reason is not None) == (numbered, numbered)
    assert keys == sorted(keys)


def test_numbers_keep_the_suffix_of_an_image(tmp_path: Path) -> None:
    assert packed_keys(tmp_path, ["a/1.JPG", "a/1.png", "a/x"], "tar")[0] == [
        "00000000.jpg",
        "00000001.png",
        "00000002.img",
    ]
