"""The size in the header of a JPEG XL, with sizes of every coding."""

import io

import pytest
from PIL import Image

from eml.images.jxl_size import jxl_size


@pytest.mark.parametrize("container", [False, True])
def test_the_size_is_that_of_the_decoder(container: bool) -> None:
    pytest.importorskip("pillow_jxl", reason="pillow-jxl-plugin is not installed")
    for size in (
        (1, 1),
        (8, 8),
        (256, 256),
        (257, 300),
        (60, 40),
        (16, 9),
        (500, 400),
        (700, 3),
        (2, 1_100),
        (9_000, 1),
    ):
        data = io.BytesIO()
        Image.new("L", size, 7).save(data, "JXL", effort=1, use_container=container)
        assert jxl_size(data.getvalue()) == size


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x01jxlc" + bytes(8),
        b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x04jxlc" + bytes(80),
        b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x09abcd" * 9_000,
    ],
)
def test_what_says_no_size_has_none_and_is_read_to_its_end(data: bytes) -> None:
    assert jxl_size(data) is None
