"""The one decode path: what becomes of every kind of file."""

import io
import pickle
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.errors import DataError
from eml.images import decode as module
from eml.images.decode import ImageError, decode, open_image
from eml.images.identify import MAX_PIXELS

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
RED, GREEN, BLUE, YELLOW = (230, 20, 20), (20, 200, 20), (20, 20, 230), (230, 230, 20)
STORED_AS = {  # the turn that undoes what each orientation asks for
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quarters(width: int = 64, height: int = 32) -> Image.Image:
    """Red, green / blue, yellow: no turn or flip leaves it as it is."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def photo(width: int, height: int) -> Image.Image:
    """Smooth, with some noise: it compresses like a photo."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 100 * np.sin(x / width * a + y / height * b) for a, b in ((9, 4), (3, 11), (14, 2))]
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    return Image.fromarray((np.stack(waves, axis=2) + noise).clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def in_bytes(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def oriented(path: Path, orientation: int, image: Image.Image) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image.transpose(STORED_AS[orientation])
    return saved(stored, path, exif=exif) if path.suffix != ".tif" else saved(stored, path, tiffinfo={274: orientation})


def close(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 16


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = oriented(tmp_path / f"a{suffix}", orientation, quarters())
    photo = open_image(path.read_bytes(), path)
    assert (photo.width, photo.height) == (64, 32) == photo.image.size
    image = decode(path)
    corners = [image.getpixel(spot) for spot in ((8, 4), (56, 4), (8, 28), (56, 28))]
    assert all(close(*pair) for pair in zip(corners, (RED, GREEN, BLUE, YELLOW), strict=True)), corners
    assert image.getexif().get(0x0112, 1) == 1  # or whoever gets it turns it again


def test_orientation_is_applied_to_a_reduced_jpeg_and_its_box(tmp_path: Path) -> None:
    path = oriented(tmp_path / "a.jpg", 6, quarters(800, 400))
    assert decode(path, at_least=(100, 50)).size == (100, 50)
    blue = decode(path, at_least=(50, 25), box=(0, 200, 400, 400))
    assert blue.size == (50, 25)
    assert close(blue.getpixel((25, 12)), BLUE)


def test_broken_exif_data_leave_the_image_as_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(in_bytes(quarters(), format="JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40))
    assert close(decode(path).getpixel((8, 4)), RED)


def with_alpha() -> Image.Image:
    image = quarters().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 128))
    image.paste((0, 0, 0, 0), (0, 0, 32, 32))
    return image


def palette_with_transparency() -> bytes:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([*RED, *BLUE])
    image.paste(0, (0, 0, 4, 8))
    return in_bytes(image, format="PNG", transparency=0)


def test_transparency_of_every_kind_is_laid_on_white_where_that_is_chosen() -> None:
    half_green = tuple(round((c * 128 + 255 * 127) / 255) for c in GREEN)
    grey = Image.new("L", (8, 8), 90)
    grey.paste(200, (4, 0, 8, 8))
    sixteen = Image.fromarray(np.array([[1000, 60000]], dtype=np.uint16))
    cases = [
        (in_bytes(with_alpha(), format="PNG"), WHITE, half_green),
        (in_bytes(with_alpha(), format="WEBP", lossless=True), WHITE, half_green),
        (in_bytes(with_alpha().convert("LA"), format="PNG"), WHITE, (190,) * 3),  # GREEN's luma is 126; half of it
        (palette_with_transparency(), WHITE, BLUE),
        (in_bytes(grey, format="PNG", transparency=90), WHITE, (200,) * 3),
        (in_bytes(quarters(), format="PNG", transparency=RED), WHITE, GREEN),
        (in_bytes(sixteen, format="PNG", transparency=1000), WHITE, (234,) * 3),
    ]
    for data, left, right in cases:
        image = open_image(data, "a", background="white").image.convert("RGB")
        found = image.getpixel((0, 0)), image.getpixel((image.width - 1, 0))
        assert found[0] == left
        assert max(abs(a - b) for a, b in zip(found[1], right, strict=True)) <= 1, (found, right)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([[0, 32768, 65535]], dtype=np.uint16), [0, 128, 255]),
        (np.array([[0, 512, 1023]], dtype=np.uint16), [0, 128, 255]),  # 10 bits in use
        (np.array([[0, 128, 255]], dtype=np.uint16), [0, 128, 255]),
        (np.array([[-70000, 0, 70000]], dtype=np.int32), [0, 127, 255]),
        (np.array([[-1.0, 0.0, 1.0]], dtype=np.float32), [0, 127, 255]),
        (np.array([[np.nan, 0.0, 1.0]], dtype=np.float32), [0, 0, 255]),
        (np.array([[5.0, 5.0, 5.0]], dtype=np.float32), [0, 0, 0]),
    ],
)
def test_more_than_eight_bits_become_eight(tmp_path: Path, values: np.ndarray, wanted: list[int]) -> None:
    grey = decode(saved(Image.fromarray(values), tmp_path / "a.tif"))
    assert grey.mode == "RGB"
    assert [grey.getpixel((x, 0))[0] for x in range(3)] == wanted


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGBA", "LAB"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    source = Image.new("RGB", (16, 16), WHITE)
    source.paste(BLACK, (8, 0, 16, 16))
    image = decode(saved(source.convert(mode), tmp_path / "a.tif"))
    assert image.mode == "RGB"
    assert close(image.getpixel((2, 2)), WHITE)
    assert close(image.getpixel((13, 2)), BLACK)


def test_cmyk_jpeg_has_its_colours(tmp_path: Path) -> None:
    path = saved(quarters().convert("CMYK"), tmp_path / "a.jpg")
    assert close(decode(path).getpixel((8, 4)), RED)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    path = saved(frames[0], tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    assert close(decode(path).getpixel((8, 8)), RED)


def test_a_image_is_known_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_bytes(in_bytes(quarters(), format="PNG"))
    assert open_image(path.read_bytes(), path).format == "PNG"


@pytest.mark.parametrize("wanted", [(1, 1), (79, 60), (80, 60), (81, 60), (160, 121), (320, 240), (700, 30), (9999, 9)])
def test_at_least_never_yields_smaller(tmp_path: Path, wanted: tuple[int, int]) -> None:
    path = saved(photo(640, 480), tmp_path / "a.jpg")
    width, height = decode(path, at_least=wanted).size
    assert width >= min(640, wanted[0])
    assert height >= min(480, wanted[1])
    scale = max(s for s in (1, 2, 4, 8) if s == 1 or (640 // s >= wanted[0] and 480 // s >= wanted[1]))
    assert (width, height) == (640 // scale, 480 // scale)


def test_reduced_box_shows_what_the_whole_box_shows(tmp_path: Path) -> None:
    path = saved(photo(800, 600), tmp_path / "a.jpg", quality=95)
    assert decode(path, box=(1, 0, 103, 100), at_least=(25, 25)).size == (26, 25)  # from 0.25 to 25.75, in quarters
    random = np.random.default_rng(1)
    for _ in range(12):
        left, top = random.integers(0, 500), random.integers(0, 400)
        box = (int(left), int(top), int(left + random.integers(40, 300)), int(top + random.integers(40, 200)))
        wanted = int(random.integers(5, 40)), int(random.integers(5, 40))
        whole, reduced = decode(path, box=box), decode(path, box=box, at_least=wanted)
        assert whole.size == (box[2] - box[0], box[3] - box[1])
        assert reduced.width >= wanted[0]
        assert reduced.height >= wanted[1]
        difference = np.asarray(whole.resize((8, 8))).astype(int) - np.asarray(reduced.resize((8, 8)))
        assert np.abs(difference).mean() < 8  # a reduced pixel is at most 8 wide: edges may lie that far off


@pytest.mark.parametrize("box", [(0, 0, 65, 10), (-1, 0, 5, 5), (5, 5, 5, 9), (0, 9, 5, 5), (0, 0, 5, 33)])
def test_box_must_lie_within_the_image(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    path = saved(quarters(), tmp_path / "a.jpg")
    with pytest.raises(DataError, match="is not within the image's 64 × 32 pixels"):
        decode(path, box=box, at_least=(4, 4))


@pytest.mark.parametrize(
    "options",
    [
        {"format": "JPEG"},
        {"format": "JPEG", "progressive": True},
        {"format": "PNG"},
        {"format": "WEBP"},
        {"format": "GIF"},
        {"format": "BMP"},
        {"format": "TIFF"},
        {"format": "TIFF", "compression": "tiff_lzw"},
        {"format": "PPM"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_cut_files_are_refused(options: dict[str, object]) -> None:
    data = in_bytes(photo(160, 120), **options)
    for share in (0.05, 0.3, 0.5, 0.8, 0.97):
        for at_least in (None, (16, 16)):
            with pytest.raises(ImageError) as caught:
                open_image(data[: int(len(data) * share)], "a", at_least=at_least, luma=True)
            in_header = (
                share == 0.05 and options["format"] == "GIF"
            )  # in its palette, and nothing tells how long it was
            assert caught.value.reason == ("unreadable" if in_header else "truncated"), share


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.parametrize("size", [(100_000, 100_000), (MAX_PIXELS // 8192 + 1, 8192)])
def test_bomb_is_refused_from_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size) + struct.pack(">I", 99) + b"IDAT" + b"x" * 99)
    start = time.perf_counter()
    with pytest.raises(ImageError, match="at most 134,217,728 are decoded") as caught:
        decode(path)
    assert caught.value.reason == "too_large"
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", "empty", "0 bytes"),
        (b"hello, I am a text", "not_an_image", "its bytes are of no known image format"),
        (b"\0" * 500, "not_an_image", "its bytes are of no known image format"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "unsupported", "SVG, a drawing without pixels; convert it"),
        (b"%PDF-1.4 and so on", "unsupported", "a PDF; convert it to PNG or JPEG"),
        (b"GIF89a\0\0\0\0\0\0\0;", "unreadable", "starts like a GIF, but its header is broken"),
        (png_header(5, 5)[:20], "truncated", "a PNG that ends within its header"),
    ],
)
def test_what_is_no_image_says_why(tmp_path: Path, data: bytes, reason: str, detail: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        decode(path)
    assert caught.value.reason == reason
    assert caught.value.detail.startswith(detail)
    assert str(caught.value) == f"{path}: {caught.value.detail} ({reason})"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        decode(tmp_path / "none.jpg")
    assert caught.value.reason == "missing"
    with pytest.raises(ImageError) as caught:
        decode(tmp_path)
    assert caught.value.reason == "unreadable"


def test_large_files_are_looked_at_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGE", 100)
    monkeypatch.setattr(module, "MAX_BYTES", 200)
    film = tmp_path / "film.mp4"
    film.write_bytes(b"\0\0\0\x18ftypisom" + b"x" * 1000)
    with pytest.raises(ImageError) as caught:
        decode(film)
    assert caught.value.reason == "not_an_image"
    with pytest.raises(ImageError, match="bytes; at most 200 are read") as caught:
        decode(saved(quarters(), tmp_path / "a.bmp"))
    assert caught.value.reason == "too_large"


def test_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ImageError("a.jpg", "empty", "0 bytes")))
    assert (str(error), error.reason, error.problems) == ("a.jpg: 0 bytes (empty)", "empty", ["a.jpg: 0 bytes (empty)"])


def test_pillows_warnings_are_off_and_filters_as_before_when_threads_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    data = in_bytes(photo(160, 120), format="PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 160 * 120 - 1)  # Pillow warns from here on; warnings are errors here
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda number: open_image(data, str(number)), range(64)))) == 64
    assert warnings.filters == before
    with pytest.raises(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
