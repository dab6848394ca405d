"""Query and gallery: the flags of a test table, so that no query finds an image that is nearly itself."""

import numpy as np
import pandas as pd

from eml.dataset.duplicates.duplicates import Indices
from eml.dataset.splits.folds import RANDOM_SEED, row_order
from eml.errors import DataError


def mark_query_gallery(
    frame: pd.DataFrame, groups: Indices, share: float | None = None, random_seed: int = RANDOM_SEED
) -> pd.DataFrame:
    """The rows with `is_query` and `is_gallery`; columns of these names are replaced.

    groups: (N,) numbers of groups within classes, as `group_rows(…, within_class=True)` gives them. The queries of a
    class are drawn group by group, and none of their groups' images is in the gallery: of the class a query can only
    find what does not look like it or, for groups by camera, was not taken by its camera. Images of other classes
    stay in the gallery whatever their group.
    share: of a class's images that are queries (within 0 and 1), all images of the drawn groups; as near as groups
    allow, at least one group and all but one at most. None: one query of each class, and the rest of its group is
    neither query nor gallery. A class of one single group has no query: its images are gallery.
    Raises DataError for a share out of range and when no class has a query.
    """
    if share is not None and not 0 < share < 1:
        raise DataError(f"--query-share must be within 0 and 1 (a share of each class's images), got {share}")
    order = row_order(frame)
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
            drawn = np.concatenate(_drawn(members, share * len(rows)))
            gallery[drawn], query[drawn] = False, True
    if not query.any():
        raise DataError("--query-gallery: every test class is one single image or group, so there is no query")
    return frame.assign(is_query=query, is_gallery=gallery)


def _drawn(members: list[Indices], wanted: float) -> list[Indices]:
    """The first groups that come nearest to `wanted` images together; one at least, all but one at most."""
    together = np.cumsum([len(rows) for rows in members])[:-1]
    return members[: int(np.abs(together - wanted).argmin()) + 1]
