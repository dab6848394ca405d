"""docs/sampling.md: its config loads, its Python runs, its notes are real."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from eml.config import load
from eml.images.samplers import Classes, Sampler
from eml.images.samplers.per_class import PerClass
from eml.training.config import RunConfig

PAGE = (Path(__file__).parent.parent / "docs" / "sampling.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))


def test_the_pages_config_loads_and_its_python_runs(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("output: run\ndata: {table: folds.csv}\n" + BLOCKS["yaml"])
    assert load(RunConfig, tmp_path / "run.yaml").sampler == PerClass(per_class=4)
    names: dict[str, Any] = {}
    exec(BLOCKS["python"], names)
    assert names["rows"].shape == (15, 8)


def test_the_pages_notes_are_real_and_it_has_every_sampler() -> None:
    sizes = [300, *[6] * 30, 2]
    told = PerClass(per_class=3).notes(Classes(np.repeat(np.arange(32), sizes)), 12, [str(size) for size in sizes])
    for line in BLOCKS[""].splitlines():
        assert any(note.startswith(line.removesuffix(" …")) for note in told), line
    assert set(re.findall(r"^\| `(\w+)`", PAGE, flags=re.MULTILINE)) - {"type"} == set(Sampler.members())
