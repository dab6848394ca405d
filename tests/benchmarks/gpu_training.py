"""Parts of gpu.py about training steps: eml's engine against a bare loop, and how often a step waits for the device."""

import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import timm
import torch
from bare_arcface import bare_arcface
from gpu_kit import Part, Step, in_turns, matmul_precision, peak_memory, ratio
from PIL import Image
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from eml.dataset.table import Table
from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.fit import Run

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
MODES: dict[str, dict[str, object]] = {
    "dense": {"type": "dense"},
    "tiled": {"type": "tiled", "tile": 512},
    "sampled": {"type": "sampled", "fraction": 0.5},
}


@dataclass(frozen=True)
class Network:
    """A network and the batch that it is measured with."""

    name: str
    side: int
    batch: int


NETWORKS = [Network("resnet50", 224, 128), Network("convnext_tiny", 224, 128), Network("vit_base_patch16_224", 224, 64)]
DRY = [Network("test_resnet", 64, 4), Network("test_vit", 160, 2)]


def networks(part: Part) -> list[Network]:
    return DRY if part.dry else NETWORKS


def engine(part: Part, network: Network, folder: Path, precision: str, *, compiled: bool = False) -> Run:
    """Build a run whose steps are eml's own, on a table of one image."""
    classes = 10 if part.dry else 1000
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "one.png")
    rows = [(f"c{index % classes}", "one.png") for index in range(2 * classes + network.batch)]
    settings = {
        "output": folder / "run",
        "recipe": "none",
        "data": {"table": "none.csv", "fold": None},
        "image": {"size": network.side},
        "model": {"backbone": network.name, "weights": "none", "neck": {"type": "identity"}},
        "batch_size": network.batch,
        "precision": precision,
        "compile": compiled,
        "device": str(part.device),
        "head": {"mode": {"type": "dense"}},
        "schedule": {"shape": "constant", "warmup_epochs": 0},
    }
    run = Run(
        build_parts(
            RunConfig.model_validate(settings), Table(pd.DataFrame(rows, columns=["label", "file_name"]), folder)
        )
    )
    run.parts.set_training_mode()
    return run


def batch_of(part: Part, network: Network) -> tuple[Tensor, Tensor]:
    """Return pixels, in pinned memory where a device copies from it, and the rows of a batch."""
    shape = (network.batch, network.side, network.side, 3)
    pixels = torch.randint(256, shape, dtype=torch.uint8).permute(0, 3, 1, 2)
    return pixels.pin_memory() if part.device.type == "cuda" else pixels, torch.arange(network.batch)


def bare_loop(part: Part, network: Network, run: Run, precision: str, *, compiled: bool) -> Step:
    """Return a step written by hand: the same network, head, loss and rates, and nothing else.

    It is as fast as a few lines of PyTorch can be: fused AdamW, channels last, pinned pixels, and never a wait.
    """
    device, rates = part.device, run.parts.config.optimizer
    model = timm.create_model(network.name, num_classes=0, img_size=network.side) if "vit" in network.name else None
    model = model or timm.create_model(network.name, num_classes=0)
    model = model.to(device, memory_format=torch.channels_last).train()
    weights = torch.nn.Parameter(torch.randn(run.parts.head.num_classes, run.parts.embedder.size, device=device))
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [
        {"params": matrices, "lr": rates.lr.backbone},
        {"params": vectors, "lr": rates.lr.backbone, "weight_decay": 0},
        {"params": [weights], "lr": rates.lr.class_weights, "weight_decay": 0},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=rates.weight_decay, fused=True)
    mean = torch.tensor(run.parts.preprocess.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(run.parts.preprocess.std, device=device).view(1, 3, 1, 1)
    forward = torch.compile(model) if compiled else model
    pixels, rows = batch_of(part, network)
    labels = run.parts.labels[rows.to(run.parts.labels.device)].to(device)

    def step() -> None:
        images = pixels.to(device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
        images = images.div_(255).sub_(mean).div_(std)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            embeddings = forward(images)
        loss = bare_arcface(embeddings, weights, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def compare_steps(part: Part, network: Network, precision: str, *, compiled: bool) -> None:
    """Record the steps per second of eml's engine and of the bare loop, in turns."""
    with tempfile.TemporaryDirectory() as name, matmul_precision("high"):
        run = engine(part, network, Path(name) / "engine", precision, compiled=compiled)
        steps: dict[str, Step] = {"eml": partial(run.step, *batch_of(part, network))}
        memory = {"eml": peak_memory(steps["eml"], part.device)}
        steps["bare"] = bare_loop(part, network, run, precision, compiled=compiled)
        memory["bare"] = peak_memory(steps["bare"], part.device)
        for _ in range(1 if part.dry else 3):  # the optimizers' state, cuDNN's choice of kernels
            for step in steps.values():
                step()
        times = in_turns(steps, part.device, rounds=2 if part.dry else 8, times=1 if part.dry else 5, seconds=5)
    text = "TF32" if precision == "float32" else precision
    rates = {way: round(1 / median(values), 2) for way, values in times.items()}
    part.row(
        f"{network.name}, {network.side} px, B={network.batch}, {text}{', compiled' if compiled else ''}",
        eml_steps_per_s=rates["eml"],
        bare_steps_per_s=rates["bare"],
        eml_images_per_s=round(rates["eml"] * network.batch, 1),
        eml_over_bare_time=round(ratio(times, "eml", "bare"), 3),
        eml_peak_MiB=memory["eml"],
        bare_peak_MiB=memory["bare"],
    )


def steps(part: Part) -> None:
    """Measure the steps of each network in TF32 and bfloat16."""
    torch.backends.cudnn.benchmark = True
    for precision in ("bfloat16", "float32"):
        for network in networks(part):
            measure = partial(compare_steps, part, network, precision, compiled=False)
            part.attempt(f"{network.name}, {precision}", measure, needs=0 if part.dry else 9)


def compiled_steps(part: Part) -> None:
    """Measure the steps of compiled networks in bfloat16; one takes up to a minute to compile, twice."""
    if part.dry:
        part.note("A dry run compiles nothing.")
        return
    for network in networks(part):
        measure = partial(compare_steps, part, network, "bfloat16", compiled=True)
        part.attempt(f"{network.name}, compiled", measure, needs=30)


@contextmanager
def counted_waits(device: torch.device) -> Iterator[Counter[str]]:
    """Count the places where Python code waits for the device, by file and line."""
    places: Counter[str] = Counter()
    if device.type != "cuda":
        yield places
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield places
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for warning in caught:
        if "synchronizing" in str(warning.message):
            places["/".join(Path(warning.filename).parts[-3:]) + f":{warning.lineno}"] += 1


def profiled_waits(step: Step, times: int) -> dict[str, float]:
    """Return how often a step calls the functions of the CUDA runtime that wait, by the profiler."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profile(activities=activities) as recorded:
        for _ in range(times):
            step()
    counts: Counter[str] = Counter()
    for event in recorded.key_averages():
        if event.key in WAITS or event.key.startswith("Memcpy DtoH"):
            counts[event.key] += event.count
    return {name: count / times for name, count in counts.items()}


def engine_waits(part: Part) -> None:
    """Record the waits of a step of the engine."""
    network = DRY[0] if part.dry else Network("resnet18", 128, 64)
    with tempfile.TemporaryDirectory() as name:
        run = engine(part, network, Path(name) / "engine", "bfloat16")
        step = partial(run.step, *batch_of(part, network))
        for _ in range(1 if part.dry else 4):
            step()
        times = 1 if part.dry else 5
        with counted_waits(part.device) as places:
            for _ in range(times):
                step()
        profiled = profiled_waits(step, times)
    where = ", ".join(f"{place} × {count / times:g}" for place, count in places.most_common())
    values = {f"{name} per step": value for name, value in profiled.items()}
    part.row(f"engine, {network.name}", waits_per_step=sum(places.values()) / times, where=where, **values)


def head_waits(part: Part, margin: str) -> None:
    """Record the waits of forward and backward of a margin in each mode."""
    device, classes, size, batch = part.device, 64 if part.dry else 2048, 32, 16
    embeddings = torch.randn(batch, size, device=device, requires_grad=True)
    labels = torch.randint(classes, (batch,), device=device)
    counts, found = list(range(1, classes + 1)), {}
    for mode, settings in MODES.items():
        config = HeadConfig.model_validate({"mode": settings})
        member = Margin.members()[margin].model_validate({"type": margin})
        head, loss = ClassHead(member, classes, size, config, counts=counts).to(device).train(), CrossEntropy()

        def step(head: ClassHead = head, loss: CrossEntropy = loss) -> None:
            loss(head(embeddings, labels)).mean().backward()
            head.forget_step()

        step()
        with counted_waits(device) as places:
            step()
        found[mode] = sum(places.values())
        found[f"{mode}, where"] = ", ".join(f"{place} × {count}" for place, count in places.most_common())
    part.row(margin, **found)


def waits(part: Part) -> None:
    """Count how often the engine's step and each margin wait for the device."""
    part.attempt("engine", partial(engine_waits, part))
    for margin in sorted(Margin.members()):
        part.attempt(margin, partial(head_waits, part, margin), needs=0.5)
