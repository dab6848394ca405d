"""Retrieval metrics of a model on a set: embed, rank, summarise. Training and `eml evaluate` share this code."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eml.dataset.sidecar import UNKNOWN_LABEL
from eml.dataset.table import Table
from eml.evaluation.drawn_queries import draw_queries
from eml.evaluation.positives import refuse_without_positives
from eml.evaluation.retrieval_set import RetrievalSet, build_retrieval_set
from eml.evaluation.texts.embedded import EmbeddedTexts
from eml.evaluation.trained_overlap import UNKNOWN_OVERLAP, TrainedOverlap
from eml.evaluation.whitening import Whitening
from eml.images.preprocess import Preprocess
from eml.images.source import ImageSource
from eml.inference.any_model import AnyModel
from eml.inference.embed import Batching, embed_table
from eml.models.calibration import Calibration
from eml.models.config import VIEWS
from eml.models.fingerprint import Fingerprint
from eml.retrieval.device import computing_on
from eml.retrieval.metrics import Summary, metrics_at, summarise
from eml.retrieval.ranking import Ranking, rank

Ranker = Callable[..., Iterator[Ranking]]
"""Ranks a gallery for queries, with the parameters of `eml.retrieval.ranking.rank`."""


@dataclass(frozen=True)
class Evaluation:
    """One model measured on one set.

    Attributes:
        name: The model, as it was named by the user.
        table: The table of the images.
        retrieval: Queries and gallery.
        embeddings: (N, D) float32 on the CPU, of the rows of `retrieval.frame`; (0, D) after `without_embeddings`.
        summary: The metrics.
        preprocess: The preprocessing of the images; None for embeddings from a file.
        calibration: The calibration of the checkpoint, if it was calibrated.
        trained_on: How much of the set the model was trained on.
        weights_digest: The digest of the checkpoint's weights; None for a model without a checkpoint.
        fingerprint: Of the model; None for embeddings from a file, and during training.
        calibration_mismatch: Why the checkpoint's calibration is not that of the model as it is loaded; else empty.
        whitening: The whitening of the model's embeddings, where one was learnt.
        texts: The texts of the set, embedded by the model, where there are any.
        gallery_model: Another model alone on the set, whose embeddings are the gallery; None: this model's are. The
            calibration is that model's, as that of an index would be.
        alone: The metrics of this model alone, where the gallery is another's.
    """

    name: str
    table: Table
    retrieval: RetrievalSet
    embeddings: Tensor
    summary: Summary
    preprocess: Preprocess | None = None
    calibration: Calibration | None = None
    trained_on: TrainedOverlap = UNKNOWN_OVERLAP
    weights_digest: str | None = None
    fingerprint: Fingerprint | None = None
    calibration_mismatch: str = ""
    whitening: Whitening | None = None
    texts: EmbeddedTexts | None = None
    gallery_model: "Evaluation | None" = None
    alone: Summary | None = None

    @property
    def title(self) -> str:
        """The model, with that of the gallery where it is another one."""
        return self.name if self.gallery_model is None else f"{self.name} on the gallery of {self.gallery_model.name}"

    @property
    def gallery_embeddings(self) -> Tensor:
        """(N, D) embeddings of the gallery, of the rows of `retrieval.frame`."""
        return self.embeddings if self.gallery_model is None else self.gallery_model.embeddings

    @property
    def size(self) -> int:
        """The embedding size D."""
        return self.embeddings.shape[1]

    @cached_property
    def table_digest(self) -> str | None:
        """The digest of the table's file, read once."""
        return self.table.digest

    @property
    def threshold(self) -> float | None:
        """The calibrated threshold, the lowest cosine that is accepted."""
        return self.calibration.threshold.value if self.calibration else None

    @property
    def is_calibrated_here(self) -> bool:
        """Whether the threshold was chosen on this very table, which flatters its rates."""
        digest = self.calibration.table_digest if self.calibration else None
        return digest is not None and digest == self.table_digest

    @property
    def calibrated_on(self) -> TrainedOverlap:
        """How much of the images that the threshold was chosen on the model was trained on, which flatters it."""
        return TrainedOverlap.of_facts(self.calibration.trained_on if self.calibration else None)

    def without_embeddings(self) -> "Evaluation":
        """Return a copy without the embeddings, which take most of the memory."""
        texts = self.texts and self.texts.without_vectors()
        gallery = self.gallery_model and self.gallery_model.without_embeddings()
        released = replace(self, embeddings=self.embeddings[:0].clone(), texts=texts, gallery_model=gallery)
        released.__dict__["table_digest"] = self.table_digest  # the file is not read again, as it may change
        return released

    def _unknown_facts(self) -> dict[str, Any]:
        """Return the unknown label and the number of its images; nothing without such."""
        unknown = self.retrieval.unknown
        if unknown is None:
            return {}
        return {UNKNOWN_LABEL: self.table.unknown_label, "unknown_images": int(unknown.sum())}

    def _drawn_facts(self) -> dict[str, Any]:
        """Return how many queries were drawn, and of how many; nothing where all were taken."""
        number = self.retrieval.queries_of
        return {} if number is None else {"queries_drawn": len(self.retrieval.queries), "queries_drawn_of": number}

    def _gallery_facts(self) -> dict[str, Any]:
        """Return the model of the gallery, and both models alone; nothing where there is one model."""
        if self.gallery_model is None or self.alone is None:
            return {}
        facts = self.gallery_model.facts()
        names = ("checkpoint", "weights_digest", "fingerprint", "precision", "tta", "image_size", "preprocess")
        own = {name: facts[name] for name in (*names, "trained_on", "metrics") if name in facts}
        return {"gallery_model": own, "alone": self.alone.values}

    def _model_facts(self) -> dict[str, Any]:
        """Return how the model embedded the images; nothing for embeddings from a file."""
        fingerprint = self.fingerprint
        if fingerprint is None:
            return {}
        facts: dict[str, Any] = {"weights": fingerprint.weights, "precision": fingerprint.precision}
        facts |= {"tta": fingerprint.tta, "views": VIEWS[fingerprint.tta], "image_size": fingerprint.preprocess.size}
        return {"fingerprint": fingerprint.digest, **facts, "calibration_mismatch": self.calibration_mismatch or None}

    def facts(self) -> dict[str, Any]:
        """Return the part of metrics.json with the protocol, the counts and the metrics."""
        path, summary = self.table.path, self.summary
        return {
            "checkpoint": self.name,
            "weights_digest": self.weights_digest,
            "table": str(path),
            "table_digest": self.table_digest,
            "protocol": self.retrieval.protocol,
            "images": len(self.retrieval.frame),
            "classes": self.retrieval.num_classes,
            **self._unknown_facts(),
            "queries": summary.queries,
            **self._drawn_facts(),
            "queries_without_positive": summary.queries_without_positive,
            "gallery": summary.gallery,
            "trained_on": self.trained_on.facts(),
            "embedding_size": self.size,
            "preprocess": self.preprocess.model_dump(mode="json") if self.preprocess else None,
            **self._model_facts(),
            "metrics": summary.values,
            **self._gallery_facts(),
        }


def evaluate_model(
    model: AnyModel,
    table: Table,
    retrieval: RetrievalSet,
    *,
    batching: Batching | None = None,
    source: ImageSource | None = None,
    progress: Callable[[int], None] | None = None,
    recall_at: Sequence[int] = (),
) -> Evaluation:
    """Embed every image of the set once, rank the gallery for every query and summarise the metrics.

    Args:
        model: The model.
        table: The table of the images.
        retrieval: Its queries and gallery.
        batching: Batch size, workers, and the processes that share the images. The first one ranks; the summary is
            the same in all of them, the embeddings are in the first one alone.
        source: An image cache of the set's images; by default images are read from their files.
        progress: Called with the number of images embedded since the last call.
        recall_at: The Ks of R@K; none for the usual ones.

    Raises:
        DataError: An image cannot be read, or no query has a positive.
    """
    batching = batching or Batching()
    embeddings = embed_table(model, table, retrieval.frame, batching=batching, source=source, progress=progress)
    metrics = metrics_at(recall_at)
    with computing_on(model.device):
        summary = batching.processes.from_first(lambda: summarise(rank_gallery(embeddings, retrieval), metrics))
    return Evaluation(
        model.source,
        table,
        retrieval,
        embeddings,
        summary,
        model.preprocess,
        model.calibration,
        calibration_mismatch=model.calibration_mismatch,
    )


def evaluate_embeddings(
    name: str,
    embeddings: Tensor,
    table: Table,
    *,
    leave_out_same: str | None = None,
    within: str | None = None,
    queries: int | None = None,
    recall_at: Sequence[int] = (),
) -> Evaluation:
    """Evaluate embeddings (N, D) of all rows of a table in their order.

    Args:
        name: A name for the model that made them.
        embeddings: (N, D).
        table: The table of the images.
        leave_out_same: See `build_retrieval_set`.
        within: See `build_retrieval_set`.
        queries: See `draw_queries`.
        recall_at: The Ks of R@K; none for the usual ones.

    Raises:
        DataError: A column is missing, or no query has a positive.
    """
    columns = {"leave_out_same": leave_out_same, "within": within}
    retrieval = build_retrieval_set(table.frame, table.name, unknown_label=table.unknown_label, **columns)
    refuse_without_positives(retrieval, table.name, **columns)
    retrieval = draw_queries(retrieval, queries)
    embeddings = embeddings if retrieval.rows is None else embeddings[retrieval.rows]
    summary = summarise(rank_gallery(embeddings, retrieval), metrics_at(recall_at))
    return Evaluation(name, table, retrieval, embeddings, summary)


def rank_gallery(
    embeddings: Tensor, retrieval: RetrievalSet, ranker: Ranker = rank, *, gallery_embeddings: Tensor | None = None
) -> Iterator[Ranking]:
    """Rank the gallery of a set for its queries.

    Args:
        embeddings: (N, D), of the rows of `retrieval.frame`.
        retrieval: Queries and gallery.
        ranker: Ranks by the cosine, or after a post-processing.
        gallery_embeddings: (N, D) by the model of the gallery, where it is not that of the queries.

    Yields:
        Rankings whose queries are numbered as in `retrieval.queries`, gallery images as in `retrieval.gallery`.
    """
    both = embeddings, embeddings if gallery_embeddings is None else gallery_embeddings
    if retrieval.within is None:
        everything = (np.arange(len(rows)) for rows in (retrieval.queries, retrieval.gallery))
        yield from _rank_part(both, retrieval, ranker, *everything)
        return
    for value in np.unique(retrieval.within[retrieval.queries]):
        queries = np.flatnonzero(retrieval.within[retrieval.queries] == value)
        gallery = np.flatnonzero(retrieval.within[retrieval.gallery] == value)
        for ranking in _rank_part(both, retrieval, ranker, queries, gallery):
            nearest = np.where(ranking.nearest < 0, -1, gallery[ranking.nearest] if len(gallery) else -1)
            yield replace(ranking, queries=queries[ranking.queries], nearest=nearest)


def _rank_part(
    embeddings: tuple[Tensor, Tensor],
    retrieval: RetrievalSet,
    ranker: Ranker,
    queries: NDArray[np.int64],
    gallery: NDArray[np.int64],
) -> Iterator[Ranking]:
    """Rank some of the gallery for some of the queries, both by their numbers. embeddings: of queries, of gallery."""
    query_rows, gallery_rows = retrieval.queries[queries], retrieval.gallery[gallery]
    number = np.full(len(retrieval.frame), -1)
    number[gallery_rows] = np.arange(len(gallery_rows))
    groups = retrieval.groups
    return (ranker if len(gallery) else rank)(
        _select_rows(embeddings[0], query_rows),
        retrieval.labels[query_rows],
        _select_rows(embeddings[1], gallery_rows),
        retrieval.labels[gallery_rows],
        itself=number[query_rows],
        query_groups=None if groups is None else groups[query_rows],
        gallery_groups=None if groups is None else groups[gallery_rows],
    )


def _select_rows(embeddings: Tensor, rows: NDArray[np.int64]) -> Tensor:
    """Return some rows of the embeddings, without a copy if they are all of them in order."""
    return embeddings if np.array_equal(rows, np.arange(len(embeddings))) else embeddings[rows]
