"""Images that would take too much memory are refused from their header; large ones that fit are decoded."""

import io
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.dataset.scanning.inspect_file import inspect_file
from eml.images import memory as module
from eml.images import opening
from eml.images.decode import ImageError, decode, open_image
from eml.images.icons import nested_sizes
from eml.images.memory import LIMIT, Room


def png_header(width: int, height: int, depth: int, colour_type: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + struct.pack(">I", 99) + b"IDAT" + b"x" * 99


def tiff_header(width: int, height: int, bits: int, kind: int) -> bytes:
    tags = [(256, width), (257, height), (258, bits), (259, 8), (262, 1), (273, 8), (277, 1), (279, 50), (339, kind)]
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        + b"\0" * 60
    )


def in_bytes(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def patched(data: bytes, before: bytes, after: bytes) -> bytes:
    assert data.count(before) == 1
    return data.replace(before, after)


@pytest.fixture(scope="module")
def webp() -> bytes:
    return in_bytes(Image.new("RGBA", (11_000, 3_500)), format="WEBP", lossless=True, method=0)


def test_a_small_file_that_would_take_gigabytes_is_refused_with_size_mode_need_and_limit(webp: bytes) -> None:
    assert len(webp) < 5_000
    cases = [
        (png_header(11_500, 11_500, 8, 6), "PNG of 11,500 × 11,500 pixels in mode RGBA needs 1,009 MiB"),
        (png_header(11_500, 11_500, 16, 4), "PNG of 11,500 × 11,500 pixels in mode RGBA needs 1,009 MiB"),
        (tiff_header(11_500, 11_500, 32, 3), "TIFF of 11,500 × 11,500 pixels in mode F needs 1,577 MiB"),
        (webp, "WEBP of 11,000 × 3,500 pixels in mode RGBA needs 661 MiB"),
    ]
    for data, expected in cases:
        with pytest.raises(ImageError) as caught:
            open_image(data, "a")
        assert caught.value.reason == "too_large"
        assert caught.value.detail == f"{expected} of memory to decode; at most 640 MiB are used"


def test_a_jpeg_is_decoded_at_the_scale_that_fits_and_keeps_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    monkeypatch.setattr(module, "_SMALL", 0)
    data = in_bytes(Image.new("RGB", (800, 600), (9, 99, 199)), format="JPEG", exif=exif)
    sizes = {}
    for limit in (6_000_000, 3_000_000, 500_000, 170_000, 80_000):
        monkeypatch.setattr(module, "LIMIT", limit)
        decoded = open_image(data, "a")
        assert (decoded.width, decoded.height) == (600, 800)
        sizes[limit] = decoded.image.size
    assert sizes == {
        6_000_000: (600, 800),
        3_000_000: (300, 400),
        500_000: (150, 200),
        170_000: (75, 100),
        80_000: (75, 100),
    }
    monkeypatch.setattr(module, "LIMIT", 10_000)
    with pytest.raises(ImageError, match="JPEG of 800 × 600 pixels in mode RGB needs 1 MiB"):
        open_image(data, "a")


@pytest.mark.parametrize(("options", "each"), [({}, 0.0), ({"progressive": True}, 3.0)])
def test_the_coefficients_of_a_jpeg_in_several_scans_count(options: dict[str, object], each: float) -> None:
    image = Image.new("RGB", (64, 64))
    assert module._coefficients(in_bytes(image, format="JPEG", subsampling=2, **options)) == each
    assert module._coefficients(in_bytes(image, format="JPEG", subsampling=0, **options)) == 2 * each
    assert module._coefficients(in_bytes(image.convert("L"), format="JPEG", **options)) == 2.0 * bool(each)
    assert module._coefficients(b"\xff\xd8\xff") == 8.0  # unknown: the most


def test_a_jpeg_of_more_pixels_than_pillow_allows_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = in_bytes(Image.new("L", (400, 300), 77), format="JPEG")
    png = in_bytes(Image.new("L", (400, 300), 77), format="PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # Pillow refuses twice as many
    assert open_image(data, "a").image.getpixel((5, 5)) == 77
    with pytest.raises(ImageError, match="120,000 pixels; at most"):
        open_image(png, "a")


def test_icons_are_judged_by_what_they_hold() -> None:
    icon = in_bytes(Image.new("RGBA", (48, 48)), format="ICO")
    assert list(nested_sizes(icon)) == [(16, 16), (24, 24), (32, 32), (48, 48)]
    stored, larger = (b"IHDR" + struct.pack(">IIBBBBB", *size, 8, 6, 0, 0, 0) for size in ((48, 48), (12_000, 11_000)))
    stored, larger = (header + struct.pack(">I", zlib.crc32(header)) for header in (stored, larger))
    lying = patched(icon, stored, larger)
    bitmap = in_bytes(Image.new("RGB", (32, 32)), format="ICO", bitmap_format="bmp", sizes=[(32, 32)])
    lying_bitmap = patched(bitmap, struct.pack("<Iii", 40, 32, 64), struct.pack("<Iii", 40, 12_000, 11_000))
    for data in (lying, lying_bitmap):
        with pytest.raises(
            ImageError, match="an icon with 12,000 × 11,000 pixels inside; at most 16,777,216"
        ) as caught:
            open_image(data, "a")
        assert caught.value.reason == "too_large"
    assert open_image(icon, "a").image.size == (48, 48)
    assert open_image(bitmap, "a").image.size == (32, 32)


def test_layouts_that_are_decoded_in_python_have_a_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"qoif" + struct.pack(">IIBB", 5_000, 4_000, 3, 0) + b"\xfd" * 99
    with pytest.raises(ImageError, match=r"QOI of 5,000 × 4,000 pixels .* decoded slowly, and at most 16,777,216"):
        open_image(data, "a")
    monkeypatch.setattr(module, "MAX_PYTHON_PIXELS", 10)
    monkeypatch.setattr(module, "_SMALL", 0)
    with pytest.raises(ImageError, match="PPM of 4 × 3 pixels"):
        open_image(b"P3 4 3 255 " + b"1 2 3 " * 12, "a")
    assert open_image(b"P6 4 3 255 " + bytes(36), "a").image.size == (4, 3)


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_images_are_reduced_where_they_are_resized_anyway(
    orientation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.add.outer(np.arange(300), np.arange(400)) // 3
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.stack([values.astype(np.uint8)] * 3, axis=2)).save(path, exif=exif)
    whole = decode(path)
    monkeypatch.setattr(opening, "REDUCED_ABOVE", 1000)
    small = decode(path, at_least=(50, 25))
    assert small.size == ((100, 75) if orientation == 1 else (100, 134))
    assert decode(path).size == whole.size
    part = decode(path, box=(30, 60, 130, 160), at_least=(20, 20))
    assert (part.width, part.height) in ((50, 50), (51, 50))
    near = whole.crop((30, 60, 130, 160)).resize(part.size)
    assert np.abs(np.asarray(part).astype(int) - np.asarray(near)).max() < 8
    decoded = open_image(path.read_bytes(), path, at_least=(50, 25))
    assert (decoded.width, decoded.height) == whole.size


def test_threads_wait_for_room_and_small_images_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    room, inside, most = Room(LIMIT), 0, 0
    lock, ready = threading.Lock(), threading.Barrier(3, timeout=20)

    def large() -> None:
        nonlocal inside, most
        ready.wait()
        with room.of(LIMIT // 2 + 1):
            with lock:
                inside += 1
                most = max(most, inside)
            with room.of(1000):  # never waits
                pass
            with lock:
                inside -= 1

    threads = [threading.Thread(target=large) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (most, inside) == (1, 0)
    with room.of(LIMIT * 9):  # more than there is: alone
        pass


LARGEST = {  # (width, height), mode, options: just within the limit
    "PNG": [((9_000, 9_000), "RGBA", {}), ((11_500, 11_500), "L", {}), ((11_500, 11_500), "RGB", {})],
    "WEBP": [((6_000, 6_000), "RGBA", {"lossless": True, "method": 0})],
    "TIFF": [((11_500, 11_500), mode, {"compression": "tiff_adobe_deflate"}) for mode in ("I", "F")]
    + [((9_000, 9_000), "CMYK", {"compression": "tiff_lzw"})],
    "JPEG": [((16_000, 12_500), "RGB", {}), ((16_000, 12_500), "RGB", {"progressive": True})],
    "JPEG2000": [((5_200, 5_200), "RGB", {})],
    "AVIF": [((5_700, 5_700), "RGBA", {"speed": 10})],
    "GIF": [((11_500, 11_500), "P", {})],
}

CHILD = """
import pathlib, re, sys
from eml.dataset.scanning.inspect_file import inspect_file
record = inspect_file(pathlib.Path(sys.argv[1]), sys.argv[2], "phash-luma256")
print(record.reason, re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.wide
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of a process from /proc")
@pytest.mark.parametrize("format_", LARGEST)
def test_what_is_accepted_takes_less_than_a_gigabyte(
    format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    for size, mode, options in LARGEST[format_]:
        path = tmp_path / "a.image"
        Image.new(mode, size).save(path, format=format_, **options)
        command = [sys.executable, "-c", CHILD, str(tmp_path), path.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        reason, _, kilobytes = done.stdout.strip().rpartition(" ")
        print(f"\n{format_} {mode} {size}: {int(kilobytes) / 1000:.0f} MB")
        assert reason == "", (size, mode)
        assert int(kilobytes) * 1024 < 1e9, (size, mode)


def test_a_refused_file_is_listed_and_the_scan_goes_on(tmp_path: Path, webp: bytes) -> None:
    (tmp_path / "a.webp").write_bytes(webp)
    record = inspect_file(tmp_path, "a.webp", "phash-luma256")
    assert (record.reason, record.detail[:24]) == ("too_large", "WEBP of 11,000 × 3,500 p")
