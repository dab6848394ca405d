"""Retrieval metrics of a model on a set: the same code during training and in `eml evaluate`."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eml.dataset.boxes import check_boxes
from eml.dataset.scan import Progress
from eml.dataset.table import Table, resolve, test_table
from eml.engine.processes import ALONE, Processes
from eml.engine.sets import Report, RetrievalSet, pictures, retrieval_set
from eml.engine.shared_evaluation import embed_together
from eml.errors import ConfigError, OutputError
from eml.files import digest
from eml.images.files import Source
from eml.models.config import ModelConfig
from eml.models.device import find_device
from eml.models.embedder import build_embedder, default_preprocess
from eml.models.model import Model, load
from eml.models.necks.identity import Identity
from eml.models.pointers import find_checkpoint
from eml.retrieval.metrics import Summary, summarise
from eml.retrieval.ranking import rank


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
    rows = pictures(table, wanted.frame, model.preprocess, source=source)
    embeddings = embed_together(model, rows, processes, batch_size=batch_size, workers=workers, progress=progress)
    return processes.told(lambda: _summary(embeddings, wanted))


def _summary(embeddings: Tensor, wanted: RetrievalSet) -> Summary:
    place = np.full(len(wanted.frame), -1)
    place[wanted.gallery] = np.arange(len(wanted.gallery))
    return summarise(
        rank(
            embeddings[wanted.queries],
            wanted.labels[wanted.queries],
            embeddings[wanted.gallery],
            wanted.labels[wanted.gallery],
            itself=place[wanted.queries],
        )
    )


def evaluate_table(
    model: Model,
    table: Table,
    *,
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """What metrics.json says of a model on a table: the protocol, what was counted, the metrics.

    Query and gallery by the table's columns is_query and is_gallery, else leave-one-out over all its pictures. What is
    counted are the pictures that are either.
    """
    wanted = retrieval_set(table.frame, table.name)
    summary = evaluate(model, table, wanted, batch_size=batch_size, workers=workers, progress=progress)
    return {
        "table": str(table.path),
        "table_digest": digest(table.path) if table.path else None,
        "protocol": wanted.protocol,
        "pictures": len(wanted.frame),
        "classes": int(wanted.frame["label"].nunique()),
        "queries": summary.queries,
        "queries_without_partner": summary.queries_without_partner,
        "gallery": summary.gallery,
        "embedding_size": model.size,
        "preprocess": model.preprocess.model_dump(mode="json"),
        "metrics": summary.values,
    }


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


def load_for_evaluation(
    name: str, *, weights: str = "pretrained", image_size: int | None = None, device: str = "auto"
) -> Model:
    """A checkpoint or run folder, or `timm:NAME`: a timm model as it comes, its pooled features as embeddings.

    weights: for timm:NAME alone; pretrained, none, or a file. image_size: side (pixels), the model's own unless given;
    pictures are squashed to the square.
    """
    if not name.startswith(TIMM):
        if weights != "pretrained" or image_size is not None:
            raise ConfigError(f"--weights and --image-size are for {TIMM}NAME; a checkpoint has its own")
        return load(name, device=device)
    source = weights if weights in ("pretrained", "none") else Path(weights).absolute()
    config = ModelConfig.model_validate({"backbone": name.removeprefix(TIMM), "weights": source, "neck": Identity()})
    torch.manual_seed(UNTRAINED_SEED)
    embedder = build_embedder(config, image_size)
    return Model(embedder, default_preprocess(embedder.backbone, size=image_size), find_device(device))


def check_results(files: Sequence[Path]) -> None:
    """Raises OutputError when one of the files is there and is no result of an evaluation: that is not replaced."""
    for file in files:
        if file.exists():
            try:
                found = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                found = None
            if not isinstance(found, dict) or not {"checkpoint", "metrics"} <= set(found):
                raise OutputError(f"{file}: is there and was not written by eml evaluate; give another --out")


def evaluations_folder(checkpoint: str, out: Path | None) -> Path:
    """Where evaluations of a checkpoint go: `out`, else the folder `evaluations` of its run.

    Raises ConfigError when there is no run to put them into.
    """
    if out is not None:
        return out
    if checkpoint.startswith(TIMM):
        raise ConfigError(f"{checkpoint} has no run folder to write into; say where with --out FOLDER")
    for folder in (Path(checkpoint), *find_checkpoint(Path(checkpoint)).parents[:2]):
        if (folder / "run.json").is_file():
            return Path(os.path.normpath(folder / "evaluations"))
    raise ConfigError(f"{checkpoint} is in no run folder; say where to write with --out FOLDER")
