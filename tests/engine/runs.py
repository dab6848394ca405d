"""What the tests of runs share."""

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eml.dataset.table import Table
from eml.engine.config import RunConfig
from eml.engine.events import Event, Stepped
from eml.engine.fit import fit
from eml.errors import Interrupted


def draw(root: Path, classes: int, per_class: int, size: int = 40) -> pd.DataFrame:
    """Classes are colours, pictures of a class differ by noise."""
    random, rows = np.random.default_rng(0), []
    for label in range(classes):
        colour = random.integers(40, 216, 3)
        (root / f"c{label}").mkdir(parents=True)
        for number in range(per_class):
            pixels = (colour + random.normal(0, 30, (size, size, 3))).clip(0, 255).astype(np.uint8)
            name = f"c{label}/{number}.png"
            Image.fromarray(pixels).save(root / name)
            rows.append({"label": f"c{label}", "file_name": name, "fold": number % 3})
    return pd.DataFrame(rows)


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
