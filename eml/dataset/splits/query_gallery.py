"""Query and gallery: the flags of a test table, set so that no query finds an image that is nearly itself."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Indices
from eml.dataset.splits.folds import RANDOM_SEED, row_order
from eml.errors import DataError


@dataclass(frozen=True)
class QueryGalleryCounts:
    """Images of a test table by their flags."""

    queries: int
    gallery: int
    neither: int
    classes_without_query: list[str]
    """Classes of one single group, sorted; their images are gallery."""


def mark_query_gallery(
    frame: pd.DataFrame,
    groups: Indices,
    share: float | None = None,
    random_seed: int = RANDOM_SEED,
    unknown: NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    """Return the rows with `is_query` and `is_gallery`; columns of these names are replaced.

    The queries of a class are drawn group by group, and no image of their groups is in the gallery: within the class,
    a query can only find images that do not look like it or, with groups by camera, that another camera took. Images of
    other classes stay in the gallery whatever their group. A class of one single group has no query: its images are
    gallery.

    Args:
        frame: The test table.
        groups: (N,) numbers of groups within classes, as from `group_rows(…, within_class=True)`.
        share: Share of a class's images that are queries, between 0 and 1: all images of the drawn groups, as near as
            groups allow, at least one group and at most all but one. None marks one query per class, and the rest of
            its group is neither query nor gallery.
        random_seed: Draws the queries.
        unknown: (N,) whether a row is of unknown identity: it is query and gallery, for `eml evaluate` a distractor
            and a query without a right answer.

    Raises:
        DataError: The share is out of range, or no class has a query.
    """
    if share is not None and not 0 < share < 1:
        text = f"`query_share` must be between 0 and 1 (a share of each class's images), got {share}"
        raise DataError(text, code="out-of-range", parameter="query_share")
    unknown = np.zeros(len(frame), bool) if unknown is None else unknown
    order = row_order(frame)
    order = order[~unknown[order]]
    random = np.random.default_rng(random_seed)
    order = order[random.permutation(len(order))]
    labels = pd.factorize(frame["label"], sort=True)[0]
    query, gallery = np.zeros(len(frame), dtype=bool), np.ones(len(frame), dtype=bool)
    order = order[np.argsort(labels[order], kind="stable")]
    for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        group = pd.factorize(groups[rows])[0]  # in the drawn order
        by_group = np.argsort(group, kind="stable")
        members = np.split(rows[by_group], np.flatnonzero(np.diff(group[by_group])) + 1)
        if len(members) < 2:
            continue
        if share is None:
            gallery[members[0]] = False
            query[members[0][0]] = True
        else:
            drawn = np.concatenate(_draw_groups(members, share * len(rows)))
            gallery[drawn], query[drawn] = False, True
    if not query.any():
        text = "`query_gallery`: every test class is one single image or group, so there is no query"
        raise DataError(text, code="no-queries", parameter="query_gallery")
    return frame.assign(is_query=query | unknown, is_gallery=gallery)


def count_query_gallery(test: pd.DataFrame) -> QueryGalleryCounts:
    """Count the images of known identity of a table that `mark_query_gallery` has marked."""
    query, gallery = test["is_query"], test["is_gallery"]
    without = sorted(set(test["label"]) - set(test["label"][query]))
    return QueryGalleryCounts(int(query.sum()), int(gallery.sum()), int((~query & ~gallery).sum()), without)


def _draw_groups(members: list[Indices], images: float) -> list[Indices]:
    """Return the first groups that together come nearest to `images`; at least one, at most all but one."""
    together = np.cumsum([len(rows) for rows in members])[:-1]
    return members[: int(np.abs(together - images).argmin()) + 1]
