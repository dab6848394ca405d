"""Whether two images with near hashes are the same image: a comparison of small colour thumbnails.

A hash of 64 bits sees neither colour nor detail, and images of similar subjects have near hashes by chance.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eml.dataset.duplicates.components import Indices
from eml.errors import DataError, Problem
from eml.images.decode import ImageError, decode, has_transparency
from eml.images.flatten import Background
from eml.images.locate import image_path
from eml.progress import Progress
from eml.threads import in_order

SIDE = 32  # pixels of a thumbnail, squashed to a square
MIN_CORRELATION = 0.88
"""Least correlation of two thumbnails of one image. Copies in dirty.tar, blurred, resized, in grey or with other
contrast, have .89 and more; chance pairs within 10 bits have .82 at most on grocery160, .85 on faces, .87 on omniglot.
"""
BLOCK = 4  # pixels of the squares whose brightness is compared
MAX_BLOCK_DIFFERENCE = 0.5
"""Largest difference of two thumbnails of one image in a square, in standard deviations of their brightness. Copies in
dirty.tar: .45, between the most blurred and the most sharpened; another mouth in the same face, or a later frame, more.
See docs/duplicates.md for both."""
MIN_DEVIATION = 4.0  # grey levels of standard deviation; an image below it is plain and has no shape to correlate
MAX_PLAIN_COLOUR_DIFFERENCE = 8.0  # grey levels by which the colours of two plain images may differ, on average

AT_ONCE = 4096  # pairs compared: 100 MB
SHOWN = 20  # problems

Thumbnails = NDArray[np.uint8]


def verify_pairs(
    root: Path,
    file_names: Sequence[str],
    i: Indices,
    j: Indices,
    progress: Progress | None = None,
    *,
    trust_hash: bool = False,
) -> NDArray[np.bool_]:
    """Return (P,) whether file_names[i[n]] and file_names[j[n]] show the same image.

    Reads each image once; transparent ones that look the same twice, on either background: on black all bright drawings
    of one outline look alike, on white the white ones.

    Args:
        root: The folder of the images.
        file_names: Relative to `root`.
        i: (P,) indices of the first images.
        j: (P,) indices of the second images.
        progress: Shows how many images have been read.
        trust_hash: Pairs with an image that cannot be read count as the same.

    Raises:
        DataError: Images cannot be read, unless `trust_hash`.
    """
    used, place = np.unique(np.concatenate([i, j]), return_inverse=True)
    first, second = place[: len(i)], place[len(i) :]
    unreadable: list[int] | None = [] if trust_hash else None
    names = [file_names[row] for row in used]
    thumbnails = read_thumbnails(root, names, progress, unreadable)
    same = is_same_image(thumbnails, first, second)
    same[same] = _is_same_on_white(root, names, thumbnails, first[same], second[same])
    return same | np.isin(first, unreadable) | np.isin(second, unreadable) if unreadable else same


def _is_same_on_white(
    root: Path, file_names: Sequence[str], thumbnails: Thumbnails, i: Indices, j: Indices
) -> NDArray[np.bool_]:
    """Return (P,) whether pairs are the same on white too, where one has transparency; changes those thumbnails."""
    rows = np.unique(np.concatenate([i, j])).tolist()
    transparent = np.zeros(len(file_names), bool)
    for row in rows:
        thumbnail = _thumbnail_on_white(root, file_names[row])
        if isinstance(thumbnail, np.ndarray):
            thumbnails[row], transparent[row] = thumbnail, True
    same = np.ones(len(i), bool)
    again = transparent[i] | transparent[j]
    if again.any():
        same[again] = is_same_image(thumbnails, i[again], j[again])
    return same


def read_thumbnails(
    root: Path, file_names: Sequence[str], progress: Progress | None = None, unreadable: list[int] | None = None
) -> Thumbnails:
    """Return (N, SIDE, SIDE, 3) thumbnails of the images, decoded upright; 3 kB each.

    Images that cannot be decoded are added to `unreadable` and stay black; without it they raise a DataError.
    """
    thumbnails = np.zeros((len(file_names), SIDE, SIDE, 3), dtype=np.uint8)
    problems = []
    with progress("verifying pairs", len(file_names)) if progress else nullcontext(lambda done: None) as advance:
        for row, thumbnail in enumerate(in_order(partial(_thumbnail, root), file_names)):
            if not isinstance(thumbnail, ImageError):
                thumbnails[row] = thumbnail
            elif unreadable is not None:
                unreadable.append(row)
            else:
                text = f"{thumbnail}, though its table has a hash of it. Run eml scan again"
                problems.append(Problem(text, thumbnail.code))
            advance(1)
    if problems:
        more = [f"… and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
        raise DataError(problems[:SHOWN] + more, code="more-problems")
    return thumbnails


def _thumbnail(root: Path, name: str, background: Background = "contrast") -> Thumbnails | ImageError:
    try:
        image = decode(image_path(root, name), at_least=(SIDE, SIDE), background=background)
    except ImageError as error:
        return error
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def _thumbnail_on_white(root: Path, name: str) -> Thumbnails | ImageError | None:
    """Return the thumbnail of an image with transparency; None for one without."""
    try:
        if not has_transparency(image_path(root, name)):
            return None
    except ImageError as error:
        return error
    return _thumbnail(root, name, "white")


def is_same_image(thumbnails: Thumbnails, i: Indices, j: Indices) -> NDArray[np.bool_]:
    """Return (P,) whether thumbnails i[n] and j[n] show the same image.

    They do if they correlate by at least `MIN_CORRELATION` over pixels and colours, each channel minus its mean, and
    no square of 4×4 pixels differs in standardised brightness by more than `MAX_BLOCK_DIFFERENCE`: overall brightness
    and contrast do not count. Two plain images, which have no shape, are compared by their mean colours instead.
    """
    flat = thumbnails.reshape(len(thumbnails), -1, 3)
    mean = flat.mean(axis=1, dtype=np.float64)  # (N, 3)
    deviation = np.sqrt(flat.var(axis=1, dtype=np.float64).mean(axis=1))  # (N,)
    plain = deviation < MIN_DEVIATION
    squares = _squares(thumbnails)
    same = np.empty(len(i), dtype=bool)
    for start in range(0, len(i), AT_ONCE):
        a, b = i[start : start + AT_ONCE], j[start : start + AT_ONCE]
        product = np.einsum("npc,npc->nc", flat[a].astype(np.float32), flat[b].astype(np.float32))
        covariance = (product / flat.shape[1] - mean[a] * mean[b]).mean(axis=1)
        same_shape = covariance >= MIN_CORRELATION * deviation[a] * deviation[b]
        same_shape &= np.abs(squares[a] - squares[b]).max(axis=1) <= MAX_BLOCK_DIFFERENCE
        same_colour = np.abs(mean[a] - mean[b]).mean(axis=1) <= MAX_PLAIN_COLOUR_DIFFERENCE
        same[start : start + AT_ONCE] = np.where(plain[a] & plain[b], same_colour, same_shape & ~plain[a] & ~plain[b])
    return same


def _squares(thumbnails: Thumbnails) -> NDArray[np.float32]:
    """(N, 64) mean brightness of squares, standardised over the thumbnail's pixels."""
    brightness = np.empty((len(thumbnails), (SIDE // BLOCK) ** 2), dtype=np.float32)
    for start in range(0, len(thumbnails), AT_ONCE):
        luma = thumbnails[start : start + AT_ONCE].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        squares = luma.reshape(-1, SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK).mean(axis=(2, 4)).reshape(len(luma), -1)
        luma = luma.reshape(len(luma), -1)
        deviation = np.maximum(luma.std(axis=1, keepdims=True), MIN_DEVIATION)
        brightness[start : start + AT_ONCE] = (squares - luma.mean(axis=1, keepdims=True)) / deviation
    return brightness
