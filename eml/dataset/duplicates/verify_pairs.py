"""Whether two images with near hashes are the same image: a comparison of small colour thumbnails.

A hash of 64 bits sees neither colour nor detail, and images of like subjects come close in it by chance.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eml.dataset.duplicates.components import Indices
from eml.errors import DataError
from eml.images.decode import ImageError, decode
from eml.progress import Progress
from eml.threads import in_order

SIDE = 32  # pixels of a thumbnail, squashed to a square
SAME = 0.88
"""Least correlation of two thumbnails of one image. Copies in dirty.tar, blurred, resized, in grey or with other
contrast, have .89 and more; chance pairs within 10 bits have .82 at most on grocery160, .85 on faces, .87 on omniglot.
"""
BLOCK = 4  # pixels of the squares in which differences are looked for
LOCAL = 0.5
"""Most by which two thumbnails of one image differ in a square, in standard deviations of their brightness. Copies in
dirty.tar: .45, between the most blurred and the most sharpened; another mouth in the same face, or a later frame, more.
See docs/duplicates.md for both."""
PLAIN = 4.0  # grey levels of standard deviation; an image below it has no shape to correlate
ALIKE = 8.0  # grey levels that the colours of two plain images may differ by, on average

AT_ONCE = 4096  # pairs compared: 100 MB
SHOWN = 20  # problems

Thumbnails = NDArray[np.uint8]


def confirmed(
    root: Path,
    file_names: Sequence[str],
    i: Indices,
    j: Indices,
    progress: Progress | None = None,
    *,
    trust_hash: bool = False,
) -> NDArray[np.bool_]:
    """Which of the pairs (file_names[i[n]], file_names[j[n]]) show the same image. Reads each image once.

    progress: (description, total) → context manager → function told how many images are newly done. trust_hash: pairs
    with an image that cannot be read count as the same; else DataError, with all such images.
    """
    used, place = np.unique(np.concatenate([i, j]), return_inverse=True)
    one, other = place[: len(i)], place[len(i) :]
    unreadable: list[int] | None = [] if trust_hash else None
    seen = thumbnails(root, [file_names[row] for row in used], progress, unreadable)
    same = same_image(seen, one, other)
    return same | np.isin(one, unreadable) | np.isin(other, unreadable) if unreadable else same


def thumbnails(
    root: Path, file_names: Sequence[str], progress: Progress | None = None, unreadable: list[int] | None = None
) -> Thumbnails:
    """(N, SIDE, SIDE, 3) of the images, decoded upright; 3 kB each.

    Those that cannot be decoded are added to `unreadable` and stay black; without it they are a DataError.
    """
    made = np.zeros((len(file_names), SIDE, SIDE, 3), dtype=np.uint8)
    problems = []
    with progress("second look", len(file_names)) if progress else nullcontext(lambda done: None) as advance:
        for row, found in enumerate(in_order(_thumbnail, (root / name for name in file_names))):
            if not isinstance(found, ImageError):
                made[row] = found
            elif unreadable is not None:
                unreadable.append(row)
            else:
                problems.append(f"{found}, though its table has a hash of it. Run eml scan again")
            advance(1)
    if problems:
        more = [f"… and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
        raise DataError(problems[:SHOWN] + more)
    return made


def _thumbnail(path: Path) -> Thumbnails | ImageError:
    try:
        image = decode(path, at_least=(SIDE, SIDE))
    except ImageError as error:
        return error
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def same_image(seen: Thumbnails, i: Indices, j: Indices) -> NDArray[np.bool_]:
    """Which pairs of thumbnails (i[n], j[n]) show the same image.

    They correlate by at least `SAME` over pixels and colours, each channel less its mean, and no square of 4×4 pixels
    differs in standardised brightness by more than `LOCAL`: overall brightness and contrast do not count. Where both
    are plain, having no shape, their mean colours are compared instead.
    """
    flat = seen.reshape(len(seen), -1, 3)
    mean = flat.mean(axis=1, dtype=np.float64)  # (N, 3)
    deviation = np.sqrt(flat.var(axis=1, dtype=np.float64).mean(axis=1))  # (N,)
    plain = deviation < PLAIN
    squares = _squares(seen)
    same = np.empty(len(i), dtype=bool)
    for start in range(0, len(i), AT_ONCE):
        one, other = i[start : start + AT_ONCE], j[start : start + AT_ONCE]
        product = np.einsum("npc,npc->nc", flat[one].astype(np.float32), flat[other].astype(np.float32))
        covariance = (product / flat.shape[1] - mean[one] * mean[other]).mean(axis=1)
        like = covariance >= SAME * deviation[one] * deviation[other]
        like &= np.abs(squares[one] - squares[other]).max(axis=1) <= LOCAL
        alike = np.abs(mean[one] - mean[other]).mean(axis=1) <= ALIKE
        same[start : start + AT_ONCE] = np.where(plain[one] & plain[other], alike, like & ~plain[one] & ~plain[other])
    return same


def _squares(seen: Thumbnails) -> NDArray[np.float32]:
    """(N, 64) mean brightness of squares, standardised over the thumbnail's pixels."""
    made = np.empty((len(seen), (SIDE // BLOCK) ** 2), dtype=np.float32)
    for start in range(0, len(seen), AT_ONCE):
        luma = seen[start : start + AT_ONCE].astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        squares = luma.reshape(-1, SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK).mean(axis=(2, 4)).reshape(len(luma), -1)
        luma = luma.reshape(len(luma), -1)
        deviation = np.maximum(luma.std(axis=1, keepdims=True), PLAIN)
        made[start : start + AT_ONCE] = (squares - luma.mean(axis=1, keepdims=True)) / deviation
    return made
