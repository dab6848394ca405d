"""Label conflicts: the same image under different labels. One of the labels is wrong, and nothing says which.

The unknown label contradicts no other: an image that is also there with a known label is of that identity.
"""

import numpy as np
import pandas as pd

from eml.dataset.duplicates.blank import blank_rows
from eml.dataset.duplicates.components import Components, Indices
from eml.dataset.duplicates.same_images import SameImages, same_images
from eml.dataset.table import Table
from eml.progress import Progress


def label_conflicts(table: Table, threshold: int, *, progress: Progress | None = None) -> pd.DataFrame:
    """Return images that occur with another label too: `group, file_name, label, distance`, with the table's index.

    Candidates are the pairs with different labels within `threshold` bits. They are conflicts where the content is
    identical, or where comparing the images themselves confirms that they are the same. `group`, from 1, numbers the
    images that such pairs connect; `distance` is in bits to the nearest such image.

    Raises:
        DataError: The table has no usable hashes, or a candidate cannot be read.
    """
    return conflicts_of(table, same_images(table, threshold, "across", progress))


def exact_conflicts(table: Table) -> pd.DataFrame:
    """Return the conflicts of identical files, by the column `content`: nothing is read. Empty without the column."""
    frame = table.frame
    group, distance = np.full((2, len(frame)), -1)
    if "content" in frame.columns:
        known = frame["label"].mask(table.is_unknown)
        inside = (known.groupby(frame["content"]).transform("nunique") > 1) & (frame["content"] != "") & known.notna()
        inside &= ~blank_rows(frame)
        group[inside], distance[inside] = pd.factorize(frame["content"][inside])[0], 0
    return _conflict_table(frame, group, distance)


def conflicts_of(table: Table, same: SameImages) -> pd.DataFrame:
    """Return the conflicts among known pairs of same images; the columns of `label_conflicts`."""
    i, j, distance = same.across()
    unknown = table.is_unknown[same.files.row]
    both_known = ~unknown[i] & ~unknown[j]
    i, j, distance = i[both_known], j[both_known], distance[both_known]
    nearest = np.full(len(same.files.row), 65)
    np.minimum.at(nearest, i, distance)
    np.minimum.at(nearest, j, distance)
    components = Components(len(nearest))
    components.add(i, j)
    inside, of_row = nearest <= 64, same.files.of_row
    return _conflict_table(table.frame, np.where(inside, components.labels(), -1)[of_row], nearest[of_row])


def _conflict_table(frame: pd.DataFrame, group: Indices, distance: Indices) -> pd.DataFrame:
    """Return the rows with a group; groups are numbered from 1 by their first file_name, whatever the row order."""
    conflicts = frame[["file_name", "label"]].assign(group=group, distance=distance)
    conflicts = conflicts[conflicts["group"] >= 0].sort_values("file_name")
    conflicts["group"] = pd.factorize(conflicts["group"])[0] + 1
    return conflicts.sort_values(["group", "file_name"])[["group", "file_name", "label", "distance"]]
