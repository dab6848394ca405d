"""Train once per fold; report the spread of the metrics, and embed every image with a network not trained on it."""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.errors import DataError
from eml.evaluation.trained_overlap import overlap_of_parts
from eml.files import write_json
from eml.inference.embed import Batching, embed_table
from eml.inference.embeddings_file import write_embeddings
from eml.inference.load import load
from eml.models.pointers import FOLDS_FILE, OUT_OF_FOLD_FILE, is_run_folder
from eml.training.config import RunConfig
from eml.training.events import Note, Observer
from eml.training.fit import fit
from eml.training.results import TrainingResult
from eml.training.run_folder import RunFolder

FOLDS, OUT_OF_FOLD = FOLDS_FILE, OUT_OF_FOLD_FILE


class MeanAndSpread(NamedTuple):
    """Mean and standard deviation of a metric over the folds."""

    mean: float
    std: float


@dataclass(frozen=True)
class CrossValidationResult:
    """The result of a cross-validation.

    Attributes:
        folder: Where folds.json, out_of_fold.npz and the run folders are.
        folds: Fold → result of its run.
        metrics: Metric → mean and standard deviation over the folds, for metrics that every fold has.
    """

    folder: Path
    folds: dict[int, TrainingResult]
    metrics: dict[str, MeanAndSpread]

    @property
    def shown(self) -> dict[str, str]:
        """Metric → its name in tables."""
        return next(iter(self.folds.values())).shown

    @property
    def questions(self) -> dict[int, str]:
        """Fold → which question it answers: new images of known classes, or unseen classes."""
        return {fold: run.questions[""].text for fold, run in self.folds.items()}


def fit_folds(
    config: RunConfig,
    table: Table,
    *,
    resume: bool = False,
    overwrite: bool = False,
    observe: Observer = lambda event: None,
    processes: Processes = SINGLE_PROCESS,
    command: str | None = None,
) -> CrossValidationResult:
    """Train once per fold of the table, into OUTPUT/fold-N, and write folds.json and out_of_fold.npz beside them.

    No run is refitted on all classes.

    Args:
        config: Of the runs, but for output and data.fold.
        table: With a column `fold`.
        resume: Keep runs that are done, resume one that was interrupted, and begin the others.
        overwrite: Replace runs in the output folder.
        observe: Receives the events of all runs.
        processes: That have met; all of them call this, and the first one writes.
        command: The command line that trains so, for run.json.

    Raises:
        DataError: The table has fewer than two folds.
    """
    numbers = sorted(int(fold) for fold in table.frame.get("fold", pd.Series(dtype=int)).unique() if fold >= 0)
    if len(numbers) < 2:
        count = "1 fold" if len(numbers) == 1 else "no folds"
        raise DataError(
            f'{table.name}: has {count}, and `fold="all"` needs at least two. Run: eml kfold DATASET',
            code="too-few-folds",
            parameter="fold",
        )
    if processes.first:
        _begin(config.output, numbers, overwrite=overwrite, observe=observe)
    results = {}
    for fold in numbers:
        fold_config = config.model_copy(
            update={
                "output": config.output / f"fold-{fold}",
                "data": config.data.model_copy(update={"fold": fold}),
                "refit": False,  # it would train on the fold, whose images are embedded by a network that did not
            }
        )
        if processes.first:
            observe(Note(f"fold {fold} (folds {numbers[0]} to {numbers[-1]})"))
        folder = RunFolder(fold_config.output)
        has_state = resume and processes.from_first(folder.has_state)
        results[fold] = fit(
            fold_config,
            table,
            resume=has_state,
            overwrite=overwrite,
            observe=observe,
            processes=processes,
            command=command,
        )
    result = CrossValidationResult(config.output, results, _spread(list(results.values())))
    if processes.first:
        _write(result, config, table)
    return result


def _begin(folder: Path, numbers: list[int], *, overwrite: bool, observe: Observer) -> None:
    """Write an empty folds.json, and remove what an older cross-validation left that this one will not replace."""
    if overwrite or not (folder / FOLDS).exists():
        write_json(folder / FOLDS, {})  # at the start: a scan recognises by it that the folder is no class
    if not overwrite:
        return
    older = [folder / OUT_OF_FOLD] if (folder / OUT_OF_FOLD).is_file() else []
    runs = [run for run in sorted(folder.glob("fold-*")) if is_run_folder(run)]
    surplus = [run for run in runs if run.name not in {f"fold-{fold}" for fold in numbers}]
    for path in [*older, *surplus]:
        observe(Note(f"removed {path}, of the cross-validation that is replaced"))
        path.unlink() if path.is_file() else RunFolder(path).remove()


def _spread(results: list[TrainingResult]) -> dict[str, MeanAndSpread]:
    metrics = [result.best or {} for result in results]
    return {
        key: MeanAndSpread(mean(values), stdev(values))
        for key in results[0].shown
        if len(values := [best[key] for best in metrics if key in best]) == len(metrics)
    }


def _write(result: CrossValidationResult, config: RunConfig, table: Table) -> None:
    facts: dict[str, Any] = {
        "folds": {
            str(fold): {
                "question": result.questions[fold],
                "best_epoch": run.best_epoch,
                "before": run.before,
                "best": run.best,
            }
            for fold, run in result.folds.items()
        },
        "metrics": {key: {"mean": value, "std": spread} for key, (value, spread) in result.metrics.items()},
        "root": str(table.root.resolve()),
        "folder": str(result.folder.resolve()),
    }
    frames, embeddings, records = [], [], []
    for fold, run in result.folds.items():
        model = load(run.folder, device=config.device)
        frame = table.known.frame[table.known.frame["fold"] == fold]
        frames.append(frame)
        records.append(model.trained_on)
        embeddings.append(embed_table(model, table, frame, batching=Batching(config.validation.batch_size)))
    facts["trained_on"] = overlap_of_parts(records, table, frames).facts()
    write_json(result.folder / FOLDS, facts)
    frame = pd.concat(frames)
    fold_of = frame["fold"].to_numpy(np.int64)
    write_embeddings(result.folder / OUT_OF_FOLD, torch.cat(embeddings), frame, fold=fold_of)
