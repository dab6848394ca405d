"""From a checkpoint and a table to calibration.json."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from math import isnan
from pathlib import Path

import numpy as np

from eml.dataset.table import Table
from eml.errors import ConfigError, OutputError
from eml.evaluation.retrieval_set import RetrievalSet
from eml.files import is_json_with, unwritable, write_json
from eml.inference.images import table_images
from eml.inference.model import Model
from eml.inference.models import TIMM
from eml.models.calibration import Calibration, Rate, calibration_path, weights_digest
from eml.models.pointers import find_checkpoint
from eml.retrieval.statistics import CONFIDENCE, Estimate, as_pair
from eml.retrieval.verification import (
    BINS,
    RESAMPLES,
    SEED,
    Goal,
    Kind,
    OpenSet,
    ThresholdCalibration,
    calibrate,
    refuse_hopeless,
)


def checkpoint_to_calibrate(name: str, overwrite: bool = False) -> Path:
    """The checkpoint folder, where calibration.json may be written.

    Raises ConfigError for timm:NAME, CheckpointError where there is no checkpoint, and OutputError where there is a
    calibration.json that eml did not write, or nothing can be written.
    """
    if name.startswith(TIMM):
        raise ConfigError(f"{name}: has no checkpoint folder to keep a threshold in; give a run or a checkpoint folder")
    folder = find_checkpoint(Path(name))
    file = calibration_path(folder)
    if file.exists() and not overwrite and not is_json_with(file, {"eml_version", "goal", "threshold"}):
        raise OutputError(f"{file}: is there and was not written by eml calibrate; give --overwrite to replace it")
    if told := unwritable(folder):
        raise OutputError(told)
    return folder


def goal_of(far: float | None, pair_far: float | None, precision: float | None) -> Goal:
    """The one that was asked for. Raises ConfigError for none or several, and for rates that are not within 0 and 1."""
    values: dict[Kind, float | None] = {"far": far, "pair_far": pair_far, "precision": precision}
    given = [Goal(kind, value) for kind, value in values.items() if value is not None]
    if len(given) != 1:
        told = f"{' and '.join(f'`{each.kind}`' for each in given)} are given" if given else "no goal is given"
        raise ConfigError(
            f"{told}; give one goal: `far` RATE (of queries of unknown classes), `pair_far` RATE (of pairs of "
            "different classes) or `precision` SHARE (of accepted answers that are right)"
        )
    if not 0 < given[0].value < 1:
        raise ConfigError(f"`{given[0].kind}` must be above 0 and below 1, got {given[0].value:g}")
    return given[0]


def open_set(model: Model, table: Table, wanted: RetrievalSet, **loading: object) -> OpenSet:
    """The set's images embedded. loading: batch_size, workers, progress of `Model.embed_rows`."""
    embeddings = model.embed_rows(table_images(table, wanted.frame, model.preprocess), **loading)  # type: ignore[arg-type]
    return OpenSet(embeddings, wanted.labels, wanted.queries, wanted.gallery, wanted.groups, wanted.within)


def calibrate_checkpoint(
    folder: Path,
    model: Model,
    table: Table,
    wanted: RetrievalSet,
    goal: Goal,
    *,
    strict: bool = False,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = SEED,
    progress: Callable[[int], None] | None = None,
) -> Calibration:
    """Embed the set, choose the threshold for the goal and write calibration.json into the checkpoint folder.

    strict: see retrieval's `calibrate`. Raises DataError where the images cannot support the goal;
    nothing is written then.
    """
    refuse_hopeless(goal, wanted.labels, len(wanted.queries))
    data = open_set(model, table, wanted, batch_size=batch_size, workers=workers, progress=progress)
    found = calibrate(data, goal, strict=strict, seed=seed)
    record = _record(found, strict, folder, table, wanted, seed)
    write_json(calibration_path(folder), record.model_dump(mode="json"))
    return record


def _record(
    found: ThresholdCalibration, strict: bool, folder: Path, table: Table, wanted: RetrievalSet, seed: int
) -> Calibration:
    held_out = [None if isnan(each) else each for each in found.held_out]
    there = [each for each in held_out if each is not None]
    return Calibration(
        eml_version=version("easy-metric-learning"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        weights_digest=weights_digest(folder),
        goal=found.goal.kind,
        goal_value=found.goal.value,
        strict=strict,
        threshold=_rate(found.threshold),
        plain_threshold=found.plain,
        measured={name: _rate(each) for name, each in found.measured.items()},
        held_out=held_out,
        held_out_mean=float(np.mean(there)) if there and 2 * len(there) >= len(held_out) else None,
        confidence=CONFIDENCE,
        seed=seed,
        resamples=RESAMPLES,
        table=str(table.path) if table.path else None,
        table_digest=table.digest,
        protocol=wanted.protocol,
        counts=found.counts,
        notes=found.notes + _notes_on_protocol(found.goal, wanted),
        histogram_edges=[round(float(edge), 2) for edge in BINS],
        histogram_same=found.same.tolist(),
        histogram_different=found.different.tolist(),
    )


def _notes_on_protocol(goal: Goal, wanted: RetrievalSet) -> list[str]:
    if goal.kind != "pair_far" or (wanted.groups is None and wanted.within is None):
        return []
    return ["pairs are of all the images: what --leave-out-same and --within leave out of the gallery counts in them"]


def _rate(found: Estimate) -> Rate:
    low, high = as_pair(found.interval)
    return Rate(value=found.value, low=low, high=high)


def trained_on(folder: Path, wanted: RetrievalSet) -> tuple[int, int]:
    """(classes of the set that the checkpoint was trained on, classes of the set), by their names."""
    known = set(json.loads((folder / "labels.json").read_text(encoding="utf-8")))
    names = set(wanted.frame["label"])
    return len(names & known), len(names)
