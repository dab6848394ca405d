"""Which rows of a table are queries and which are the gallery."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.columns import has_query_gallery, query_or_gallery_rows
from eml.errors import DataError


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and gallery as rows of one frame.

    frame: the images that must be embedded, each once. queries, gallery: positions in it; where the two overlap, a
    query is left out of its own gallery. labels: (len(frame),) integers. groups: (len(frame),) integers, −1 for none: a
    gallery image of the query's class and group does not count. within: (len(frame),) integers: a query is compared
    with the gallery images of its own value alone. rows: which rows of the table it was made from these are, None for
    all of them.
    """

    frame: pd.DataFrame
    labels: NDArray[np.int64]
    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]
    protocol: str
    groups: NDArray[np.int64] | None = None
    within: NDArray[np.int64] | None = None
    rows: NDArray[np.int64] | None = None


def retrieval_set(
    frame: pd.DataFrame, where: str, *, leave_out_same: str | None = None, within: str | None = None
) -> RetrievalSet:
    """Query and gallery by the columns is_query and is_gallery where they say so, leave-one-out otherwise.

    Rows that are neither are left out, as the training images of a table that holds both. leave_out_same: a column,
    such as the camera: gallery images of the query's class and value do not count. within: a column, such as the
    category: queries are compared with the gallery images of their own value alone. Raises DataError without these
    columns, and for images of one class alone.
    """
    wanted = _queries_and_gallery(frame, where)
    if len(wanted.frame) and (labels := wanted.frame["label"].unique()).size == 1:
        raise DataError(
            f"{where}: all images are of one class, {labels[0]!r}, so that every answer is right and nothing is "
            "measured; give images of two classes or more"
        )
    protocol, codes = wanted.protocol, {}
    for column, text in ((leave_out_same, "without the same"), (within, "within each")):
        if column is not None:
            protocol += f", {text} {column}"
            codes[text] = _column_codes(wanted.frame, column, where)
    return replace(wanted, protocol=protocol, groups=codes.get("without the same"), within=codes.get("within each"))


def _column_codes(frame: pd.DataFrame, column: str, where: str) -> NDArray[np.int64]:
    """(N,) integers in the order of the values, −1 for an empty cell."""
    if column not in frame:
        raise DataError(f"{where}: has no column {column!r}; it has {', '.join(map(str, frame))}")
    values = frame[column]
    return pd.factorize(values.mask(values == ""), sort=True)[0].astype(np.int64)


def _queries_and_gallery(frame: pd.DataFrame, where: str) -> RetrievalSet:
    frame = frame.reset_index(drop=True)
    if ("is_query" in frame) != ("is_gallery" in frame):
        raise DataError(f"{where}: has one of the columns is_query and is_gallery without the other; both are needed")
    if has_query_gallery(frame):
        used = query_or_gallery_rows(frame)
        frame = frame[used].reset_index(drop=True)
        queries, gallery = (np.flatnonzero(frame[name].fillna(False)) for name in ("is_query", "is_gallery"))
        if not len(queries) or not len(gallery):
            raise DataError(f"{where}: {len(queries)} rows are queries and {len(gallery)} gallery; both are needed")
        return RetrievalSet(frame, _codes(frame), queries, gallery, "query/gallery", rows=np.flatnonzero(used))
    everything = np.arange(len(frame))
    return RetrievalSet(frame, _codes(frame), everything, everything, "leave-one-out")


def _codes(frame: pd.DataFrame) -> NDArray[np.int64]:
    return np.unique(frame["label"].to_numpy(str), return_inverse=True)[1].astype(np.int64)
