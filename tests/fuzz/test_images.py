"""Any bytes as an image file: it is read, or refused by a documented error, in bounded time and memory.

`EML_FUZZ_EXAMPLES=5000 pytest -m wide tests/fuzz/test_images.py` for a long run; `EML_FUZZ_SEEDS=FOLDER` adds the
files of a folder to those that are spoiled.
"""

import io
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from PIL import Image, features

from eml.dataset.scanning.inspect_file import inspect_file
from eml.errors import DataError
from eml.images.decode import decode_part, open_image, shown_size
from eml.images.identify import ImageError, reason_code
from tests.fuzz.mutations import spoiled
from tests.fuzz.outcome import DOCUMENTED, SUCCESS, fuzz_settings, outcome

LONGEST = 30  # seconds for one image
LARGEST_SEED = 100_000  # bytes of a file of EML_FUZZ_SEEDS
SIZES = (0, 1, 255, 4096, 12_000, 65_535, 2**24, 2**31 - 1, 2**32 - 1)

MODES = {
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "JPEG": ("RGB", "L", "CMYK"),
    "GIF": ("P", "L"),
    "BMP": ("RGB", "P", "1", "RGBA"),
    "TIFF": ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "I", "F"),
    "WEBP": ("RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
    "JPEG2000": ("RGB", "RGBA", "L", "LA"),
    "PPM": ("RGB", "L", "1", "I;16"),
    "ICO": ("RGBA", "RGB"),
    "ICNS": ("RGBA",),
    "QOI": ("RGB", "RGBA"),
    "DDS": ("RGB", "RGBA", "L"),
    "DIB": ("RGB", "P"),
    "PCX": ("RGB", "P", "1"),
    "SGI": ("RGB", "RGBA", "L"),
    "TGA": ("RGB", "RGBA", "L", "P"),
}
OPTIONS = {
    "JPEG": [{"progressive": True}, {"subsampling": 0, "icc_profile": b"x" * 300}],
    "TIFF": [{"compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits")],
    "WEBP": [{"lossless": True}, {"save_all": True}],
    "PNG": [{"save_all": True}, {"icc_profile": b"x" * 300}],
    "GIF": [{"save_all": True}],
    "ICO": [{"bitmap_format": "bmp"}],
    "TGA": [{"compression": "tga_rle"}],
    "JPEG2000": [{"tile_size": (8, 8)}],
    "DDS": [{"pixel_format": "DXT5"}],
}


def drawn(mode: str, side: int) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (side, side, 4), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode in ("I;16", "I", "F"):
        return Image.fromarray(values[..., 0].astype({"I;16": "uint16", "I": "int32", "F": "float32"}[mode]))
    return image.convert(mode) if mode in ("RGBA", "LA") else image.convert("RGB").convert(mode)


@cache
def seeds() -> list[bytes]:
    """Return good files of every format and mode, and those of a folder that EML_FUZZ_SEEDS names."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for format_, modes in MODES.items():
        if format_ == "AVIF" and not features.check("avif"):
            continue
        for mode in modes:
            image = drawn(mode, 16 if format_ == "ICNS" else 20)
            for options in [{}, *OPTIONS.get(format_, [])]:
                more = {"exif": exif} if format_ in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF") else {}
                if "save_all" in options:
                    more |= {"append_images": [image.rotate(90), image.rotate(180)]}
                file = io.BytesIO()
                try:
                    image.save(file, format=format_, **options, **more)
                except (OSError, ValueError, KeyError):  # not every mode has every option
                    continue
                files.append(file.getvalue())
    files += [
        b"P3 2 2 255 " + b"1 2 3 " * 4,
        b"P2 2 2 70000 1 2 3 4",
        b"8BPS" + struct.pack(">H6xHIIHHIIIH", 1, 3, 2, 2, 8, 3, 0, 0, 0, 0),
    ]
    if folder := os.environ.get("EML_FUZZ_SEEDS"):
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        files += [path.read_bytes() for path in paths if 0 < path.stat().st_size <= LARGEST_SEED]
    return files


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """Return a good file with bytes changed, sizes that lie, the head or the inside of another file, or nothing."""
    data = draw(st.sampled_from(seeds()))
    kind = draw(st.sampled_from(["bytes", "size", "sizes", "splice", "nest", "cut", "double"]))
    if kind == "size" or kind == "sizes":
        for _ in range(1 if kind == "size" else 4):
            place = draw(st.integers(0, min(len(data), 200)))
            layout = draw(st.sampled_from([">I", "<I", ">H", "<H"]))
            value = draw(st.sampled_from(SIZES)) % (2**32 if layout[1] == "I" else 2**16)
            data = data[:place] + struct.pack(layout, value) + data[place + struct.calcsize(layout) :]
        return data
    if kind in ("splice", "nest"):
        other = draw(st.sampled_from(seeds()))
        place = draw(st.integers(0, min(len(data), 400)))
        if kind == "nest":
            return data[:place] + other + data[place:]
        return data[:place] + other[draw(st.integers(0, min(len(other), 400))) :]
    if kind == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if kind == "double":
        return data + data[draw(st.integers(0, len(data))) :]
    return draw(spoiled(data))


@contextmanager
def ends_in_time() -> Iterator[None]:
    """Fail where the block takes longer than `LONGEST` seconds."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"an image took more than {LONGEST} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read(data: bytes, path: Path) -> None:
    """Read the bytes as scan, training and `shown_size` do; they must agree on the size."""
    decoded = open_image(data, path)
    assert decoded.image.mode in ("L", "RGB")
    assert decoded.image.width <= decoded.width
    assert shown_size(path) == (decoded.width, decoded.height)
    part, box = decode_part(path, lambda width, height: (0, 0, width / 2, height / 2), at_least=(8, 8))
    assert part.mode == "RGB"
    assert 0 <= box[0] < box[2] <= part.width


@pytest.mark.wide
@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs SIGALRM")
@given(images())
@fuzz_settings()
def test_any_bytes_are_read_or_refused_in_bounded_time_and_memory(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.image"
    path.write_bytes(data)
    with ends_in_time():
        result = outcome(lambda: read(data, path))
        record = inspect_file(tmp_path, path.name, "phash-luma256")
    event(result)
    assert (record.reason == "") == (result == SUCCESS), (record.reason, result)
    assert not record.reason or reason_code(record.reason) in DOCUMENTED


@pytest.mark.parametrize("number", range(0, 60, 6))
def test_the_files_to_be_spoiled_are_good(number: int, tmp_path: Path) -> None:
    path = tmp_path / "a.image"
    path.write_bytes(data := seeds()[number])
    assert outcome(lambda: read(data, path)) == SUCCESS
    assert issubclass(ImageError, DataError)
