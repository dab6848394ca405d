"""simplejpeg decodes what it decodes to Pillow's pixels, and leaves all that is irregular to Pillow."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.images import jpeg
from eml.images.decode import ImageError, decode_part, decode_rgb, open_image
from eml.images.jpeg import decode_jpeg

needs_simplejpeg = pytest.mark.skipif(jpeg._decoder() is None, reason="needs simplejpeg")


def photo(size: tuple[int, int]) -> Image.Image:
    rows, columns = np.mgrid[: size[1], : size[0]] / 7
    values = 127 + 90 * np.sin(rows[..., None] + columns[..., None] * [0.5, 1, 2])
    values += np.random.default_rng(0).normal(0, 20, values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def files() -> Iterator[bytes]:
    for size in ((67, 51), (33, 90), (20, 3)):
        image = photo(size)
        kinds = [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"keep_rgb": True}]
        for mode in ("RGB", "L", "CMYK"):
            for options in kinds if mode == "RGB" else kinds[:2]:
                file = io.BytesIO()
                image.convert(mode).save(file, "JPEG", quality=88, **options)
                yield file.getvalue()
    file = io.BytesIO()
    image.save(file, "MPO", save_all=True, append_images=[image.rotate(180)])
    yield file.getvalue()


def in_both_ways(data: bytes, monkeypatch: pytest.MonkeyPatch, **options: object) -> list[object]:
    """Return what opening gives with the decoder at hand and without one: pixels, or the reason of the error."""
    results: list[object] = []
    for decoder in (jpeg._decoder, lambda: None):
        with monkeypatch.context() as patched:
            patched.setattr(jpeg, "_decoder", decoder)
            try:
                opened = open_image(data, "a", **options)
                results.append((np.asarray(opened.image), opened.image.mode, opened.width, opened.height))
            except ImageError as error:
                results.append((error.reason, error.detail))
    return results


def assert_alike(results: list[object]) -> None:
    first, second = results
    np.testing.assert_equal(first, second)


@needs_simplejpeg
def test_pixels_and_errors_are_those_of_pillow_for_every_kind_of_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for data in files():
        changed = [bytearray(data) for _ in range(3)]
        for other in changed:
            other[random.integers(2, len(data))] = random.integers(256)
        damaged = [data[:-2], data[: len(data) // 2], data[: len(data) // 2] + b"\xff\xd9", data + b"rest"]
        for variant in (data, *damaged, *map(bytes, changed)):
            for options in ({}, {"at_least": (9, 9)}, {"at_least": (4, 1), "luma": True}):
                assert_alike(in_both_ways(variant, monkeypatch, **options))


@needs_simplejpeg
def test_an_ordinary_jpeg_needs_no_pillow_and_others_do(tmp_path: Path) -> None:
    (data, *_, cmyk, _, mpo) = files()
    opened = open_image(data, "a")
    assert isinstance(opened.content, np.ndarray)
    assert isinstance(open_image(mpo, "a").content, np.ndarray)
    assert isinstance(open_image(cmyk, "a").content, Image.Image)
    np.testing.assert_array_equal(opened.content, np.asarray(opened.image))
    box = (10, 5, 60, 50)
    part = decode_rgb(data, "a", box=box)
    np.testing.assert_array_equal(part, np.asarray(opened.image.crop(box)))
    (tmp_path / "a.jpg").write_bytes(data)
    whole, place = decode_part(tmp_path / "a.jpg", lambda width, height: (0, 0, width, height), at_least=(9, 9))
    assert (whole.shape, place) == ((13, 17, 3), (0, 0, 17, 13))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_jpeg_is_upright_whoever_decodes_it(turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    photo((67, 51)).save(file, "JPEG", exif=exif)
    results = in_both_ways(file.getvalue(), monkeypatch)
    assert results[0][0].shape == ((67, 51, 3) if turn > 4 else (51, 67, 3))
    assert_alike(results)


def test_a_decoder_that_fails_or_gives_another_size_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(data: bytes, colours: str, **least: int) -> np.ndarray:
        raise ValueError("Corrupt JPEG data: bad Huffman code")

    data = next(files())
    for decoder in (fails, lambda data, colours, **least: np.zeros((9, 9, 3), np.uint8)):
        monkeypatch.setattr(jpeg, "_decoder", lambda decoder=decoder: decoder)
        opened = Image.open(io.BytesIO(data))
        assert decode_jpeg(opened, opened.size, data) is None
        assert open_image(data, "a").content.size == (67, 51)
