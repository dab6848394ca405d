"""Weights & Biases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from eml.trackers.base import Log, Tracker, Values


class WandB(Tracker):
    """A run of Weights & Biases, its files in RUN/wandb. mode offline sends nothing until `wandb sync`."""

    type: Literal["wandb"] = "wandb"
    package: ClassVar[str] = "wandb"
    project: str = Field("eml", description="name of the project")
    entity: str | None = Field(None, description="user or team; null: your own")
    name: str | None = Field(None, description="of the run; null: the run folder's")
    mode: Literal["online", "offline"] = Field("online", description="whether anything is sent")

    def open(self, run: Path, config: Mapping[str, Any], *, resumed: bool) -> Log:
        """The run's id follows from its folder, so that a resumed run goes on in the same one."""
        import wandb

        made = wandb.init(
            project=self.project,
            entity=self.entity,
            name=self.name or run.name,
            id=hashlib.blake2b(str(run.resolve()).encode(), digest_size=8).hexdigest(),
            resume="allow" if resumed else None,
            config=dict(config),
            dir=str(run),
            mode=self.mode,
        )
        return _Log(made)


class _Log:
    def __init__(self, run: Any) -> None:
        self._run = run

    def write(self, step: int, values: Values) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()
