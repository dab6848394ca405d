"""Weights & Biases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from eml.trackers.base import Tracker, TrackerLog, Values


class WandB(Tracker):
    """A run of Weights & Biases, with its files in RUN/wandb. Mode offline sends nothing until `wandb sync`."""

    type: Literal["wandb"] = "wandb"
    package: ClassVar[str] = "wandb"
    project: str = Field("eml", description="name of the project")
    entity: str | None = Field(None, description="user or team; null: your own account")
    name: str | None = Field(None, description="name of the run; null: that of the run folder")
    mode: Literal["online", "offline"] = Field("online", description="whether anything is sent")

    def open(self, run: Path, config: Mapping[str, Any], *, resumed: bool) -> TrackerLog:
        """Derive the run's id from its folder, so that a resumed run continues the same one."""
        import wandb

        wandb_run = wandb.init(
            project=self.project,
            entity=self.entity,
            name=self.name or run.name,
            id=hashlib.blake2b(str(run.resolve()).encode(), digest_size=8).hexdigest(),
            resume="allow" if resumed else None,
            config=dict(config),
            dir=str(run),
            mode=self.mode,
        )
        return _WandBLog(wandb_run)


class _WandBLog:
    def __init__(self, run: Any) -> None:
        self._run = run

    def write(self, step: int, values: Values) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()
