"""K-fold training: a run per fold, the spread of their metrics, and an embedding of every image by a network that has
not been trained on it.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
import torch

from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.errors import DataError
from eml.files import write_json
from eml.inference.embed import Batching, embed_table
from eml.inference.embeddings_file import write_embeddings
from eml.inference.load import load
from eml.training.config import RunConfig
from eml.training.events import Note, Observer
from eml.training.fit import Result, fit
from eml.training.run_folder import RunFolder

FOLDS, OUT_OF_FOLD = "folds.json", "out_of_fold.npz"


@dataclass(frozen=True)
class CrossValidation:
    """folds: fold → result of its run. metrics: metric → (mean, standard deviation over the folds)."""

    folder: Path
    folds: dict[int, Result]
    metrics: dict[str, tuple[float, float]]


def fit_folds(
    config: RunConfig,
    table: Table,
    *,
    resume: bool = False,
    overwrite: bool = False,
    observe: Observer = lambda event: None,
    processes: Processes = SINGLE_PROCESS,
) -> CrossValidation:
    """Train once per fold of the table, into OUTPUT/fold-N, and write folds.json and out_of_fold.npz beside them.

    resume: runs that are done are taken as they are, one that was interrupted goes on, the others are begun.
    processes: that have met and all call this; the first one writes.
    Raises DataError when the table has fewer than two folds.
    """
    numbers = sorted(int(fold) for fold in table.frame.get("fold", pd.Series(dtype=int)).unique() if fold >= 0)
    if len(numbers) < 2:
        held = "1 fold" if len(numbers) == 1 else "no folds"
        raise DataError(f"{table.name}: has {held}, and --fold all needs two. Run: eml kfold")
    if processes.first and not (config.output / FOLDS).exists():
        write_json(config.output / FOLDS, {})  # from the start: by it a scan knows that the folder is no class
    results = {}
    for fold in numbers:
        one = config.model_copy(
            update={
                "output": config.output / f"fold-{fold}",
                "data": config.data.model_copy(update={"fold": fold}),
            }
        )
        if processes.first:
            observe(Note(f"fold {fold} of {numbers[0]} to {numbers[-1]}"))
        folder = RunFolder(one.output)
        begun = resume and processes.from_first(folder.begun)
        results[fold] = fit(one, table, resume=begun, overwrite=overwrite, observe=observe, processes=processes)
    done = CrossValidation(config.output, results, _spread(list(results.values())))
    if processes.first:
        _write(done, config, table)
    return done


def _spread(results: list[Result]) -> dict[str, tuple[float, float]]:
    found = [result.best or {} for result in results]
    return {
        key: (mean(values), stdev(values))
        for key in results[0].shown
        if len(values := [best[key] for best in found if key in best]) == len(found)
    }


def _write(done: CrossValidation, config: RunConfig, table: Table) -> None:
    facts: dict[str, Any] = {
        "folds": {
            str(fold): {"best_epoch": each.best_epoch, "before": each.before, "best": each.best}
            for fold, each in done.folds.items()
        },
        "metrics": {key: {"mean": value, "std": spread} for key, (value, spread) in done.metrics.items()},
        "root": str(table.root.resolve()),
    }
    write_json(done.folder / FOLDS, facts)
    frames, embeddings = [], []
    for fold, result in done.folds.items():
        model = load(result.folder, device=config.device)
        frame = table.frame[table.frame["fold"] == fold]
        frames.append(frame)
        embeddings.append(embed_table(model, table, frame, batching=Batching(config.validation.batch_size)))
    frame = pd.concat(frames)
    fold_of = frame["fold"].to_numpy(np.int64)
    write_embeddings(done.folder / OUT_OF_FOLD, torch.cat(embeddings), frame, fold=fold_of)
