"""Parts of gpu.py that check results: margins on the device against the CPU, resuming there, and the tests of a GPU."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from gpu_kit import Part, matmul_precision
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from eml.dataset.table import Table, write_table
from eml.errors import Interrupted
from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin
from eml.training.config import RunConfig
from eml.training.events import Event, Stepped
from eml.training.fit import fit

ROOT = Path(__file__).resolve().parents[2]
CLASSES, SIZE, BATCH, STEPS = 50, 24, 12, 2
MODES: list[dict[str, object]] = [
    {"type": "dense"},
    {"type": "tiled", "tile": 16, "memory": 0},
    {"type": "tiled", "tile": 64},
    {"type": "sampled", "fraction": 0.5},
]
BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-10}


def results(head: ClassHead, embeddings: list[Tensor], labels: Tensor, draws: Tensor) -> list[Tensor]:
    """Return losses and gradients of some steps in a row, which also move the margin's state, on the CPU."""
    loss, everything, device = CrossEntropy(), [], head.class_weights.device
    classes = torch.cat([labels.unique(), torch.arange(CLASSES - 5, CLASSES)]).unique().to(device)
    for batch in embeddings:
        batch = batch.detach().clone().to(device).requires_grad_()  # a leaf of its own on any device
        given = {"classes": classes} if head.sampled is not None else {}
        losses = loss(head(batch, labels.to(device), draws=draws.to(batch), **given))
        losses.mean().backward()
        gradients = [rows.grad for rows in head.sampled_rows()] or [head.class_weights.grad]
        assert batch.grad is not None
        everything += [losses.detach(), batch.grad, *gradients]
        head.zero_grad(set_to_none=True)
        head.forget_step()
    return [values.cpu() for values in everything if values is not None]


def difference(head: ClassHead, device: torch.device) -> float:
    """Return the largest difference of a head's results on the device, relative to the largest value of each."""
    random = torch.Generator().manual_seed(1)
    dtype = head.class_weights.dtype
    embeddings = [torch.randn(BATCH, SIZE, generator=random, dtype=torch.float64).to(dtype) for _ in range(STEPS)]
    labels = torch.randint(CLASSES, (BATCH,), generator=random)
    draws = torch.randn(BATCH, generator=random, dtype=torch.float64).to(dtype)
    moved = deepcopy(head).to(device)
    pairs = zip(results(head, embeddings, labels, draws), results(moved, embeddings, labels, draws), strict=True)
    return max(float((own - other).abs().max() / own.abs().max().clamp_min(1e-30)) for own, other in pairs)


def check_margin(part: Part, margin: str) -> None:
    """Record by how much a margin differs on the device, in every mode, precision and with several centres."""
    worst = dict.fromkeys(BOUNDS, 0.0)
    member = Margin.members()[margin].model_validate({"type": margin})
    variants: list[dict[str, object]] = [{}] if "centers" in type(member).model_fields else [{}, {"centers": 3}]
    modes = MODES[1:2] if part.dry else MODES
    for settings in variants[:1] if part.dry else variants:
        for mode in modes:
            for dtype in BOUNDS:
                torch.manual_seed(0)
                config = HeadConfig.model_validate({"scale": 8.0} | settings | {"mode": mode})
                head = ClassHead(member, CLASSES, SIZE, config, counts=list(range(1, CLASSES + 1)), dtype=dtype)
                worst[dtype] = max(worst[dtype], difference(head.train(), part.device))
    equal = all(worst[dtype] <= bound for dtype, bound in BOUNDS.items())
    values = {str(dtype).removeprefix("torch."): float(f"{value:.2g}") for dtype, value in worst.items()}
    part.row(margin, equal=equal, **values)


def margins(part: Part) -> None:
    """Compare every margin on the device with the CPU."""
    bounds = ", ".join(f"{bound:g} in {str(dtype).removeprefix('torch.')}" for dtype, bound in BOUNDS.items())
    part.note(f"Largest difference of losses and gradients relative to the largest value; equal: at most {bounds}.")
    with matmul_precision("highest"):
        for margin in sorted(Margin.members()):
            part.attempt(margin, partial(check_margin, part, margin))


def drawn_table(root: Path) -> Table:
    """Draw classes of noisy colours and write their table."""
    random, rows = np.random.default_rng(0), []
    for label in range(6):
        colour = random.integers(40, 216, 3)
        (root / f"c{label}").mkdir(parents=True)
        for number in range(6):
            pixels = (colour + random.normal(0, 30, (40, 40, 3))).clip(0, 255).astype(np.uint8)
            name = f"c{label}/{number}.png"
            Image.fromarray(pixels).save(root / name)
            rows.append({"label": f"c{label}", "file_name": name, "fold": number % 3})
    return write_table(pd.DataFrame(rows), root / "folds.csv", command="gpu", root=root)


def run_config(part: Part, table: Table, output: Path) -> RunConfig:
    settings = {
        "output": output,
        "recipe": "none",
        "stages": "none",
        "epochs": 2,
        "data": {"table": table.path},
        "image": {"size": 32},
        "model": {"backbone": "test_resnet", "weights": "none", "neck": {"type": "identity"}},
        "margin": {"type": "elastic_arcface"},
        "head": {"mode": {"type": "tiled"}},
        "batch_size": 8,
        "precision": "float32",
        "device": str(part.device),
    }
    return RunConfig.model_validate(settings)


def compare_runs(one: Path, other: Path) -> dict[str, float | bool]:
    """Return whether two runs left the same, and by how much their losses and weights differ."""
    logs = [
        [json.loads(line)["loss"] for line in (run / "steps.jsonl").read_text().splitlines()] for run in (one, other)
    ]
    found = [{file.relative_to(run): file for file in run.glob("checkpoints/*/*.safetensors")} for run in (one, other)]
    weights = [[load_file(files[name]) for name in sorted(files)] for files in found]
    by_tensor = [
        float((mine[key].double() - theirs[key].double()).abs().max())
        for mine, theirs in zip(*weights, strict=True)
        for key in mine
        if mine[key].numel()
    ]
    losses = max(abs(mine - theirs) for mine, theirs in zip(*logs, strict=True))
    return {"to the bit": max(by_tensor) == 0 and losses == 0, "loss differs by": losses, "weights by": max(by_tensor)}


def resume(part: Part) -> None:
    """Compare a run that was stopped and resumed with two that were not: a device need not repeat itself to the bit."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        table = drawn_table(root / "images")
        for run in ("whole", "again"):
            fit(run_config(part, table, root / run), table)

        def stop(event: Event) -> None:
            if isinstance(event, Stepped) and event.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

        config = run_config(part, table, root / "stopped")
        try:
            fit(config, table, observe=stop)
        except Interrupted:
            part.note("One run was stopped by SIGINT after step 3 and resumed.")
        fit(config, table, resume=True)
        part.row("the same run twice", **compare_runs(root / "whole", root / "again"))
        part.row("stopped and resumed", **compare_runs(root / "whole", root / "stopped"))


def gpu_tests(part: Part) -> None:
    """Run the tests that need a GPU."""
    if importlib.util.find_spec("pytest") is None:
        part.note("pytest is not installed, so the tests that need a GPU did not run.")
        return
    files = sorted(
        str(path) for path in (ROOT / "tests").rglob("test_*.py") if "needs a GPU" in path.read_text("utf-8")
    )
    command = [sys.executable, "-m", "pytest", "-m", "", "-k", "gpu or cuda", "-p", "no:cacheprovider", *files]
    if part.dry:
        command.append("--collect-only")
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(5.0, part.left() - 2))
    lines = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    last = run.stdout.strip().splitlines()[-1:] or [run.stderr.strip()[-300:]]
    part.row(f"{len(files)} files", passed=run.returncode == 0, summary=last[0], failures="; ".join(lines)[:2000])
