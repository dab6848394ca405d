"""Hashes of images: imagehash's bits, exactly or nearly, and the same for an image that was only saved again."""

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from eml.dataset.scanning.hashing import HashKind, content_hash, decode_size, image_hash, phash
from eml.files import digest
from eml.images.decode import DecodedImage, open_image

KINDS: tuple[HashKind, ...] = ("phash-luma256", "phash-imagehash")


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """A random image with the spectrum of photos: power falls with the square of the frequency."""
    random = np.random.default_rng(seed)
    y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    amplitude = 1 / np.maximum(np.hypot(x, y), 1 / max(width, height))
    planes = [np.fft.ifft2(amplitude * np.exp(2j * np.pi * random.random((height, width)))).real for _ in range(3)]
    pixels = np.stack([planes[0], 0.9 * planes[0] + 0.1 * planes[1], 0.9 * planes[0] + 0.1 * planes[2]], axis=2)
    low, high = np.percentile(pixels, (1, 99))
    return Image.fromarray(((pixels - low) / (high - low) * 255).clip(0, 255).astype(np.uint8))


def in_bytes(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def open_and_hash(data: bytes, kind: HashKind | None) -> tuple[DecodedImage, str]:
    """Decode and hash as a scan does."""
    at_least = decode_size(kind)
    opened = open_image(data, "a", at_least=at_least, luma=at_least is not None)
    return opened, image_hash(opened.image, kind)


def hashed(data: bytes, kind: HashKind) -> str:
    return open_and_hash(data, kind)[1]


def distance(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.mark.parametrize("kind", KINDS)
def test_lossless_images_have_imagehashs_bits(kind: HashKind) -> None:
    for seed in range(20):
        image = photo(90 + seed, 70, seed)
        assert hashed(in_bytes(image, format="PNG"), kind) == str(imagehash.phash(image))


def test_exact_kind_has_imagehashs_bits_of_a_large_jpeg() -> None:
    data = in_bytes(photo(700, 600), format="JPEG")
    with Image.open(io.BytesIO(data)) as image:
        assert hashed(data, "phash-imagehash") == str(imagehash.phash(image))


def test_fast_kind_decodes_large_jpegs_small_and_stays_within_two_bits() -> None:
    for seed in range(10):
        large = photo(220, 208, seed).resize((1100, 1040), Image.Resampling.BICUBIC)
        data = in_bytes(large, format="JPEG", quality=85)
        opened, fast = open_and_hash(data, "phash-luma256")
        assert opened.image.size == (275, 260)
        assert (opened.width, opened.height, opened.image.mode) == (1100, 1040, "L")
        assert distance(fast, hashed(data, "phash-imagehash")) <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_copies_with_another_exif_orientation_have_one_hash(kind: HashKind) -> None:
    image, turns = photo(640, 520), Image.Transpose
    stored = {1: None, 3: turns.ROTATE_180, 6: turns.ROTATE_90, 7: turns.TRANSVERSE}
    hashes = []
    for orientation, turn in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = in_bytes(image if turn is None else image.transpose(turn), format="JPEG", quality=95, exif=exif)
        opened, value = open_and_hash(data, kind)
        assert (opened.width, opened.height) == (640, 520)
        hashes.append(value)
    assert max(distance(hashes[0], other) for other in hashes) <= 2


def test_frequencies_that_vanish_are_below_the_median_not_noise() -> None:
    """A plain image has its mean alone; left-to-right stripes have the first row of frequencies alone."""
    assert phash(Image.new("L", (50, 50), 130)) == "8000000000000000"
    assert phash(Image.new("L", (50, 50), 0)) == "0" * 16
    stripes = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1)))
    assert phash(stripes)[2:] == "0" * 14
    assert phash(stripes)[:2] == "80"  # the ramp rises: all its cosines but the mean are negative or vanish


def test_different_images_are_far_apart() -> None:
    hashes = [phash(photo(64, 64, seed)) for seed in range(12)]
    assert min(distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 10


def test_no_hash_is_computed_where_none_is_wanted() -> None:
    opened, value = open_and_hash(in_bytes(photo(640, 480), format="JPEG"), None)
    assert value == ""
    assert (opened.width, opened.height, opened.image.size) == (640, 480, (80, 60))


def test_content_hash_is_the_files_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"eml")
    assert content_hash(b"eml") == digest(tmp_path / "a")
    assert len(content_hash(b"")) == 32
