"""What the tests of runs share."""

import os
import signal
from pathlib import Path

import pytest

from eml.dataset.table import Table
from eml.engine.config import RunConfig
from eml.engine.events import Event, Stepped
from eml.engine.fit import fit
from eml.errors import Interrupted


def changed(config: RunConfig, **values: object) -> RunConfig:
    return RunConfig.model_validate(config.model_dump() | values)


def left_by(run: Path) -> dict[str, bytes]:
    """What a run must leave the same: both logs, and every file of every checkpoint."""
    files = [run / "steps.jsonl", run / "metrics.jsonl", *sorted((run / "checkpoints").rglob("*"))]
    return {str(file.relative_to(run)): file.read_bytes() for file in files if file.is_file()}


def stop_at(config: RunConfig, table: Table, when: object) -> None:
    def observe(event: Event) -> None:
        if event == when or (isinstance(event, Stepped) and event.step == when):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"Go on with: eml train .* --resume"):
        fit(config, table, observe=observe)
