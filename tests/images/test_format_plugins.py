"""HEIC, JPEG XL and AVIF: read where a package is installed, else listed with what to install; turned once."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.images import format_plugins
from eml.images.decode import ImageError, decode_bytes, open_image, shown_size
from eml.images.format_plugins import AVIF, HEIF, JXL, plugin_for
from tests.packed_files import jpeg


def ftyp(brand: bytes, *others: bytes) -> bytes:
    return b"\0\0\0\x1cftyp" + brand + b"\0\0\0\0" + b"".join(others) + bytes(60)


@pytest.mark.parametrize(
    "start, plugin",
    [
        (ftyp(b"heic"), HEIF),
        (ftyp(b"mif1", b"heic"), HEIF),
        (ftyp(b"mif1", b"mif1", b"avif"), AVIF),
        (ftyp(b"avif"), AVIF),
        (ftyp(b"mp42"), None),
        (b"\xff\x0a\0\0", JXL),
        (b"\0\0\0\x0cJXL \r\n\x87\n", JXL),
        (jpeg()[:64], None),
        (b"", None),
    ],
)
def test_a_format_is_known_by_the_first_bytes(start: bytes, plugin: object) -> None:
    assert plugin_for(start) is plugin


@pytest.mark.parametrize(
    "data, text",
    [
        (ftyp(b"heic"), "HEIC; to read it: pip install 'easy-metric-learning[heic]'; or convert it to PNG or JPEG"),
        (b"\xff\x0a" + bytes(90), "JPEG XL; to read it: pip install 'easy-metric-learning[jxl]'; or convert it"),
        (ftyp(b"avif"), "AVIF; to read it: pip install --upgrade pillow"),
    ],
)
def test_without_the_package_the_error_says_what_to_install(
    data: bytes, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eml.images.identify.is_there", lambda plugin: False)
    with pytest.raises(ImageError) as caught:
        decode_bytes(data, "a.heic")
    assert caught.value.reason == "unsupported"
    assert caught.value.detail.startswith(text)


def written(format_: str, **options: object) -> bytes:
    """An image of 40 × 16 pixels with a dark left half, turned by EXIF."""
    pixels = np.full((16, 40, 3), 240, np.uint8)
    pixels[:, :20] = 10
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format_, exif=exif.tobytes(), **options)
    return data.getvalue()


def test_a_heic_is_turned_once_and_its_cut_copy_is_truncated(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    pillow_heif.register_heif_opener()
    data = written("HEIF", quality=90)
    image = open_image(data, "a.heic")
    assert (image.width, image.height, image.format) == (16, 40, "HEIF")
    pixels = np.asarray(image.image.convert("L"))
    assert pixels[:18].mean() < 60
    assert pixels[22:].mean() > 200
    (tmp_path / "a.heic").write_bytes(data)
    assert shown_size(tmp_path / "a.heic") == (16, 40)
    for size in (40, len(data) // 2, len(data) - 5):
        with pytest.raises(ImageError) as caught:
            decode_bytes(data[:size], "a.heic")
        assert caught.value.reason == "truncated"


def test_a_jpeg_xl_lies_as_its_own_header_says(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl", reason="pillow-jxl-plugin is not installed")
    assert format_plugins.is_there(JXL)
    image = open_image(written("JXL", lossless=True), "a.jxl")
    assert (image.width, image.height, image.format) == (40, 16, "JXL")  # EXIF beside it does not turn it
    assert np.asarray(image.image.convert("L"))[:, :20].max() == 10
    (tmp_path / "a.jpg").write_bytes(written("JPEG"))
    within = io.BytesIO()
    with Image.open(tmp_path / "a.jpg") as opened:
        opened.save(within, "JXL", lossless_jpeg=True)
    assert (open_image(within.getvalue(), "b.jxl").width) == 16  # a JPEG within is turned like one


def test_a_jpeg_xl_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_jxl", reason="pillow-jxl-plugin is not installed")
    assert format_plugins.is_there(JXL)
    data = io.BytesIO()
    Image.new("RGB", (200, 100), (9, 9, 9)).save(data, "JXL")
    monkeypatch.setattr("eml.images.identify.MAX_JXL_PIXELS", 19_999)
    monkeypatch.setitem(Image.OPEN, "JXL", (None, None))  # opening it would fail otherwise
    with pytest.raises(ImageError, match="200 × 100 pixels; at most 19,999 are decoded"):
        decode_bytes(data.getvalue(), "a.jxl")
