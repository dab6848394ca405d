"""Calibration of a checkpoint: from a table to the threshold in calibration.json."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.pipeline import table_to_evaluate
from eml.dataset.table import Table
from eml.errors import ConfigError, DataError, OutputError
from eml.evaluation.checkpoint_label import with_checkpoint_label
from eml.evaluation.positives import refuse_without_positives
from eml.evaluation.retrieval_set import RetrievalSet, build_retrieval_set
from eml.evaluation.trained_overlap import OverlapCounter, TrainedOverlap
from eml.files import unwritable, write_json
from eml.inference.any_model import AnyModel, load
from eml.inference.embed import Batching, embed_table
from eml.inference.exported.model import ExportedModel
from eml.inference.exported.names import is_exported
from eml.inference.load import is_backbone
from eml.json_files import is_json_with
from eml.models.calibration import CalibratedRate, Calibration, calibration_path, weights_digest
from eml.models.calibration_images import write_calibration_images
from eml.models.config import PrecisionChoice, Tta
from eml.models.hub_folder import HUB
from eml.models.pointers import find_checkpoint
from eml.progress import Progress, Report, no_progress
from eml.retrieval.answer_calibration import FAR, UNKNOWN_SHARE, AnswerCalibration
from eml.retrieval.answers.fitting import fit_answers
from eml.retrieval.answers.gallery_samples import few_of_each
from eml.retrieval.answers.samples import SCORINGS, sample_open_set
from eml.retrieval.device import computing_on
from eml.retrieval.statistics import CONFIDENCE, Estimate, as_pair
from eml.retrieval.verification import (
    BINS,
    RESAMPLES,
    SEED,
    Goal,
    OpenSet,
    ThresholdCalibration,
    calibrate,
    refuse_hopeless,
)
from eml.storage import is_url
from eml.storage.copies import advice_to_change
from eml.versions import eml_version


@dataclass(frozen=True)
class CalibrationOptions:
    """The checkpoint to calibrate, the images and the goal.

    Attributes:
        checkpoint: A run folder (its best checkpoint) or a checkpoint folder.
        data: A table or folder of classes that the checkpoint was not trained on; None where folds take its place.
        far: The goal: share of queries of unknown classes that may be accepted. One goal of the three is given.
        pair_far: The goal: share of pairs of different classes that may be accepted.
        precision: The goal: share of accepted answers that must be right.
        strict: Whether to take the upper end of the threshold's interval.
        unknown_share: Share of the queries in use whose class is not in the gallery, for the probability of answers.
        root: The folder that the table's file names start from.
        columns: How a table of the user's own is read.
        leave_out_same: Gallery images with the query's class and value in this column are ignored.
        within: Queries are compared with gallery images of their own value in this column alone.
        unknown_label: The label of images of unknown identity; None: as the table or the checkpoint says.
        embed_precision: Of the network: float32, bfloat16 or auto; `precision` is a goal.
        tta: Test-time augmentation, none or flip; None: as each checkpoint says.
        random_seed: Seed of the resamples and splits.
        batch_size: Images computed at once.
        workers: Worker processes that load images; 0 loads them in the process itself.
        device: auto, cpu, cuda, cuda:N or mps.
        overwrite: Whether to replace a calibration.json that eml did not write.
    """

    checkpoint: str
    data: Path | None
    far: float | None = None
    pair_far: float | None = None
    precision: float | None = None
    strict: bool = False
    unknown_share: float = UNKNOWN_SHARE
    root: Path | None = None
    columns: ColumnMap = AS_NAMED
    leave_out_same: str | None = None
    within: str | None = None
    unknown_label: str | None = None
    embed_precision: PrecisionChoice = "float32"
    tta: Tta | None = None
    random_seed: int = SEED
    batch_size: int = 64
    workers: int = 0
    device: str = "auto"
    overwrite: bool = False

    @property
    def goal(self) -> Goal:
        """The goal.

        Raises:
            ConfigError: None or several are given, or its value is not between 0 and 1.
        """
        goals = [Goal("far", self.far)] if self.far is not None else []
        goals += [Goal("pair_far", self.pair_far)] if self.pair_far is not None else []
        goals += [Goal("precision", self.precision)] if self.precision is not None else []
        if len(goals) != 1:
            names = " and ".join(f"`{goal.kind}`" for goal in goals)
            raise ConfigError(
                f"{f'{names} are given' if goals else 'no goal is given'}; give one goal: `far` (share of queries of "
                "unknown classes that may be accepted), `pair_far` (share of pairs of different classes) or "
                "`precision` (share of accepted answers that are right)",
                code="conflicting-settings" if goals else "missing-key",
                parameter=goals[1].kind if goals else "far",
            )
        goal = goals[0]
        if not 0 < goal.value < 1:
            problem = f"`{goal.kind}` must be above 0 and below 1, got {goal.value:g}"
            raise ConfigError(problem, code="out-of-range", parameter=goal.kind)
        return goal


@dataclass(frozen=True)
class CalibrationResult:
    """A calibration that was written.

    Attributes:
        checkpoint: The checkpoint, as it was named by the user.
        path: The calibration.json.
        replaced: Whether there was one before.
        calibration: Its content.
        trained_on: How much of the table the checkpoint was trained on.
    """

    checkpoint: str
    path: Path
    replaced: bool
    calibration: Calibration
    trained_on: TrainedOverlap

    def __repr__(self) -> str:
        calibration = self.calibration
        goal = f"{calibration.goal} {calibration.goal_value:g}"
        return f"<CalibrationResult {self.checkpoint}: threshold {calibration.threshold.value:.4f} for {goal}>"

    def facts(self) -> dict[str, Any]:
        """Return the calibration as JSON, with the checkpoint and the path."""
        facts = self.calibration.to_json()
        return {"checkpoint": self.checkpoint, "written": str(self.path), **facts}


def calibrate_checkpoint(
    options: CalibrationOptions,
    *,
    report: Report = lambda line: None,
    progress: Progress = no_progress,
) -> CalibrationResult:
    """Choose the threshold for a goal on a table and write it as calibration.json into the checkpoint folder.

    Into a file of eml export it is written as a part of that.

    Args:
        options: The checkpoint, the table and the goal.
        report: Receives the lines about the table that is read or written.
        progress: Reports the images that are embedded.

    Raises:
        ConfigError: There is not one goal, or the model has no checkpoint folder.
        CheckpointError: The checkpoint cannot be read.
        OutputError: calibration.json exists and eml did not write it, or it cannot be written.
        DataError: The images cannot support the goal. Nothing is written then.
    """
    goal = options.goal
    folder = checkpoint_to_calibrate(options.checkpoint, overwrite=options.overwrite)
    path = folder if is_exported(folder) else calibration_path(folder)
    assert options.data is not None, "without a table, folds calibrate"
    table = table_to_evaluate(
        options.data, options.root, report, progress, columns=options.columns, unknown_label=options.unknown_label
    )
    if options.unknown_label is None:
        table = with_checkpoint_label(table, [options.checkpoint], report)
    retrieval = build_retrieval_set(
        table.frame,
        table.name,
        unknown_label=table.unknown_label,
        leave_out_same=options.leave_out_same,
        within=options.within,
    )
    if goal.kind == "precision":
        refuse_without_positives(retrieval, table.name, leave_out_same=options.leave_out_same, within=options.within)
    known = retrieval.labels[retrieval.known]
    refuse_hopeless(goal, known, len(retrieval.queries), len(retrieval.unknown_queries))
    replaced = path.exists()
    model = load(folder, device=options.device, precision=options.embed_precision, tta=options.tta)
    for note in model.notes:
        report(note)
    batching = Batching(options.batch_size, options.workers)
    with progress("embedding", len(retrieval.frame)) as advance:
        embeddings = embed_table(model, table, retrieval.frame, batching=batching, progress=advance)
    data = retrieval.open_set(embeddings)
    with computing_on(model.device):
        calibrated = calibrate(data, goal, strict=options.strict, seed=options.random_seed, few_classes=True)
        answers, notes = calibrate_answers(data, goal, unknown_share=options.unknown_share, seed=options.random_seed)
    overlap = OverlapCounter(report=report).count(model.trained_on, table, retrieval.frame)
    digest = None  # of images that a file of eml export has no room for
    if model.folder is not None:
        digest = _keep_images(model.folder, embeddings, retrieval, options.random_seed)
    calibrated = replace(calibrated, notes=calibrated.notes + _notes_on_protocol(goal, retrieval) + notes)
    update = {"images_digest": digest, "trained_on": overlap.facts()}
    calibration = write_calibration(calibrated, options, model, table, retrieval.protocol, answers, update)
    return CalibrationResult(options.checkpoint, path, replaced, calibration, overlap)


def checkpoint_to_calibrate(name: str, *, overwrite: bool = False) -> Path:
    """Return the checkpoint folder, into which calibration.json may be written, or the file of eml export.

    Raises:
        ConfigError: It is timm:NAME or hf-hub:OWNER/NAME, or at an address.
        CheckpointError: There is no checkpoint.
        OutputError: calibration.json exists and eml did not write it, or nothing can be written.
    """
    if is_backbone(name) or name.startswith(HUB):
        problem = f"{name}: has no folder to keep a threshold in; give a run, a checkpoint folder or an index of it"
        raise ConfigError(problem, code="no-checkpoint", parameter="checkpoint")
    if is_url(name):
        problem = f"{name}: is at an address, where no threshold is kept; {advice_to_change(name)}"
        raise ConfigError(problem, code="no-checkpoint", parameter="checkpoint")
    if is_exported(name):
        if reason := unwritable(Path(name).parent):
            raise OutputError(reason, code="not-writable")
        return Path(name)
    folder = find_checkpoint(Path(name))
    file = calibration_path(folder)
    if file.exists() and not overwrite and not is_json_with(file, {"eml_version", "goal", "threshold"}):
        problem = f"{file}: exists and was not written by eml calibrate; set `overwrite` to replace it"
        raise OutputError(problem, code="file-exists", parameter="overwrite")
    if reason := unwritable(folder):
        raise OutputError(reason, code="not-writable")
    return folder


def write_calibration(
    calibrated: ThresholdCalibration,
    options: CalibrationOptions,
    model: AnyModel,
    table: Table,
    protocol: str,
    answers: AnswerCalibration | None,
    update: Mapping[str, Any] | None = None,
) -> Calibration:
    """Write calibration.json into the folder of a model's checkpoint, or into its file, and return the content.

    Args:
        calibrated: The threshold.
        options: How it was found.
        model: The model that was loaded from the checkpoint.
        table: The images that it was found with.
        protocol: What a query was compared with.
        answers: The calibration of answers.
        update: Other fields.
    """
    calibration = _describe(calibrated, options, model, table, protocol)
    calibration = calibration.model_copy(update={"answers": answers, **(update or {})})
    if isinstance(model, ExportedModel):
        model.keep_calibration(calibration)
        return calibration
    assert model.folder is not None, "it was loaded from a checkpoint folder"
    write_json(calibration_path(model.folder), calibration.to_json())
    return calibration


def _describe(
    calibrated: ThresholdCalibration, options: CalibrationOptions, model: AnyModel, table: Table, protocol: str
) -> Calibration:
    return Calibration(
        eml_version=eml_version(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        weights_digest=model.fingerprint.weights if model.folder is None else weights_digest(model.folder),
        fingerprint=model.fingerprint,
        goal=calibrated.goal.kind,
        goal_value=calibrated.goal.value,
        strict=options.strict,
        confidence=CONFIDENCE,
        seed=options.random_seed,
        resamples=RESAMPLES,
        table=_kept_name(table.path, model),
        table_digest=table.digest,
        protocol=protocol,
        **calibrated_fields(calibrated),
    )


def _kept_name(path: Path | None, model: AnyModel) -> str | None:
    """Return the path of a table, found from any folder; in a file that goes elsewhere its name alone."""
    if path is None:
        return None
    return path.name if isinstance(model, ExportedModel) else str(path.absolute())


def calibrated_fields(calibrated: ThresholdCalibration) -> dict[str, Any]:
    """Return the fields of a calibration that its embeddings decide: the threshold, its rates and histograms."""
    held_out = [None if isnan(rate) else rate for rate in calibrated.held_out]
    rates = [rate for rate in held_out if rate is not None]
    return {
        "threshold": _rate(calibrated.threshold),
        "plain_threshold": calibrated.plain,
        "measured": {name: _rate(estimate) for name, estimate in calibrated.measured.items()},
        "held_out": held_out,
        "held_out_mean": float(np.mean(rates)) if rates and 2 * len(rates) >= len(held_out) else None,
        "counts": calibrated.counts,
        "notes": calibrated.notes,
        "histogram_edges": [round(float(edge), 2) for edge in BINS],
        "histogram_same": calibrated.same.tolist(),
        "histogram_different": calibrated.different.tolist(),
        "histogram_known": calibrated.known.tolist(),
        "histogram_unknown": calibrated.unknown.tolist(),
    }


def calibrate_answers(
    data: OpenSet, goal: Goal, *, unknown_share: float, seed: int
) -> tuple[AnswerCalibration | None, list[str]]:
    """Return the calibration of answers by the set itself, or None with a note where it has too few classes."""
    far = goal.value if goal.kind == "far" else FAR
    try:
        samples = [sample_open_set(data, scoring, seed) for scoring in SCORINGS]
        return fit_answers(samples, far=far, unknown_share=unknown_share, seed=seed), []
    except DataError as error:
        return None, [f"answers get no probability: {error}"]


def _keep_images(folder: Path, embeddings: Tensor, retrieval: RetrievalSet, seed: int) -> str:
    """Keep the embeddings of a part of the images of known identity in the checkpoint, for indexes to calibrate by."""
    known = np.flatnonzero(retrieval.known)
    rows = known[few_of_each(retrieval.labels[known], np.random.default_rng(seed))]
    labels = retrieval.frame["label"].to_numpy(str)[rows].tolist()
    return write_calibration_images(folder, embeddings[torch.from_numpy(rows)].float().cpu().numpy(), labels)


def _notes_on_protocol(goal: Goal, retrieval: RetrievalSet) -> list[str]:
    if goal.kind != "pair_far" or (retrieval.groups is None and retrieval.within is None):
        return []
    return ["pairs are of all the images, including those that the protocol excludes from a query's gallery"]


def _rate(estimate: Estimate) -> CalibratedRate:
    low, high = as_pair(estimate.interval)
    return CalibratedRate(value=estimate.value, low=low, high=high)
