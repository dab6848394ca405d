"""The embedding map: images as points in a plane."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray
from torch import Tensor

from eml.reports.evaluation.evaluated import Integers, Wanted, class_names

POINTS, THUMBNAILS, COLOURED = 3000, 300, 8
OF_A_COLOURED_CLASS = 120  # points at most, where not all fit
SIDE, LOWEST = 1000, 400  # units: width of the plane, and its height at least
CELLS = 18  # of the plane along each side, for thumbnails from everywhere
SEED = 28
SIZE, DENSE, SMALL = 9.0, 1000, 7.0  # units, half of a symbol; where there are many points, smaller

CORNERS: tuple[tuple[tuple[float, float], ...], ...] = (
    (),  # a disc
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.2), (1.2, 0.9), (-1.2, 0.9)),
    ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    ((0, 1.2), (1.2, -0.9), (-1.2, -0.9)),
    (
        *((-0.35, -1.25), (0.35, -1.25), (0.35, -0.35), (1.25, -0.35), (1.25, 0.35), (0.35, 0.35)),
        *((0.35, 1.25), (-0.35, 1.25), (-0.35, 0.35), (-1.25, 0.35), (-1.25, -0.35), (-0.35, -0.35)),
    ),
    ((-1.3, -0.6), (1.3, -0.6), (1.3, 0.6), (-1.3, 0.6)),
    ((-0.6, -1.3), (0.6, -1.3), (0.6, 1.3), (-0.6, 1.3)),
)
"""Of the symbols, in half widths from the middle."""


@dataclass(frozen=True)
class EmbeddingMap:
    """rows: (P,) in the set's frame. place: (P, 2) in 1000 × height.

    coloured: labels that have a colour, largest first. with_thumbnail: (P,). variance: share that the two axes hold.
    """

    rows: Integers
    place: NDArray[np.float64]
    height: int
    coloured: list[int]
    with_thumbnail: NDArray[np.bool_]
    variance: float


def embedding_map(embeddings: Tensor, labels: Integers) -> EmbeddingMap | None:
    """The two first principal components of at most 3,000 images; None where there is nothing to spread.

    Of more, up to 120 of each of the 8 largest classes, and of the others as evenly over the classes as they go.
    """
    coloured = np.argsort(-np.bincount(labels), kind="stable")[:COLOURED].tolist()
    rows = np.sort(_spread(labels, coloured))
    if len(rows) < 3 or embeddings.shape[1] < 2:
        return None
    from sklearn.decomposition import PCA

    vectors = embeddings[rows].double()
    vectors /= vectors.norm(dim=1, keepdim=True)
    if float(vectors.std(0).max()) == 0:
        return None
    fitted = PCA(2, svd_solver="randomized", random_state=SEED)
    plane = fitted.fit_transform(vectors.numpy())
    low, high = plane.min(0), plane.max(0)
    scale = (SIDE - 4 * SIZE) / float((high - low).max())
    height = max(LOWEST, int((high - low)[1] * scale + 4 * SIZE))
    place = (plane - (low + high) / 2) * scale * [1, -1] + [SIDE / 2, height / 2]
    variance = float(fitted.explained_variance_ratio_.sum())
    return EmbeddingMap(rows, place, height, coloured, _everywhere(place), variance)


def _spread(labels: Integers, coloured: list[int]) -> Integers:
    if len(labels) <= POINTS:
        return np.arange(len(labels))
    shuffled = np.random.default_rng(SEED).permutation(len(labels))
    turn = pd.Series(labels[shuffled]).groupby(labels[shuffled]).cumcount().to_numpy()
    first = np.isin(labels[shuffled], coloured) & (turn < OF_A_COLOURED_CLASS)
    others = np.flatnonzero(~first)
    others = others[np.argsort(turn[others], kind="stable")]
    chosen: Integers = shuffled[np.concatenate([np.flatnonzero(first), others])[:POINTS]]
    return chosen


def _everywhere(place: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(P,) which points get a thumbnail: one of every part of the plane, then another, …"""
    shuffled = np.random.default_rng(SEED).permutation(len(place))
    cell = (place[shuffled] / SIDE * CELLS).astype(int) @ np.array([CELLS + 1, 1])
    turn = pd.Series(cell).groupby(cell).cumcount().to_numpy()
    chosen = np.zeros(len(place), bool)
    chosen[shuffled[np.argsort(turn, kind="stable")[:THUMBNAILS]]] = True
    return chosen


def draw_map(made: EmbeddingMap, labels: Integers) -> Markup:
    """The points as SVG paths, one for each coloured class and one for all others; symbols tell the classes too."""
    of = labels[made.rows]
    kind = np.full(len(of), -1)
    for number, label in enumerate(made.coloured):
        kind[of == label] = number
    size = SIZE if len(of) <= DENSE else SMALL
    parts = []
    for number in (-1, *range(len(made.coloured))):
        shape = symbol(number, size)
        drawn = "".join(f"M{x:.0f},{y:.0f}{shape}" for x, y in made.place[kind == number])
        if drawn:
            parts.append(Markup('<path class="points c{}" d="{}"/>').format("x" if number < 0 else number, drawn))
    return Markup("").join(parts)


def symbol(number: int, size: float) -> str:
    """The way around a symbol from its middle, relative: 0…7 for the coloured classes, else a small disc.

    size: half of its width, about.
    """
    corners = CORNERS[number] if 0 <= number < COLOURED else ()
    if not corners:
        r = size if number == 0 else size * 0.55
        return f"m-{r:.4g},0a{r:.4g},{r:.4g} 0 1 0 {2 * r:.4g},0a{r:.4g},{r:.4g} 0 1 0 -{2 * r:.4g},0z"
    steps = [(x - x0, y - y0) for (x0, y0), (x, y) in pairwise([(0.0, 0.0), *corners])]
    first, *others = (f"{x * size:.3g},{y * size:.3g}" for x, y in steps)
    return f"m{first}l{' '.join(others)}z"


def map_data(made: EmbeddingMap, wanted: Wanted, sources: dict[int, str]) -> dict[str, object]:
    """What the page's script shows: x, y, place of the class name and of the thumbnail of each point, file names.

    sources: row → thumbnail.
    """
    names = class_names(wanted)
    classes, of = np.unique(wanted.labels[made.rows], return_inverse=True)
    images = [row for row in made.rows.tolist() if sources.get(row)]
    number = {row: at for at, row in enumerate(images)}
    return {
        "points": [
            [round(x), round(y), label, number.get(row, -1)]
            for (x, y), label, row in zip(made.place.tolist(), of.tolist(), made.rows.tolist(), strict=True)
        ],
        "classes": [names[label] for label in classes],
        "names": wanted.frame["file_name"].iloc[made.rows].tolist(),
        "images": [sources[row] for row in images],
    }
