"""The embedding map: images as points in a plane."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray
from torch import Tensor

from eml.evaluation.retrieval_set import RetrievalSet
from eml.reports.evaluation.projections import TITLES, ProjectionName, project

Integers = NDArray[np.int64]

POINTS, THUMBNAILS, COLOURED = 3000, 300, 8
OF_A_COLOURED_CLASS = 120  # points at most, if not all fit
SIDE, LOWEST = 1000, 400  # units: width of the plane, and its least height
CELLS = 18  # along each side of the plane; thumbnails are spread over them
SEED = 28
PCA: ProjectionName = "pca"
SIZE, DENSE, SMALL = 9.0, 1000, 7.0  # units, half of a symbol; smaller with many points

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
"""Corners of the symbols, in half widths from the middle."""


@dataclass(frozen=True)
class Plane:
    """One projection of the images.

    Attributes:
        kind: The projection: pca, tsne or umap.
        place: (P, 2) coordinates within 1000 × height.
        height: The height of the plane.
    """

    kind: ProjectionName
    place: NDArray[np.float64]
    height: int


@dataclass(frozen=True)
class EmbeddingMap:
    """Images as points in a plane.

    Attributes:
        rows: (P,) rows of the set's frame.
        planes: The projections, the one to show first in front; the last one is always by principal components.
        coloured: The labels that have a colour, the largest class first.
        with_thumbnail: (P,) whether the point has a thumbnail.
        variance: The share of the variance along the first two principal components.
    """

    rows: Integers
    planes: tuple[Plane, ...]
    coloured: list[int]
    with_thumbnail: NDArray[np.bool_]
    variance: float


def embedding_map(embeddings: Tensor, labels: Integers, kind: ProjectionName = "pca") -> EmbeddingMap | None:
    """Project at most 3,000 images on planes; None if there is nothing to spread.

    From more images it takes up to 120 of each of the 8 largest classes, the others evenly over the classes.

    Args:
        embeddings: (N, D).
        labels: (N,) class numbers.
        kind: The projection to show first; that on the principal components stands beside any other.
    """
    coloured = np.argsort(-np.bincount(labels), kind="stable")[:COLOURED].tolist()
    rows = np.sort(_choose_rows(labels, coloured))
    if len(rows) < 3 or embeddings.shape[1] < 2:
        return None
    vectors = embeddings[rows].double()
    vectors /= vectors.norm(dim=1, keepdim=True)
    if float(vectors.std(0).max()) == 0:
        return None
    planes = []
    for name in dict.fromkeys((kind, PCA)):
        places, variance = project(vectors.numpy(), name)
        planes.append(_fit_plane(name, places))
    return EmbeddingMap(rows, tuple(planes), coloured, _choose_thumbnails(planes[0].place), variance)


def _fit_plane(kind: ProjectionName, places: NDArray[np.float64]) -> Plane:
    """Scale places to the width of the plane, or to its largest height."""
    low, high = places.min(0), places.max(0)
    scale = (SIDE - 4 * SIZE) / max(float((high - low).max()), 1e-12)
    height = max(LOWEST, int((high - low)[1] * scale + 4 * SIZE))
    return Plane(kind, (places - (low + high) / 2) * scale * [1, -1] + [SIDE / 2, height / 2], height)


def _choose_rows(labels: Integers, coloured: list[int]) -> Integers:
    """Return at most 3,000 rows."""
    if len(labels) <= POINTS:
        return np.arange(len(labels))
    shuffled = np.random.default_rng(SEED).permutation(len(labels))
    turn = pd.Series(labels[shuffled]).groupby(labels[shuffled]).cumcount().to_numpy()
    first = np.isin(labels[shuffled], coloured) & (turn < OF_A_COLOURED_CLASS)
    others = np.flatnonzero(~first)
    others = others[np.argsort(turn[others], kind="stable")]
    chosen: Integers = shuffled[np.concatenate([np.flatnonzero(first), others])[:POINTS]]
    return chosen


def _choose_thumbnails(place: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(P,) whether a point gets a thumbnail: one of every cell of the plane, then another, …"""
    shuffled = np.random.default_rng(SEED).permutation(len(place))
    cell = (place[shuffled] / SIDE * CELLS).astype(int) @ np.array([CELLS + 1, 1])
    turn = pd.Series(cell).groupby(cell).cumcount().to_numpy()
    chosen = np.zeros(len(place), bool)
    chosen[shuffled[np.argsort(turn, kind="stable")[:THUMBNAILS]]] = True
    return chosen


def draw_map(plane: EmbeddingMap, labels: Integers) -> Markup:
    """Return the points as SVG paths, one for each coloured class and one for all others, with different symbols."""
    label_of = labels[plane.rows]
    kind = np.full(len(label_of), -1)
    for number, label in enumerate(plane.coloured):
        kind[label_of == label] = number
    size = symbol_size(plane)
    parts = []
    for number in (-1, *range(len(plane.coloured))):
        shape = symbol(number, size)
        drawn = "".join(f"M{x:.0f},{y:.0f}{shape}" for x, y in plane.planes[0].place[kind == number])
        if drawn:
            parts.append(Markup('<path class="points c{}" d="{}"/>').format("x" if number < 0 else number, drawn))
    return Markup("").join(parts)


def symbol_size(plane: EmbeddingMap) -> float:
    """Return about half of the width of a symbol, in units of the plane."""
    return SIZE if len(plane.rows) <= DENSE else SMALL


def symbol(number: int, size: float) -> str:
    """Return the outline of a symbol as an SVG path relative to its middle.

    Args:
        number: 0…7 for the coloured classes, else a small disc.
        size: About half of its width.
    """
    corners = CORNERS[number] if 0 <= number < COLOURED else ()
    if not corners:
        r = size if number == 0 else size * 0.55
        return f"m-{r:.4g},0a{r:.4g},{r:.4g} 0 1 0 {2 * r:.4g},0a{r:.4g},{r:.4g} 0 1 0 -{2 * r:.4g},0z"
    steps = [(x - x0, y - y0) for (x0, y0), (x, y) in pairwise([(0.0, 0.0), *corners])]
    first, *others = (f"{x * size:.3g},{y * size:.3g}" for x, y in steps)
    return f"m{first}l{' '.join(others)}z"


def map_data(plane: EmbeddingMap, retrieval: RetrievalSet, sources: dict[int, str]) -> dict[str, object]:
    """Return what the page's script needs: each point's numbers of its class and thumbnail, its places, the names.

    sources: row → thumbnail.
    """
    names = retrieval.class_names
    classes, class_of = np.unique(retrieval.labels[plane.rows], return_inverse=True)
    images = [row for row in plane.rows.tolist() if sources.get(row)]
    number = {row: place for place, row in enumerate(images)}
    place_of = {label: place for place, label in enumerate(classes.tolist())}
    return {
        "points": [
            [label, number.get(row, -1)] for label, row in zip(class_of.tolist(), plane.rows.tolist(), strict=True)
        ],
        "planes": [
            {
                "kind": projected.kind,
                "title": TITLES[projected.kind],
                "height": projected.height,
                "places": np.rint(projected.place).astype(int).tolist(),
            }
            for projected in plane.planes
        ],
        "classes": [names[label] for label in classes],
        "coloured": [place_of[label] for label in plane.coloured],
        "symbols": [symbol(number, symbol_size(plane)) for number in range(-1, COLOURED)],
        "names": retrieval.frame["file_name"].iloc[plane.rows].tolist(),
        "images": [sources[row] for row in images],
    }
