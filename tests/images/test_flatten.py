"""The background of transparency, images of more than eight bits, and blank images."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.images import flatten as module
from eml.images.cache import CacheSettings
from eml.images.decode import decode, from_pil, open_image
from eml.images.flatten import Background, flatten, is_blank

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def drawing(brightness: int, *, size: tuple[int, int] = (8, 4)) -> Image.Image:
    """An opaque left half on a transparent right half, whose hidden pixels are of the opposite brightness."""
    image = Image.new("RGBA", size, (255 - brightness,) * 3 + (0,))
    image.paste((brightness,) * 3 + (255,), (0, 0, size[0] // 2, size[1]))
    return image


def in_bytes(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def png(colour_type: int, depth: int, width: int, row: bytes, transparent: bytes = b"") -> bytes:
    """A PNG of one row, in layouts that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    chunks = [(name, data) for name, data in chunks if data or name == b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def palette(brightness: int, transparency: int | bytes) -> bytes:
    image = Image.new("P", (8, 4), 1)
    image.putpalette([*(brightness,) * 3, *(255 - brightness,) * 3])
    image.paste(0, (0, 0, 4, 4))
    return in_bytes(image, format="PNG", transparency=transparency)


def greys(brightness: int, mode: str) -> Image.Image:
    image = Image.new(mode, (8, 4), (255 - brightness) if mode == "L" else (255 - brightness,) * 3)
    image.paste(brightness if mode == "L" else (brightness,) * 3, (0, 0, 4, 4))
    return image


def frames(brightness: int) -> list[Image.Image]:
    return [drawing(brightness), drawing(255 - brightness)]


FILES = {
    "RGBA PNG": lambda b: in_bytes(drawing(b), format="PNG"),
    "RGBA WebP": lambda b: in_bytes(drawing(b), format="WEBP", lossless=True),
    "LA PNG": lambda b: in_bytes(drawing(b).convert("LA"), format="PNG"),
    "P PNG": lambda b: palette(b, 1),
    "P PNG with a table": lambda b: palette(b, b"\xff\0"),
    "GIF": lambda b: in_bytes(drawing(b), format="GIF"),
    "L PNG with a colour": lambda b: in_bytes(greys(b, "L"), format="PNG", transparency=255 - b),
    "RGB PNG with a colour": lambda b: in_bytes(greys(b, "RGB"), format="PNG", transparency=(255 - b,) * 3),
    "1-bit PNG with a colour": lambda b: png(0, 1, 8, b"\xf0" if b > 127 else b"\x0f", b"\0\0" if b > 127 else b"\0\1"),
    "2-bit PNG with a colour": lambda b: png(0, 2, 4, b"\xa5" if b > 127 else b"\x5a", b"\0\1" if b > 127 else b"\0\2"),
    "4-bit PNG with a colour": lambda b: png(
        0, 4, 2, b"\xc3" if b > 127 else b"\x3c", b"\0\3" if b > 127 else b"\0\x0c"
    ),
    "16-bit LA PNG": lambda b: png(4, 16, 2, struct.pack(">4H", b * 257, 65535, 65535 - b * 257, 0)),
    "16-bit RGBA PNG": lambda b: png(6, 16, 2, struct.pack(">8H", *[b * 257] * 3, 65535, *[65535 - b * 257] * 3, 0)),
    "16-bit PNG with a colour": lambda b: png(
        0, 16, 2, struct.pack(">2H", b * 257, 65535 - b * 257), struct.pack(">H", 65535 - b * 257)
    ),
    "16-bit RGB PNG with a colour": lambda b: png(
        2, 16, 2, struct.pack(">6H", *[b * 257] * 3, *[65535 - b * 257] * 3), struct.pack(">3H", *[65535 - b * 257] * 3)
    ),
    "RGBA TIFF": lambda b: in_bytes(drawing(b), format="TIFF"),
    "LA TIFF": lambda b: in_bytes(drawing(b).convert("LA"), format="TIFF"),
    "RGBA TGA": lambda b: in_bytes(drawing(b), format="TGA"),
    "animated PNG": lambda b: in_bytes(frames(b)[0], format="PNG", save_all=True, append_images=frames(b)[1:]),
    "animated WebP": lambda b: in_bytes(
        frames(b)[0], format="WEBP", lossless=True, save_all=True, append_images=frames(b)[1:]
    ),
    "animated GIF": lambda b: in_bytes(frames(b)[0], format="GIF", save_all=True, append_images=frames(b)[1:]),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("brightness", [255, 200, 60, 0])
def test_transparency_becomes_black_behind_a_bright_drawing_and_white_behind_a_dark_one(
    kind: str, brightness: int
) -> None:
    image = open_image(FILES[kind](brightness), "a").image.convert("RGB")
    shown, hidden = image.getpixel((0, 0)), image.getpixel((image.width - 1, 0))
    assert hidden == (BLACK if brightness > 127 else WHITE)
    exact = not kind.startswith(("1-bit", "2-bit", "4-bit"))  # which have few brightnesses
    assert not exact or max(abs(value - brightness) for value in shown) <= 1
    assert min(abs(a - b) for a, b in zip(shown, hidden, strict=True)) > 100


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
@pytest.mark.parametrize("brightness", [255, 0])
def test_images_opened_elsewhere_get_the_same_background(mode: str, brightness: int) -> None:
    image = drawing(brightness)
    if mode in ("LA", "La"):
        image = image.convert("LA")
    image = image.convert(mode) if mode != image.mode else image
    shown = from_pil(image)
    assert shown.mode == "RGB"
    assert shown.getpixel((0, 0)) == (brightness,) * 3
    assert shown.getpixel((7, 0)) == (BLACK if brightness else WHITE)


@pytest.mark.parametrize(
    ("colours", "background"),
    [
        ([(255, 255, 255, 255), (0, 0, 0, 255)], WHITE),  # a tie
        ([(255, 255, 255, 255), (0, 0, 0, 254)], BLACK),
        ([(255, 255, 255, 254), (0, 0, 0, 255)], WHITE),
        ([(0, 255, 0, 255), (0, 255, 0, 255)], BLACK),  # brightness 150
        ([(255, 0, 0, 255), (0, 0, 255, 255)], WHITE),
        ([(255, 255, 255, 0), (255, 255, 255, 0)], WHITE),  # nothing is shown
    ],
)
def test_the_background_follows_the_mean_brightness_weighted_by_opacity(
    colours: list[tuple[int, ...]], background: tuple[int, ...]
) -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    for place, colour in enumerate(colours):
        image.putpixel((place, 0), colour)
    assert flatten(image, "contrast").getpixel((2, 0)) == background


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "I;16", "I", "F"])
def test_strips_give_the_pixels_of_the_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 256, (37, 11, 4), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode in ("I;16", "I", "F"):
        image = Image.fromarray(values[..., 0].astype({"I;16": "uint16", "I": "int32", "F": "float32"}[mode]) * 31)
        image.info["transparency"] = int(values[0, 0, 0]) * 31
    elif mode in ("P", "L"):
        image = image.convert("RGB").convert(mode)
        image.info["transparency"] = 7
    else:
        image = image.convert(mode)
    for background in ("contrast", "white"):
        whole = np.asarray(flatten(image, background))
        monkeypatch.setattr(module, "STRIP", 40)
        assert np.array_equal(np.asarray(flatten(image, background)), whole)
        monkeypatch.undo()


@pytest.mark.parametrize(("background", "expected"), [("contrast", BLACK), ("white", WHITE)])
def test_caches_and_files_show_the_background_of_the_preprocessing(
    tmp_path: Path, background: Background, expected: tuple[int, ...]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(FILES["RGBA PNG"](255))
    assert decode(path, background=background).getpixel((7, 0)) == expected
    cache = CacheSettings("images", 8, "bicubic", background=background)
    assert tuple(cache.decode(path.read_bytes(), path, None)[0, -1]) == expected


@pytest.mark.parametrize(("spread", "blank"), [(0, True), (module.BLANK_RANGE, True), (module.BLANK_RANGE + 1, False)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_image_is_blank_where_its_pixels_hardly_differ(mode: str, spread: int, blank: bool) -> None:
    image = Image.new("RGB", (9, 9), (200, 10, 90))
    image.putpixel((4, 4), (200 - spread, 10, 90) if mode == "RGB" else (200, 10 + spread, 90))
    if mode == "L":
        image = Image.new("L", (9, 9), 100)
        image.putpixel((4, 4), 100 + spread)
    assert is_blank(image) == blank
