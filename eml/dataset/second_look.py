"""Whether two pictures with near hashes are the same picture: a comparison of small colour thumbnails.

A hash of 64 bits sees neither colour nor detail, and pictures of like subjects come close in it by chance.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eml.dataset.components import Indices
from eml.dataset.scan import Progress
from eml.errors import DataError
from eml.images.decode import PictureError, decode

SIDE = 32  # pixels of a thumbnail, squashed to a square
SAME = 0.88
"""Least correlation of two thumbnails of one picture. Chance pairs within 10 bits: at most .82 on grocery160, .85 on
orl_faces, .87 on omniglot; copies in dirty.tar, blurred, resized, in grey or with other contrast: at least .89. See
docs/duplicates.md."""
PLAIN = 4.0  # grey levels of standard deviation; a picture below it has no shape to correlate
ALIKE = 8.0  # grey levels that the colours of two plain pictures may differ by, on average

BLOCK = 4096  # pairs compared at a time: 50 MB
SHOWN = 20  # problems

Thumbnails = NDArray[np.uint8]


def confirmed(
    root: Path, file_names: Sequence[str], i: Indices, j: Indices, progress: Progress | None = None
) -> NDArray[np.bool_]:
    """Which of the pairs (file_names[i[n]], file_names[j[n]]) show the same picture. Reads each picture once.

    progress: (description, total) → context manager → function told how many pictures are newly done.
    Raises DataError, with all of them, for pictures that cannot be read.
    """
    used, place = np.unique(np.concatenate([i, j]), return_inverse=True)
    seen = thumbnails(root, [file_names[row] for row in used], progress)
    return same_picture(seen, place[: len(i)], place[len(i) :])


def thumbnails(root: Path, file_names: Sequence[str], progress: Progress | None = None) -> Thumbnails:
    """(N, SIDE, SIDE, 3) of the pictures, decoded upright; 3 kB each. Raises DataError for those that cannot be."""
    made = np.empty((len(file_names), SIDE, SIDE, 3), dtype=np.uint8)
    problems = []
    with progress("second look", len(file_names)) if progress else nullcontext(lambda done: None) as advance:
        for row, found in enumerate(_read(root, file_names)):
            if isinstance(found, PictureError):
                problems.append(f"{found}, though its table has a hash of it. Run eml scan again")
            else:
                made[row] = found
            advance(1)
    if problems:
        more = [f"… and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
        raise DataError(problems[:SHOWN] + more)
    return made


def _read(root: Path, file_names: Sequence[str]) -> Iterator[Thumbnails | PictureError]:
    """In order; over threads, since Pillow decodes without holding the interpreter."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for start in range(0, len(file_names), 256):
                yield from pool.map(lambda name: _thumbnail(root / name), file_names[start : start + 256])
        finally:
            pool.shutdown(cancel_futures=True)


def _thumbnail(path: Path) -> Thumbnails | PictureError:
    try:
        image = decode(path, at_least=(SIDE, SIDE))
    except PictureError as error:
        return error
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def same_picture(seen: Thumbnails, i: Indices, j: Indices) -> NDArray[np.bool_]:
    """Which pairs of thumbnails (i[n], j[n]) correlate by at least `SAME` over pixels and colours.

    Each channel's mean is taken off first, and the correlation is blind to scale: brightness and contrast do not count.
    Where both pictures are plain, their mean colours are compared instead.
    """
    flat = seen.reshape(len(seen), -1, 3)
    mean = flat.mean(axis=1, dtype=np.float64)  # (N, 3)
    deviation = np.sqrt((flat.var(axis=1, dtype=np.float64)).mean(axis=1))  # (N,)
    plain = deviation < PLAIN
    same = np.empty(len(i), dtype=bool)
    for start in range(0, len(i), BLOCK):
        one, other = i[start : start + BLOCK], j[start : start + BLOCK]
        product = np.einsum("npc,npc->nc", flat[one].astype(np.float32), flat[other].astype(np.float32))
        covariance = (product / flat.shape[1] - mean[one] * mean[other]).mean(axis=1)
        like = covariance >= SAME * deviation[one] * deviation[other]
        alike = np.abs(mean[one] - mean[other]).mean(axis=1) <= ALIKE
        same[start : start + BLOCK] = np.where(plain[one] & plain[other], alike, like & ~plain[one] & ~plain[other])
    return same
