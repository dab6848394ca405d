"""A checkpoint → ways to compress its embeddings, measured on a set; one of them kept as a new checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eml.config.text import did_you_mean, listed
from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.pipeline import table_to_evaluate
from eml.dataset.table import Table
from eml.errors import ConfigError, OutputError
from eml.evaluation.checkpoint_label import with_checkpoint_label
from eml.evaluation.compression import (
    MeasuredChoice,
    build_choices,
    measure_choices,
    smallest,
)
from eml.evaluation.evaluate import Evaluation, evaluate_model
from eml.evaluation.positives import refuse_without_positives
from eml.evaluation.retrieval_set import build_retrieval_set
from eml.evaluation.trained_overlap import OverlapCounter, TrainedOverlap
from eml.evaluation.whitening import count_shared, read_fit_table
from eml.files import unwritable
from eml.inference.embed import Batching, embed_table
from eml.inference.load import is_backbone, load
from eml.inference.model import Model
from eml.models.checkpoint import load_checkpoint, save_checkpoint
from eml.models.pointers import find_checkpoint
from eml.progress import Progress, Report, no_progress

SMALLEST_CHOICE = "smallest"
MOST_FIT = 20_000  # images that components are learnt from, evenly spaced in the table


@dataclass(frozen=True)
class CompressOptions:
    """Which checkpoint to compress, on which images to measure, and what to keep.

    Attributes:
        checkpoint: A run or a checkpoint folder.
        data: The images to measure on.
        fit: The images to learn means and components from.
        sizes: Embedding sizes to project to; none: powers of 2.
        keep: The way to keep, or smallest; None: nothing is kept.
        out: The folder of the new checkpoint.
        most_loss: Of MAP@R, for the smallest.
        overwrite: Whether `out` may be an existing checkpoint.
    """

    checkpoint: str
    data: Path
    fit: Path
    sizes: Sequence[int] = ()
    keep: str | None = None
    out: Path | None = None
    most_loss: float = 0.01
    root: Path | None = None
    columns: ColumnMap = AS_NAMED
    leave_out_same: str | None = None
    within: str | None = None
    unknown_label: str | None = None
    batch_size: int = 64
    workers: int = 0
    device: str = "auto"
    overwrite: bool = False


@dataclass(frozen=True)
class CompressionResult:
    """The ways that were measured.

    Attributes:
        evaluation: The model with its embeddings as they are; the embeddings are released.
        measured: The ways.
        smallest: The one with the fewest bytes that loses little.
        kept: The one that was kept.
        folder: The new checkpoint.
        replaced: Whether the folder existed.
        fit: The table that components are learnt from, and the number of images used.
        shared: Images of the measured set that are among them.
        overlap: How much of the set the model was trained on.
        was_calibrated: Whether the checkpoint has a calibration, which is not that of the new one.
    """

    evaluation: Evaluation
    measured: list[MeasuredChoice]
    smallest: MeasuredChoice
    fit: tuple[Path, int]
    shared: int
    overlap: TrainedOverlap
    was_calibrated: bool
    kept: MeasuredChoice | None = None
    folder: Path | None = None
    replaced: bool = False


def compress_checkpoint(
    options: CompressOptions, *, report: Report = lambda line: None, progress: Progress = no_progress
) -> CompressionResult:
    """Measure ways to compress a checkpoint's embeddings, and keep the one that the options name.

    Raises:
        ConfigError: `keep` names no way, or `out` is missing or for nothing.
        OutputError: `out` exists, or cannot be written.
        CheckpointError: There is no checkpoint, or it is compressed already.
        DataError: A table cannot be read, or no query has a positive.
    """
    _check(options)
    columns = {"leave_out_same": options.leave_out_same, "within": options.within}
    table = table_to_evaluate(
        options.data, options.root, report, progress, columns=options.columns, unknown_label=options.unknown_label
    )
    if options.unknown_label is None:
        table = with_checkpoint_label(table, [options.checkpoint], report)
    retrieval = build_retrieval_set(table.frame, table.name, unknown_label=table.unknown_label, **columns)
    refuse_without_positives(retrieval, table.name, **columns)
    fit = _spaced(read_fit_table(options.fit, report, progress, root=options.root, columns=options.columns))
    model = load(options.checkpoint, device=options.device)
    for note in model.notes:
        report(note)
    _refuse_compressed(model)
    batching = Batching(options.batch_size, options.workers)
    with progress(f"embedding {fit.name} to learn from", len(fit.frame)) as advance:
        learnt = embed_table(model, fit, fit.frame, batching=batching, progress=advance)
    choices = build_choices(learnt, str(options.fit), options.sizes)
    names = [choice.name for choice in choices if not choice.reranked]
    if options.keep is not None and options.keep not in (*names, SMALLEST_CHOICE):
        raise _no_choice(options.keep, names)
    with progress(f"embedding {table.name}", len(retrieval.frame)) as advance:
        evaluation = evaluate_model(model, table, retrieval, batching=batching, progress=advance)
    measured = measure_choices(evaluation, choices, progress=progress)
    best = smallest(measured, options.most_loss)
    kept = None
    if options.keep is not None:
        kept = best if options.keep == SMALLEST_CHOICE else next(w for w in measured if w.choice.name == options.keep)
    replaced = options.out is not None and options.out.exists()
    if kept is not None and options.out is not None:
        _write(model, kept, Path(table.path or table.root).stem, options.out)
    return CompressionResult(
        evaluation=evaluation.without_embeddings(),
        measured=measured,
        smallest=best,
        fit=(fit.path or fit.root, len(fit.frame)),
        shared=count_shared(fit, Table(retrieval.frame, table.root, table.path)),
        overlap=OverlapCounter(report=report).count(model.trained_on, table, retrieval.frame),
        was_calibrated=model.calibration is not None,
        kept=kept,
        folder=options.out,
        replaced=replaced,
    )


def _check(options: CompressOptions) -> None:
    if is_backbone(options.checkpoint):
        text = f"{options.checkpoint}: has no checkpoint folder to compress; give a run or a checkpoint folder"
        raise ConfigError(text, code="no-checkpoint", parameter="checkpoint")
    find_checkpoint(Path(options.checkpoint))  # which names a cross-validation as what it is
    if (options.keep is None) != (options.out is None):
        missing = "out" if options.out is None else "keep"
        meaning = "the folder of the new checkpoint" if missing == "out" else "the way to keep in it, or smallest"
        text = f"`keep` and `out` go together: give {meaning} as `{missing}`"
        raise ConfigError(text, code="conflicting-settings", parameter=missing)
    if options.out is None:
        return
    if options.out.exists() and not options.overwrite:
        text = f"{options.out}: exists; give another `out`, or set `overwrite` to replace the checkpoint in it"
        raise OutputError(text, code="file-exists", parameter="out")
    if options.out.exists() and not (options.out / "config.json").is_file():
        text = f"{options.out}: exists and is no checkpoint, which alone is replaced; give another `out`"
        raise OutputError(text, code="file-exists", parameter="out")
    if problem := unwritable(options.out.parent):
        raise OutputError(f"{problem}. Give another `out`", code="not-writable", parameter="out")


def _no_choice(keep: str, names: Sequence[str]) -> ConfigError:
    hint = did_you_mean(keep, names)
    if keep.endswith("-reranked"):
        hint = ", since comparing again is a way to search and not a way to store embeddings"
    text = f"`keep` {keep!r} cannot be kept{hint}; allowed: {SMALLEST_CHOICE}, {listed(names)}"
    return ConfigError(text, code="unknown-choice", parameter="keep")


def _refuse_compressed(model: Model) -> None:
    if model.compression is None:
        return
    text = f"{model.source}: is compressed already ({model.compression.facts.name}); compress the one it was made from"
    raise ConfigError(text, code="conflicting-settings", parameter="checkpoint")


def _spaced(table: Table) -> Table:
    """Return the table with at most MOST_FIT of its rows, evenly spaced."""
    count = len(table.frame)
    if count <= MOST_FIT:
        return table
    rows = np.linspace(0, count - 1, MOST_FIT).astype(np.int64)
    return Table(table.frame.iloc[rows].reset_index(drop=True), table.root, table.path)


def _write(model: Model, kept: MeasuredChoice, table: str, out: Path) -> None:
    """Write the checkpoint again with a compression, and the metrics that were measured with it; no calibration."""
    assert model.folder is not None, "it was loaded from a checkpoint folder"
    stored = load_checkpoint(model.folder)
    metrics: dict[str, Any] = {f"{table}/map_at_r": kept.value, f"{table}/recall_at_1": kept.recall_at_1}
    recorded = stored.config.trained_on is not None
    save_checkpoint(
        out,
        stored.embedder,
        stored.config.model,
        stored.config.preprocess,
        stored.labels,
        metrics,
        trained_on=model.trained_on if recorded else None,
        unknown_label=stored.config.unknown_label,
        compression=kept.choice.compression,
        inference=stored.config.inference,
        members=stored.config.members,
    )
