"""Label conflicts: the same image under different labels. One of the labels is wrong, and nothing says which."""

import numpy as np
import pandas as pd

from eml.dataset.duplicates.components import Components, Indices
from eml.dataset.duplicates.same_images import SameImages, same_images
from eml.dataset.table import Table
from eml.progress import Progress


def label_conflicts(table: Table, threshold: int, *, progress: Progress | None = None) -> pd.DataFrame:
    """Images that are there with another label too: `group, file_name, label, distance`, with the table's index.

    Candidates are the pairs with different labels within `threshold` bits; they are conflicts where the content is
    identical, or where a second look at the images themselves confirms that they are the same. group: from 1, of
    images that such pairs connect. distance: bits to the nearest such image.
    progress: (description, total) → context manager → function told how many are newly done.
    Raises DataError for a table without usable hashes, and for candidates that cannot be read.
    """
    return conflicts_of(table, same_images(table, threshold, "across", progress))


def exact_conflicts(table: Table) -> pd.DataFrame:
    """As `label_conflicts`, of identical files only, by the column `content`: nothing is read. None without it."""
    frame = table.frame
    group, distance = np.full((2, len(frame)), -1)
    if "content" in frame.columns:
        inside = (frame.groupby("content")["label"].transform("nunique") > 1) & (frame["content"] != "")
        group[inside], distance[inside] = pd.factorize(frame["content"][inside])[0], 0
    return _listed(frame, group, distance)


def conflicts_of(table: Table, same: SameImages) -> pd.DataFrame:
    """As `label_conflicts`, of pairs that were found before."""
    i, j, distance = same.across()
    nearest = np.full(len(same.files.row), 65)
    np.minimum.at(nearest, i, distance)
    np.minimum.at(nearest, j, distance)
    components = Components(len(nearest))
    components.add(i, j)
    inside, of_row = nearest <= 64, same.files.of_row
    return _listed(table.frame, np.where(inside, components.labels(), -1)[of_row], nearest[of_row])


def _listed(frame: pd.DataFrame, group: Indices, distance: Indices) -> pd.DataFrame:
    """The rows that have a group; groups are numbered from 1 by their first file_name, whatever the order of rows."""
    listed = frame[["file_name", "label"]].assign(group=group, distance=distance)
    listed = listed[listed["group"] >= 0].sort_values("file_name")
    listed["group"] = pd.factorize(listed["group"])[0] + 1
    return listed.sort_values(["group", "file_name"])[["group", "file_name", "label", "distance"]]
