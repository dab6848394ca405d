"""Two hashes of an image: of its bytes (the same file) and of how it looks (the same image, saved again)."""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from eml.images.decode import DecodedImage, open_image

HashKind = Literal["phash-luma256", "phash-imagehash"]
"""phash-luma256: a JPEG is decoded in grey at 1/2, 1/4 or 1/8, its short side at least 256 pixels (faster).
Any image is then shrunk in two steps. phash-imagehash: the bits that imagehash.phash gives of the image decoded in
full, in colour.
On photos they differ by 2 bits at most; hashes of different kinds are never compared with one another."""

_SHORT_SIDE = 256
_GAP = 3.0  # times 32 pixels: larger images are first averaged over whole blocks, which is four times faster
# Rows 0–7 of the unnormalised DCT-II of 32 values, as scipy.fftpack.dct has it: 2 Σ x_n cos(π k (2n+1) / 64).
_DCT = 2 * np.cos(np.pi * np.arange(8)[:, None] * (2 * np.arange(32) + 1) / 64)


def content_hash(data: bytes) -> str:
    """blake2b-128 of the bytes, 32 hex digits; the same as `eml.files.digest` of the file."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def open_and_hash(data: bytes, path: Path | str, kind: HashKind | None) -> tuple[DecodedImage, str]:
    """The image decoded to its end, upright, and its hash: 64 bits as 16 hex digits; "" where kind is None.

    Raises ImageError. The image in the image may be smaller than the file's, and grey.
    """
    if kind == "phash-imagehash":
        decoded = open_image(data, path)
        return decoded, _imagehash(decoded.image)
    side = 1 if kind is None else _SHORT_SIDE
    decoded = open_image(data, path, at_least=(side, side), luma=True)
    return decoded, "" if kind is None else phash(decoded.image)


def phash(image: Image.Image) -> str:
    """Perceptual hash: which of the 8×8 lowest frequencies of the 32×32 grey image are above their median.

    The recipe of imagehash.phash (row-major, the mean first and in the highest bit), but for this: a side of 192
    pixels or more is first averaged down to 96 or more, which moves 2 bits in 7 of 100 enlarged photos, and more in
    none of 1,629; and frequencies are rounded to 1e-6, so that those that vanish (symmetric or plain images) do so
    on every machine.
    """
    grey = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=_GAP)
    small = np.asarray(grey, dtype=np.float64)
    frequencies = (_DCT @ small @ _DCT.T).round(6)
    median = np.sort(frequencies, axis=None)[31:33].mean()  # np.median takes as long as all the rest
    return np.packbits(frequencies > median).tobytes().hex()


def _imagehash(image: Image.Image) -> str:
    import imagehash  # scipy comes with it, which takes longer to import than a hundred images to hash

    return str(imagehash.phash(image.convert("RGB")))
