"""Rank candidates on the images of a table: embed, judge, time, compare."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from eml.dataset.table import Table
from eml.errors import ConfigError, EmlError, OutputError
from eml.evaluation.probing.candidates import Candidate
from eml.evaluation.probing.linear_stage import LinearStage, linear_stage, map_at_r, untouched
from eml.evaluation.probing.results import Measured, ProbeRow, ranked
from eml.evaluation.probing.timing import measure_speed
from eml.evaluation.trained_overlap import OverlapCounter
from eml.files import unwritable
from eml.images.image_size import Size, size_word
from eml.inference.embed import Batching
from eml.inference.embed_images import embed_images
from eml.inference.embedding_store import EmbeddingStore
from eml.inference.image_list import ImageList
from eml.inference.model import Model
from eml.models.backbones import word_for_files
from eml.models.device import find_device
from eml.models.embedder import without_text
from eml.progress import Progress, Report, no_progress
from eml.retrieval.arrays import Integers

_ROW = "_probe_row"


@dataclass(frozen=True)
class ProbeSettings:
    """Says how candidates are measured.

    Attributes:
        image_size: Side of the images (pixels), or (height, width); a network that does not take it gets the nearest.
        cache: The folder of the embeddings, one file for each network.
        device: auto, cpu, cuda, cuda:N or mps.
        batching: Of the embedding.
        progress: Shows what is embedded.
        report: Receives a line on each network.
    """

    image_size: Size
    cache: Path
    device: str = "auto"
    batching: Batching = field(default_factory=Batching)
    progress: Progress = no_progress
    report: Report = lambda line: None


def probe(
    candidates: Sequence[Candidate], table: Table, frame: pd.DataFrame, folds: Integers | None, settings: ProbeSettings
) -> list[ProbeRow]:
    """Measure every candidate on the same images; return the rows, the best first and those that failed last.

    Args:
        candidates: The networks.
        table: The table of the images.
        frame: Its rows (N).
        folds: (N,) of whole classes; None: too few, so that only the untouched embeddings are measured.
        settings: How they are measured.

    Raises:
        DataError: An image's file cannot be read at all.
        OutputError: The cache cannot be written.
    """
    find_device(settings.device)
    if problem := unwritable(settings.cache):
        raise OutputError(f"{problem}. Give another `cache`", code="not-writable", parameter="cache")
    bench = _Bench(table, frame, folds, settings)
    rows = []
    for number, candidate in enumerate(candidates, 1):
        settings.report(f"{number} of {len(candidates)}: {candidate.name}")
        rows.append(bench.measure(candidate))
        gc.collect()  # the network, before the next one is loaded
    return ranked(rows)


class _Bench:
    """The images with their labels and folds, on which every candidate is measured."""

    def __init__(self, table: Table, frame: pd.DataFrame, folds: Integers | None, settings: ProbeSettings) -> None:
        self.table, self.frame, self.folds, self.settings = table, frame, folds, settings
        self.labels: Integers = np.unique(frame["label"].to_numpy(str), return_inverse=True)[1].astype(np.int64)
        self.images = ImageList(
            frame.assign(**{_ROW: np.arange(len(frame))}), table.root, str(table.source), table=table
        )
        self.overlaps = OverlapCounter(report=settings.report)

    def measure(self, candidate: Candidate) -> ProbeRow:
        """Return the candidate with its figures, or with the reason why it has none."""
        try:
            model = candidate.load(self.settings.image_size, self.settings.device)
        except EmlError as error:
            return ProbeRow(candidate, problem=_short(error))
        try:
            return self._measured(candidate, model)
        except (MemoryError, RuntimeError) as error:  # torch's out of memory is a RuntimeError
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            return ProbeRow(candidate, problem="out of memory; a smaller `batch_size` or `image_size` needs less")

    def _measured(self, candidate: Candidate, model: Model) -> ProbeRow:
        embeddings, rows = self._embed(candidate, model)
        labels = self.labels[rows]
        linear: LinearStage | None = None
        plain = np.full(len(self.frame), np.nan)
        if self.folds is None:
            plain[rows] = map_at_r(embeddings, labels)
        else:
            plain[rows] = untouched(embeddings, labels, self.folds[rows])
            stage = linear_stage(embeddings, labels, self.folds[rows])
            values = np.full(len(self.frame), np.nan)
            values[rows] = stage.per_query
            linear = LinearStage(values, stage.shrinkages)
        measured = Measured(
            untouched=plain,
            linear=linear,
            labels=self.labels,
            speed=measure_speed(model),
            embedding_size=model.size,
            parameters=sum(weight.numel() for weight in without_text(model.embedder).parameters()),
            image_size=model.preprocess.size,
            fingerprint=model.fingerprint.digest,
            trained_on=self.overlaps.count(model.trained_on, self.table, self.frame),
        )
        return ProbeRow(candidate, measured)

    def _embed(self, candidate: Candidate, model: Model) -> tuple[Tensor, Integers]:
        """Return the embeddings (n, D) of the images that can be read, and their rows (n,)."""
        backbone, size = word_for_files(model.backbone), size_word(model.preprocess.size)
        name = f"{backbone}-{size}-{model.fingerprint.digest[:16]}.embeddings"
        store = EmbeddingStore(model.fingerprint.digest, model.size)
        try:
            with store.kept_in(self.settings.cache / name, self.settings.report):
                embedded = embed_images(
                    model,
                    self.images,
                    batching=self.settings.batching,
                    reuse=store,
                    progress=self.settings.progress,
                    report=self.settings.report,
                )
        except OutputError as error:
            if error.code != "being-written":
                raise
            text = f"{self.settings.cache / name}: another process is writing it; wait for its end"
            raise OutputError(f"{text}, or give another `cache`", code=error.code, parameter="cache") from error
        embedded.refuse_none(self.images)
        if len(embedded.errors):
            self.settings.report(f"{candidate.name}: {len(embedded.errors):,} images cannot be embedded")
        return embedded.embeddings, embedded.frame[_ROW].to_numpy(np.int64)


def _short(error: EmlError) -> str:
    """Return the first problem without the name of a parameter before it."""
    text = str(error.problems[0])
    return text.removeprefix("`weights`: ").removeprefix("model.weights: ").removeprefix("model.backbone: ")


def check_any(rows: Sequence[ProbeRow]) -> None:
    """Raise a ConfigError where no network could be measured, with the reason of each."""
    if not any(row.measured for row in rows):
        problems: list[Any] = [f"{row.candidate.name}: {row.problem}" for row in rows]
        raise ConfigError(problems, code="weights-unavailable", parameter="backbones")
