"""Queries and gallery of a table."""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from eml.dataset.columns import has_query_gallery, query_or_gallery_rows
from eml.dataset.problems import column_names
from eml.errors import DataError
from eml.retrieval.verification import OpenSet


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and gallery as rows of one frame.

    Attributes:
        frame: The images to embed, each once.
        labels: (N,) integers.
        queries: (Q,) rows of the frame. A query that is in the gallery too is not its own answer.
        gallery: (G,) rows of the frame.
        protocol: What defines queries and gallery, in words.
        groups: (N,) integers, −1 for none: a gallery image of the query's class and group is ignored.
        within: (N,) integers: a query is compared with the gallery images of its own value alone.
        rows: The rows of the table that the frame consists of; None for all.
        unknown: (N,) whether an image is of unknown identity; None without such. They share a label, are in the
            gallery as distractors and not among `queries`.
        unknown_queries: (U,) rows of those that are queries in open-set searches, where no answer is right.
        queries_of: The number of queries that `queries` were drawn from; None where they are all of them.
    """

    frame: pd.DataFrame
    labels: NDArray[np.int64]
    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]
    protocol: str
    groups: NDArray[np.int64] | None = None
    within: NDArray[np.int64] | None = None
    rows: NDArray[np.int64] | None = None
    unknown: NDArray[np.bool_] | None = None
    unknown_queries: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    queries_of: int | None = None

    @property
    def class_names(self) -> list[str]:
        """The name of each label 0…C−1."""
        first = np.unique(self.labels, return_index=True)[1]
        return [str(name) for name in self.frame["label"].to_numpy(object)[first]]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) whether an image is of known identity."""
        return np.ones(len(self.labels), bool) if self.unknown is None else ~self.unknown

    @property
    def num_classes(self) -> int:
        """The number of classes; the unknown label is none."""
        return len(np.unique(self.labels[self.known]))

    def open_set(self, embeddings: Tensor, gallery_embeddings: Tensor | None = None) -> OpenSet:
        """Return the embedded images for open-set searches, each of unknown identity as a class of its own.

        Args:
            embeddings: (N, D) of the frame's rows.
            gallery_embeddings: (N, D) by the model of the gallery, where it is not that of the queries.
        """
        if self.unknown is None:
            roles = self.queries, self.gallery, self.groups, self.within
            return OpenSet(embeddings, self.labels, *roles, gallery_embeddings=gallery_embeddings)
        labels = self.labels.copy()
        labels[self.known] = np.unique(self.labels[self.known], return_inverse=True)[1]
        labels[self.unknown] = self.num_classes + np.arange(int(self.unknown.sum()))
        queries = np.concatenate([self.queries, self.unknown_queries])
        roles = queries, self.gallery, self.groups, self.within
        return OpenSet(embeddings, labels, *roles, self.unknown, gallery_embeddings)


def build_retrieval_set(
    frame: pd.DataFrame,
    table: str,
    *,
    unknown_label: str | None = None,
    leave_out_same: str | None = None,
    within: str | None = None,
) -> RetrievalSet:
    """Return the queries and the gallery of a table: by its columns is_query and is_gallery, else leave-one-out.

    Rows that are neither query nor gallery are left out, such as the training images of a table that holds both.

    Args:
        frame: The rows of the table.
        table: Its name, for messages.
        unknown_label: The label of images of unknown identity: distractors, and queries of open-set searches alone.
        leave_out_same: A column, such as the camera: gallery images of the query's class and value are ignored.
        within: A column, such as the category: queries are compared with the gallery images of their own value alone.

    Raises:
        DataError: A column is missing, or all images are of one class.
    """
    retrieval = with_unknown(_queries_and_gallery(frame, table), unknown_label, table)
    if len(retrieval.frame) and (labels := retrieval.frame["label"].unique()).size == 1:
        raise DataError(
            f"{table}: all images are of one class, {labels[0]!r}, so every answer is right and nothing is "
            "measured; give images of two classes or more",
            code="too-few-classes",
            parameter="data",
        )
    return with_columns(retrieval, table, leave_out_same=leave_out_same, within=within)


def with_columns(
    retrieval: RetrievalSet, table: str, *, leave_out_same: str | None = None, within: str | None = None
) -> RetrievalSet:
    """Return the set with the groups and categories that columns of its frame say, as `build_retrieval_set` does.

    Raises:
        DataError: A column is missing.
    """
    groups = categories = None
    protocol = retrieval.protocol
    if leave_out_same is not None:
        protocol += f", without the same {leave_out_same}"
        groups = _column_codes(retrieval.frame, leave_out_same, table, "leave_out_same")
    if within is not None:
        protocol += f", within each {within}"
        categories = _column_codes(retrieval.frame, within, table, "within")
    return replace(retrieval, protocol=protocol, groups=groups, within=categories)


def with_unknown(retrieval: RetrievalSet, unknown_label: str | None, table: str) -> RetrievalSet:
    """Return the set without queries of unknown identity, which stay in its gallery.

    Raises:
        DataError: No query is left.
    """
    unknown = (retrieval.frame["label"] == unknown_label).to_numpy(bool)
    if unknown_label is None or not unknown.any():
        return retrieval
    of_queries = unknown[retrieval.queries]
    if of_queries.all():
        text = f"{table}: no query is of known identity: all have the unknown label {unknown_label!r}"
        raise DataError(text, code="no-queries", parameter="unknown_label")
    queries, unknown_queries = retrieval.queries[~of_queries], retrieval.queries[of_queries]
    return replace(retrieval, queries=queries, unknown=unknown, unknown_queries=unknown_queries)


def label_codes(frame: pd.DataFrame) -> NDArray[np.int64]:
    """Return the labels of a frame as (N,) integers 0…C−1 in the order of the class names."""
    return np.unique(frame["label"].to_numpy(object), return_inverse=True)[1].astype(np.int64)


def _column_codes(frame: pd.DataFrame, column: str, table: str, parameter: str) -> NDArray[np.int64]:
    """(N,) integers in the order of the values, −1 for an empty cell."""
    if column not in frame:
        names = column_names(frame)
        raise DataError(
            f"{table}: has no column {column!r}, which `{parameter}` names; it has {names}",
            code="missing-column",
            parameter=parameter,
        )
    values = frame[column]
    return pd.factorize(values.mask(values == ""), sort=True)[0].astype(np.int64)


def _queries_and_gallery(frame: pd.DataFrame, table: str) -> RetrievalSet:
    frame = frame.reset_index(drop=True)
    if ("is_query" in frame) != ("is_gallery" in frame):
        raise DataError(
            f"{table}: has only one of the columns is_query and is_gallery; both are needed", code="missing-column"
        )
    if has_query_gallery(frame):
        used = query_or_gallery_rows(frame)
        frame = frame[used].reset_index(drop=True)
        queries, gallery = (np.flatnonzero(frame[name].fillna(False)) for name in ("is_query", "is_gallery"))
        if not len(queries) or not len(gallery):
            raise DataError(
                f"{table}: {len(queries)} rows are queries and {len(gallery)} gallery; both are needed",
                code="no-queries",
            )
        return RetrievalSet(frame, label_codes(frame), queries, gallery, "query/gallery", rows=np.flatnonzero(used))
    everything = np.arange(len(frame))
    return RetrievalSet(frame, label_codes(frame), everything, everything, "leave-one-out")
