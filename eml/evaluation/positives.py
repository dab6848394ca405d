"""Check that queries have positives, and name the cause where none has: before anything is embedded."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eml.errors import DataError
from eml.evaluation.retrieval_set import RetrievalSet


class Cause(NamedTuple):
    """Why no query has a positive, what to do, and the parameter to blame."""

    reason: str
    advice: str
    parameter: str


def refuse_without_positives(
    retrieval: RetrievalSet, table: str, *, leave_out_same: str | None = None, within: str | None = None
) -> None:
    """Raise a DataError that names the cause if no query of a set has a positive.

    Args:
        retrieval: The set.
        table: Its name, for the message.
        leave_out_same: The column by which gallery images are ignored.
        within: The column within which queries are compared.
    """
    if positive_counts(retrieval).any() or not len(retrieval.queries):
        return
    cause = next(_causes(retrieval, leave_out_same, within))
    reason = f"{table}: no query has a positive (another image of its class in its gallery): {cause.reason}"
    raise DataError(f"{reason}. {cause.advice}", code="no-positives", parameter=cause.parameter)


def positive_counts(
    retrieval: RetrievalSet, *, with_groups: bool = True, with_within: bool = True
) -> NDArray[np.int64]:
    """Return (Q,) the number of positives of each query.

    Args:
        retrieval: The set.
        with_groups: Leave out the gallery images of the query's class and group, if the set has groups.
        with_within: Compare within each value alone, if the set has such.
    """
    queries, gallery = retrieval.queries, retrieval.gallery
    codes = [retrieval.labels]
    if with_within and retrieval.within is not None:
        codes.append(retrieval.within)
    same_class = _codes(codes)
    positives = _in_gallery(same_class, gallery)[queries]
    left_out = np.isin(queries, gallery).astype(np.int64)  # itself
    if with_groups and retrieval.groups is not None:
        in_group = _in_gallery(_codes([same_class, retrieval.groups]), gallery)[queries]
        left_out = np.where(retrieval.groups[queries] >= 0, in_group, left_out)
    return np.asarray(positives - left_out)


def _codes(columns: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """(N,) integers 0…, equal for rows that are equal in every column."""
    codes = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values = np.unique(column, return_inverse=True)[1]
        codes = np.unique(codes * (int(values.max(initial=0)) + 1) + values, return_inverse=True)[1].astype(np.int64)
    return codes


def _in_gallery(codes: NDArray[np.int64], gallery: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) number of gallery images with the code of each row."""
    return np.bincount(codes[gallery], minlength=int(codes.max(initial=0)) + 1)[codes].astype(np.int64)


def _causes(retrieval: RetrievalSet, leave_out_same: str | None, within: str | None) -> Iterator[Cause]:
    """Yield the causes at work; the first one is enough to leave no query a positive, whatever else is."""
    if not positive_counts(retrieval, with_groups=False, with_within=False).any():
        yield _cause_of_classes(retrieval)
    if not positive_counts(retrieval, with_groups=False).any():
        yield Cause(
            f"within each value of {within}, no query's class has another image",
            f"Leave out `within`, or give a column whose values hold several images of a class, not {within}",
            "within",
        )
    if not positive_counts(retrieval, with_within=False).any():
        yield _cause_of_groups(retrieval, str(leave_out_same))
    yield Cause(
        f"without the images of the query's {leave_out_same}, no class has an image of the same {within} left",
        "Give one of `leave_out_same` and `within`",
        "leave_out_same",
    )


def _cause_of_classes(retrieval: RetrievalSet) -> Cause:
    if retrieval.protocol.startswith("leave-one-out"):
        return Cause("each class has 1 image", "Give classes with at least 2 images", "data")
    labels = retrieval.labels
    shared = np.isin(labels[retrieval.queries], labels[retrieval.gallery])
    if shared.any():
        reason = "the only gallery image of a query's class is the query itself"
        return Cause(reason, "Give the gallery more images of these classes", "data")
    counts = [f"{len(np.unique(labels[rows])):,}" for rows in (retrieval.queries, retrieval.gallery)]
    reason = f"the queries are of {counts[0]} classes, the gallery is of {counts[1]} others"
    return Cause(reason, "Correct the columns is_query and is_gallery", "data")


def _cause_of_groups(retrieval: RetrievalSet, column: str) -> Cause:
    assert retrieval.groups is not None, "without groups nothing is left out"
    values = retrieval.frame[column]
    present = values[retrieval.groups >= 0].unique()
    if len(present) == 1:
        reason = f"all images have {column} {str(present[0])!r}, so `leave_out_same` {column} leaves out every positive"
    else:
        reason = f"each class has images of one {column} only, so `leave_out_same` {column} leaves out every positive"
    advice = f"Leave out `leave_out_same`, or give images of each class from several {column}s"
    return Cause(reason, advice, "leave_out_same")
