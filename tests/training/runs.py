"""What the tests of runs share."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eml.dataset.table import Table, write_table
from eml.errors import Interrupted
from eml.margins import Margin
from eml.training.config import RunConfig
from eml.training.events import Event, Stepped
from eml.training.fit import fit

MARGINS_WITHOUT_MIX = {
    name
    for name, member in Margin.members().items()
    for margin in [member.model_validate({"type": name})]
    if margin.reduction != "softmax" or margin.prototypes() is not None
}
"""Margins that cannot train on mixed images: they take one label per image, or remember prototypes."""


def draw(root: Path, classes: int, per_class: int, size: int = 40) -> pd.DataFrame:
    """Classes are colours, images of a class differ by noise."""
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


def by_class(table: Table, tmp_path: Path, **columns: object) -> Table:
    """Classes 0 to 2 are held out."""
    frame = table.frame.assign(fold=(table.frame["label"] > "c2").astype(int), **columns)
    return write_table(frame, tmp_path / "by_class.csv", command="test", root=table.root)


def by(config: RunConfig, table: Table, **validation: object) -> RunConfig:
    return changed(config, data=config.data.model_dump() | {"table": table.path}, validation=validation)


def left_by(run: Path) -> dict[str, bytes]:
    """What a run must leave the same: both logs, and every file of every checkpoint."""
    files = [run / "steps.jsonl", run / "metrics.jsonl", *sorted((run / "checkpoints").rglob("*"))]
    return {str(file.relative_to(run)): file.read_bytes() for file in files if file.is_file()}


def lines(run: Path, log: str = "steps") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / f"{log}.jsonl").read_text().splitlines()]


def assert_near(one: Path, other: Path, rel: float = 1e-5) -> None:
    """Losses, gradient norms and validations but for rounding."""
    assert len(lines(one)) == len(lines(other))
    for mine, theirs in zip(lines(one), lines(other), strict=True):
        for key in ("loss", "gradient_norm", "target_cosine"):
            assert mine[key] == pytest.approx(theirs[key], rel=rel, abs=1e-5), (mine["step"], key)
    assert lines(one, "metrics") == [pytest.approx(each, abs=1e-3) for each in lines(other, "metrics")]


def stop_at(config: RunConfig, table: Table, when: object) -> None:
    def observe(event: Event) -> None:
        if event == when or (isinstance(event, Stepped) and event.step == when):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"Resume with: eml train .* --resume"):
        fit(config, table, observe=observe)
