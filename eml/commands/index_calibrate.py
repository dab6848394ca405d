"""`eml index calibrate`: the calibration of its checkpoint for an index."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathText, command
from eml.commands.indexing import ChangedIndex
from eml.commands.options import Device


class CalibrateIndexConfig(CommandConfig):
    """Fit the calibration of the checkpoint to the classes of an index, so that it gives probabilities and unknown.

    A build does so by itself, and an addition where the index has changed much. This is for a checkpoint that was
    calibrated, or calibrated again, later, and for an index that has lost many images.
    """

    index: ChangedIndex
    checkpoint: Annotated[
        PathText | None, Field(description="The calibrated checkpoint. Default: that of the index.")
    ] = None
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CalibrateIndexResult(CommandResult):
    """The calibration that the index has now."""

    index: Path
    checkpoint: str
    far: float
    threshold: float

    def summary(self) -> str:
        """Return the goal and where the calibration is from."""
        return f"{self.index}: accepts {self.far:g} of the queries of other classes, from {self.checkpoint}"

    def to_dict(self) -> dict[str, Any]:
        """Return the facts."""
        names = ("checkpoint", "far", "threshold")
        return {"index": str(self.index)} | {name: getattr(self, name) for name in names}


@command(CalibrateIndexConfig, arguments=("index", "checkpoint"), name="index calibrate")
def calibrate_index(config: CalibrateIndexConfig, caller: Caller) -> CalibrateIndexResult:
    """Take the calibration over."""
    from eml.errors import CheckpointError
    from eml.indexing.calibrating import calibrate_store
    from eml.indexing.index import Index

    with Index.open(config.index, model=config.checkpoint, device=config.device) as index:
        model = index.own_model
        answers = calibrate_store(index.store, model, caller.note)
    if answers is None:
        named = str(config.index) if config.checkpoint is None else str(model.folder or model.source)
        line = shlex.join(["eml", "calibrate", named, "--data", "TABLE", "--far", "0.05"])
        mismatch = f" (its calibration is of {model.calibration_mismatch})" if model.calibration_mismatch else ""
        text = f"{model.folder or model.source}: has no calibration of answers{mismatch}; first run: {line}"
        raise CheckpointError(text, code="not-calibrated", parameter="checkpoint")
    return CalibrateIndexResult(
        index=config.index, checkpoint=str(model.folder or model.source), far=answers.far, threshold=answers.threshold
    )
