"""`eml calibrate`: the threshold for accepting an answer."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, SummaryTable, command
from eml.commands.next_steps import index_command
from eml.commands.options import (
    COLUMN_MAP,
    BatchSize,
    Device,
    FileColumn,
    LabelColumn,
    LeaveOutSame,
    MatchNames,
    PathPrefix,
    PathSuffix,
    Plugins,
    Precision,
    StripPrefix,
    UnknownLabel,
    Views,
    Within,
    Workers,
    column_map,
    column_map_words,
    note_workers,
)
from eml.errors import ConfigError, DataError
from eml.storage import is_remote

if TYPE_CHECKING:
    from eml.evaluation.calibration import CalibrationResult

DATABASE = "index.sqlite"
"""The file by which the folder of an index is known."""
RATES_IN_WORDS = {
    "false_accept_rate": "accepted queries of unknown classes",
    "pair_false_accept_rate": "accepted pairs of different classes",
    "accepted": "accepted queries of known classes",
    "precision": "right ones among these",
    "recognised": "accepted and right, of known classes",
}
"""Measured rate → what it is a share of."""


class CalibrateConfig(CommandConfig):
    """Find the cosine threshold for accepting an answer, and keep it in the checkpoint.

    For one goal: `far` to turn away images of classes that are not in the gallery, `pair_far` to say whether two
    images are of one class, `precision` to trust the answers that are accepted. The threshold is chosen so that other
    classes than these keep to the goal on average; each half of the classes is checked with the threshold of the other
    half. Fits the probability that an answer is right, too, which an index fits again to its own classes. Writes
    calibration.json and calibration_embeddings.npz into the checkpoint folder; a file of eml export holds its
    calibration itself. Of an index it is the model that is calibrated; one without a folder, such as timm:NAME, is put
    inside the index first. They hold for the precision and the test-time augmentation that they were made with.
    """

    checkpoint: Annotated[
        PathField,
        Field(
            description="A run folder (its best checkpoint), a checkpoint folder, a file of eml export, or an index: "
            "its model."
        ),
    ]
    data: Annotated[PathField | None, Field(description="Table or folder of classes that were not trained on.")] = None
    from_folds: Annotated[
        PathField | None,
        Field(
            description="Instead of data, where all classes are trained on: a folder that eml train --fold all "
            "wrote, with folds by class. Each image is answered by the network that has not seen its class."
        ),
    ] = None
    far: float | None = Field(
        None,
        description="Share of the queries of classes that are not in the gallery that may be accepted, such as 0.01.",
    )
    pair_far: float | None = Field(
        None,
        description="Share of the pairs of images of different classes that may be accepted as the same, such as 1e-3.",
    )
    precision: float | None = Field(None, description="Share of the accepted answers that must be right, such as 0.99.")
    strict: bool = Field(
        False, description="Take the upper end of the threshold's 95 % interval: the goal is kept more often."
    )
    unknown_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of the queries in use whose class is not in the gallery, as the probability of an answer "
        "assumes.",
    )
    root: Annotated[PathField | None, Field(description="Folder that the table's file names start from.")] = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    leave_out_same: LeaveOutSame = None
    within: Within = None
    unknown_label: UnknownLabel = None
    plot: Annotated[
        PathField | None,
        Field(description="Draw what the goal is about, the threshold, and the reliability of answers: a PNG."),
    ] = None
    embed_precision: Precision = "float32"
    tta: Views = None
    random_seed: int = Field(28, description="Seed of the resamples and splits.")
    batch_size: BatchSize = 64
    workers: Workers = 0
    device: Device = "auto"
    overwrite: bool = Field(False, description="Replace files that eml did not write.")
    plugins: Plugins = ()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CalibrateResult(CommandResult):
    """A threshold, and how it does on the classes that it was chosen on and on held-out ones."""

    result: CalibrationResult

    @property
    def threshold(self) -> float:
        """The cosine from which an answer is accepted."""
        return self.result.calibration.threshold.value

    def summary(self) -> str:
        """Return the threshold and its goal."""
        calibration = self.result.calibration
        return f"threshold {self.threshold:.4f} for {calibration.goal} {calibration.goal_value:g}, {self.written[0]}"

    def summary_table(self) -> SummaryTable:
        """Return the threshold and the rates at it, with their 95 % intervals."""
        calibration = self.result.calibration
        threshold = calibration.threshold
        spread = (
            "" if threshold.low is None or threshold.high is None else f"{threshold.low:.4f} … {threshold.high:.4f}"
        )
        rows = [["threshold on the cosine", f"{threshold.value:.4f}", spread]]
        for name, text in RATES_IN_WORDS.items():
            if (rate := calibration.measured.get(name)) is not None:
                span = "" if rate.low is None or rate.high is None else f"{rate.low:.3g} … {rate.high:.3g}"
                rows.append([text, f"{rate.value:.3g}", span])
        return ["", "", "95 % interval"], rows

    def cautions(self) -> tuple[str, ...]:
        """Return what limits the threshold, such as few classes or classes that were trained on."""
        calibration = self.result.calibration
        if calibration.answers is not None and calibration.answers.gallery == "folds":
            return tuple(calibration.notes)
        table = Path(calibration.table or self.result.checkpoint).name
        return (*calibration.notes, *self.result.trained_on.threshold_lines(table))

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration."""
        return self.result.facts()


@command(CalibrateConfig, arguments=("checkpoint",))
def calibrate(config: CalibrateConfig, caller: Caller) -> CalibrateResult:
    """Calibrate a checkpoint."""
    from eml.evaluation.calibration import CalibrationOptions, calibrate_checkpoint
    from eml.reports.calibration import draw_calibration, refuse_plot

    _refuse_both(config)
    own = {"plot", "from_folds", "plugins", *COLUMN_MAP}
    fields = {name: getattr(config, name) for name in type(config).model_fields if name not in own}
    if config.data is not None and not config.data.exists():  # before the model of an index is put inside it
        raise DataError(f"{config.data}: no such file or folder", code="missing-file", parameter="data")
    is_index = not is_remote(config.checkpoint) and (config.checkpoint / DATABASE).is_file()
    named = _model_of_index(config, caller) if is_index else {"checkpoint": str(config.checkpoint)}
    options = CalibrationOptions(**fields | named | {"columns": column_map(config)})
    note_workers(config.workers, caller)
    replaced = []
    if config.plot is not None:
        refuse_plot(config.plot, overwrite=config.overwrite)
        replaced += [config.plot] if config.plot.exists() else []
    if config.from_folds is not None:
        from eml.training.fold_calibration import calibrate_by_folds

        result = calibrate_by_folds(config.from_folds, options, progress=caller.progress)
    else:
        result = calibrate_checkpoint(options, report=caller.note, progress=caller.progress)
    written = [result.path]
    replaced += [result.path] if result.replaced else []
    if config.plot is not None:
        written.append(draw_calibration(result.calibration, config.plot))
    return CalibrateResult(
        result=result,
        written=tuple(written),
        replaced=tuple(replaced),
        next_command=_next_command(config, result, is_index=is_index),
    )


def _model_of_index(config: CalibrateConfig, caller: Caller) -> dict[str, Any]:
    """Return the checkpoint of an index's model, and the way in which it embeds for the index, by option."""
    from eml.indexing.model_record import model_to_calibrate

    place, fingerprint = model_to_calibrate(config.checkpoint, caller.note)
    ways = {"embed_precision": fingerprint.precision, "tta": fingerprint.tta}
    return {"checkpoint": str(place)} | {name: way for name, way in ways.items() if name not in config.model_fields_set}


def _next_command(config: CalibrateConfig, result: CalibrationResult, *, is_index: bool) -> str | None:
    """Return the command that makes an index, where the calibration says how sure an answer is."""
    if is_index:
        return shlex.join(["eml", "index", "calibrate", str(config.checkpoint)])
    if result.calibration.answers is None or config.data is None:
        return None
    words = [] if config.root is None else ["--root", str(config.root)]
    words += [] if config.embed_precision == "float32" else ["--precision", config.embed_precision]
    words += [] if config.tta is None else ["--tta", config.tta]
    return index_command(str(config.checkpoint), config.data, [*words, *column_map_words(config)])


def _refuse_both(config: CalibrateConfig) -> None:
    """Raise ConfigError unless either data or folds are given."""
    if config.data is None and config.from_folds is None:
        text = "give `data`: a table or folder of classes that were not trained on; or `from_folds`, where all are"
        raise ConfigError(text, code="missing-key", parameter="data")
    of_table = ("data", "leave_out_same", "within")
    if config.from_folds is not None and (both := [name for name in of_table if getattr(config, name) is not None]):
        text = f"`{both[0]}` says what to calibrate with, and so does `from_folds`; give one of them"
        raise ConfigError(text, code="conflicting-settings", parameter=both[0])
