"""Two hashes of an image: of its bytes (the same file) and of its appearance (the same image, saved again)."""

import hashlib
from typing import Literal

import numpy as np
from PIL import Image

HashKind = Literal["phash-luma256", "phash-imagehash"]
"""phash-luma256: a JPEG is decoded in grey at 1/2, 1/4 or 1/8 size, its short side at least 256 pixels (faster).
Any image is then shrunk in two steps. phash-imagehash: the bits that imagehash.phash gives for the image decoded at
full size, in colour.
On photos they differ by 2 bits at most; hashes of different kinds are never compared with one another."""

_GAP = 3.0  # times 32 pixels: larger images are first averaged over whole blocks, which is four times faster
# Rows 0–7 of the unnormalised DCT-II of 32 values, as scipy.fftpack.dct has it: 2 Σ x_n cos(π k (2n+1) / 64).
_DCT = 2 * np.cos(np.pi * np.arange(8)[:, None] * (2 * np.arange(32) + 1) / 64)

_DECODE_SIDE: dict[HashKind | None, int | None] = {"phash-luma256": 256, "phash-imagehash": None, None: 1}


def content_hash(data: bytes) -> str:
    """Return the blake2b-128 of the bytes, 32 hex digits; the same as `eml.files.digest` of the file."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decode_size(kind: HashKind | None) -> tuple[int, int] | None:
    """Return the (width, height) at which a JPEG must at least be decoded for this hash; None for its full size.

    A hash that takes the full size takes the colours too; for the others brightness is enough.
    """
    side = _DECODE_SIDE[kind]
    return None if side is None else (side, side)


def image_hash(image: Image.Image, kind: HashKind | None) -> str:
    """Return the perceptual hash of a decoded, upright image: 64 bits as 16 hex digits; "" where kind is None."""
    if kind is None:
        return ""
    return _imagehash(image) if kind == "phash-imagehash" else phash(image)


def phash(image: Image.Image) -> str:
    """Return the perceptual hash: which of the 8×8 lowest frequencies of the 32×32 grey image are above their median.

    It follows imagehash.phash (row-major, the mean first and in the highest bit), with two differences. A side of 192
    pixels or more is first averaged down to 96 or more, which changes 2 bits in 7 of 100 enlarged photos, and more in
    none of 1,629. Frequencies are rounded to 1e-6, so that those that vanish (in symmetric or plain images) vanish on
    every machine.
    """
    grey = image if image.mode == "L" else image.convert("L")
    small = np.asarray(grey.resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=_GAP), dtype=np.float64)
    frequencies = (_DCT @ small @ _DCT.T).round(6)
    median = np.sort(frequencies, axis=None)[31:33].mean()  # np.median takes as long as all the rest
    return np.packbits(frequencies > median).tobytes().hex()


def _imagehash(image: Image.Image) -> str:
    import imagehash  # it imports scipy, which takes longer than hashing a hundred images

    return str(imagehash.phash(image.convert("RGB") if image.mode != "RGB" else image))
