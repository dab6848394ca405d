"""Retrieval metrics of a model on a set: the same code during training and in `eml evaluate`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.evaluation.retrieval_set import RetrievalSet, retrieval_set
from eml.images.preprocess import Preprocess
from eml.images.source import ImageSource
from eml.inference.embed import embed_together
from eml.inference.images import table_images
from eml.inference.model import Model
from eml.models.calibration import Calibration
from eml.retrieval.metrics import Summary, summarise
from eml.retrieval.ranking import Ranking, rank


@dataclass(frozen=True)
class Evaluation:
    """What is known of one model on one set.

    embeddings: (N, D) float32 of the set's frame, on the CPU. name: of the model, as it was asked for.
    calibration: of the checkpoint, if it was calibrated.
    """

    name: str
    table: Table
    wanted: RetrievalSet
    embeddings: Tensor
    summary: Summary
    preprocess: Preprocess | None = None
    calibration: Calibration | None = None

    @property
    def threshold(self) -> float | None:
        """From which cosine on an answer is accepted."""
        return self.calibration.threshold.value if self.calibration else None

    @cached_property
    def calibrated_here(self) -> bool:
        """Whether the threshold was chosen on this very table, which flatters what it accepts and refuses."""
        chosen_on = self.calibration.table_digest if self.calibration else None
        return chosen_on is not None and chosen_on == self.table.digest

    def facts(self) -> dict[str, Any]:
        """What metrics.json says: the protocol, what was counted, the metrics."""
        path, summary = self.table.path, self.summary
        return {
            "checkpoint": self.name,
            "table": str(path),
            "table_digest": self.table.digest,
            "protocol": self.wanted.protocol,
            "images": len(self.wanted.frame),
            "classes": int(self.wanted.frame["label"].nunique()),
            "queries": summary.queries,
            "queries_without_positive": summary.queries_without_positive,
            "gallery": summary.gallery,
            "embedding_size": self.embeddings.shape[1],
            "preprocess": self.preprocess.model_dump(mode="json") if self.preprocess else None,
            "metrics": summary.values,
        }


def evaluate(
    model: Model,
    table: Table,
    wanted: RetrievalSet,
    *,
    batch_size: int = 64,
    workers: int = 0,
    source: ImageSource | None = None,
    progress: Callable[[int], None] | None = None,
    processes: Processes = SINGLE_PROCESS,
) -> Summary:
    """Embed every image of the set once and rank the gallery for every query.

    source: where the set's images come from; None: their files.
    progress: called with the number of images done since the last call. processes: that share the images; the
    summary is the same in all of them, and that of one alone.
    Raises DataError when an image cannot be read or no query has a positive.
    """
    return evaluation_of(
        "",
        model,
        table,
        wanted,
        batch_size=batch_size,
        workers=workers,
        source=source,
        progress=progress,
        processes=processes,
    ).summary


def evaluation_of(
    name: str,
    model: Model,
    table: Table,
    wanted: RetrievalSet,
    *,
    batch_size: int = 64,
    workers: int = 0,
    source: ImageSource | None = None,
    progress: Callable[[int], None] | None = None,
    processes: Processes = SINGLE_PROCESS,
) -> Evaluation:
    """Embed every image of the set once and rank the gallery for every query; embeddings are kept.

    source, progress, processes: as of `evaluate`. The first process ranks and has the embeddings; in the others they
    mean nothing.
    Raises DataError when an image cannot be read or no query has a positive.
    """
    rows = table_images(table, wanted.frame, model.preprocess, source=source)
    embeddings = embed_together(model, rows, processes, batch_size=batch_size, workers=workers, progress=progress)
    summary = processes.from_first(lambda: summarise(rankings(embeddings, wanted)))
    return Evaluation(name, table, wanted, embeddings, summary, model.preprocess, model.calibration)


def evaluation_of_embeddings(
    name: str, embeddings: Tensor, table: Table, *, leave_out_same: str | None = None, within: str | None = None
) -> Evaluation:
    """As `evaluation_of`, of embeddings (N, D) of all the table's rows in their order, made elsewhere."""
    wanted = retrieval_set(table.frame, table.name, leave_out_same=leave_out_same, within=within)
    embeddings = embeddings if wanted.rows is None else embeddings[wanted.rows]
    return Evaluation(name, table, wanted, embeddings, summarise(rankings(embeddings, wanted)))


def rankings(embeddings: Tensor, wanted: RetrievalSet) -> Iterator[Ranking]:
    """The gallery of a set ranked for its queries. embeddings: (N, D), of the set's frame.

    Queries are numbered in the order of `wanted.queries`, gallery indices in that of `wanted.gallery`.
    """
    if wanted.within is None:
        yield from _rankings(embeddings, wanted, np.arange(len(wanted.queries)), np.arange(len(wanted.gallery)))
        return
    for value in np.unique(wanted.within[wanted.queries]):
        queries = np.flatnonzero(wanted.within[wanted.queries] == value)
        gallery = np.flatnonzero(wanted.within[wanted.gallery] == value)
        for ranking in _rankings(embeddings, wanted, queries, gallery):
            nearest = np.where(ranking.nearest < 0, -1, gallery[ranking.nearest] if len(gallery) else -1)
            yield replace(ranking, queries=queries[ranking.queries], nearest=nearest)


def _rankings(
    embeddings: Tensor, wanted: RetrievalSet, queries: NDArray[np.int64], gallery: NDArray[np.int64]
) -> Iterator[Ranking]:
    asking, asked = wanted.queries[queries], wanted.gallery[gallery]
    place = np.full(len(wanted.frame), -1)
    place[asked] = np.arange(len(asked))
    return rank(
        _rows(embeddings, asking),
        wanted.labels[asking],
        _rows(embeddings, asked),
        wanted.labels[asked],
        itself=place[asking],
        query_groups=None if wanted.groups is None else wanted.groups[asking],
        gallery_groups=None if wanted.groups is None else wanted.groups[asked],
    )


def _rows(embeddings: Tensor, which: NDArray[np.int64]) -> Tensor:
    """embeddings[which], without a copy where that is all of them."""
    return embeddings if np.array_equal(which, np.arange(len(embeddings))) else embeddings[which]


"""Seed of the random weights of `timm:NAME --weights none`, so that the figure is the same every time."""
