"""Retrieval metrics of a model on a set: the same code during training and in `eml evaluate`."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.dataset.boxes import check_boxes
from eml.dataset.scan import Progress
from eml.dataset.table import Table, resolve, test_table
from eml.engine.embeddings_file import is_embeddings_file
from eml.engine.processes import ALONE, Processes
from eml.engine.sets import Report, RetrievalSet, pictures, retrieval_set
from eml.engine.shared_evaluation import embed_together
from eml.errors import ConfigError, OutputError
from eml.files import is_json_with
from eml.images.files import Source
from eml.images.preprocess import Preprocess
from eml.models.calibration import Calibration
from eml.models.config import ModelConfig
from eml.models.device import find_device
from eml.models.embedder import build_embedder, check_backbone, default_preprocess
from eml.models.model import Model, load
from eml.models.necks.identity import Identity
from eml.models.pointers import find_checkpoint
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
            "pictures": len(self.wanted.frame),
            "classes": int(self.wanted.frame["label"].nunique()),
            "queries": summary.queries,
            "queries_without_partner": summary.queries_without_partner,
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
    source: Source | None = None,
    progress: Callable[[int], None] | None = None,
    processes: Processes = ALONE,
) -> Summary:
    """Embed every picture of the set once and rank the gallery for every query.

    source: where the set's pictures come from; None: their files.
    progress: called with the number of pictures done since the last call. processes: that share the pictures; the
    summary is the same in all of them, and that of one alone.
    Raises DataError when a picture cannot be read or no query has a partner.
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
    source: Source | None = None,
    progress: Callable[[int], None] | None = None,
    processes: Processes = ALONE,
) -> Evaluation:
    """Embed every picture of the set once and rank the gallery for every query; embeddings are kept.

    source, progress, processes: as of `evaluate`. The first process ranks and has the embeddings; in the others they
    mean nothing.
    Raises DataError when a picture cannot be read or no query has a partner.
    """
    rows = pictures(table, wanted.frame, model.preprocess, source=source)
    embeddings = embed_together(model, rows, processes, batch_size=batch_size, workers=workers, progress=progress)
    summary = processes.told(lambda: summarise(rankings(embeddings, wanted)))
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


def table_to_evaluate(
    source: Path, root: Path | None, report: Report = lambda line: None, progress: Progress | None = None
) -> Table:
    """A table as it is; of a folder dataset_test.csv, or else the table that `eml split` would read.

    Raises DataError also for boxes that are not within their pictures.
    """
    if root is None and source.is_dir() and (test := test_table(source)):
        report(f"table: {test}")
        table = resolve(test, "evaluate")
    else:
        table = resolve(source, "split", root, report=report, progress=progress)
    check_boxes(table, progress)
    return table


TIMM = "timm:"
UNTRAINED_SEED = 28
"""Seed of the random weights of `timm:NAME --weights none`, so that the figure is the same every time."""


def check_timm(name: str) -> None:
    """Raises ConfigError for a `timm:NAME` that timm does not have; takes any other name."""
    if name == TIMM:
        raise ConfigError(f"{TIMM} names no model; write {TIMM}NAME, such as {TIMM}resnet50")
    if name.startswith(TIMM):
        check_backbone(name.removeprefix(TIMM), name)


def load_for_evaluation(
    name: str, *, weights: str = "pretrained", image_size: int | None = None, device: str = "auto"
) -> Model:
    """A checkpoint or run folder, or `timm:NAME`: a timm model as it comes, its pooled features as embeddings.

    weights, image_size: of timm:NAME; a checkpoint has its own. weights: pretrained, none, or a file. image_size: side
    (pixels), the model's own unless given; pictures are squashed to the square.
    """
    if not name.startswith(TIMM):
        return load(name, device=device)
    check_timm(name)
    source = weights if weights in ("pretrained", "none") else Path(weights).absolute()
    config = ModelConfig.model_validate({"backbone": name.removeprefix(TIMM), "weights": source, "neck": Identity()})
    torch.manual_seed(UNTRAINED_SEED)
    embedder = build_embedder(config, image_size)
    return Model(embedder, default_preprocess(embedder.backbone, size=image_size), find_device(device))


def check_results(files: Sequence[Path]) -> None:
    """Raises OutputError when one of the files is there and is no result of an evaluation: that is not replaced."""
    for file in files:
        if file.exists() and not is_json_with(file, {"checkpoint", "metrics"}):
            raise OutputError(f"{file}: is there and was not written by eml evaluate; give another --out")


def evaluations_folder(checkpoint: str, out: Path | None) -> Path:
    """Where evaluations of a checkpoint go: `out`, else the folder `evaluations` of its run.

    Raises ConfigError when there is no run to put them into.
    """
    if out is not None:
        return out
    if checkpoint.startswith(TIMM) or is_embeddings_file(checkpoint):
        raise ConfigError(f"{checkpoint} has no run folder to write into; say where with --out FOLDER")
    for folder in (Path(checkpoint), *find_checkpoint(Path(checkpoint)).parents[:2]):
        if (folder / "run.json").is_file():
            return Path(os.path.normpath(folder / "evaluations"))
    raise ConfigError(f"{checkpoint} is in no run folder; say where to write with --out FOLDER")
