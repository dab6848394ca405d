"""Time of forward + backward and extra peak memory of the class head, against its floor and other implementations.

Run `make bench-head`; `--classes`, `--batch` and `--only` narrow it. In one run, in turns, medians of several rounds:
the floor (only the three large products), eml's dense, tiled and sampled mode at 0.1, pytorch-metric-learning's loss if
that package is installed and has the margin, and a plain head with a one-hot matrix. Extra memory is the peak of the
resident set during a step beyond class weights, their gradient and the inputs, measured in a process of its own. Two
rows are whole steps in tiles, with torch's default AdamW and the fused one ("fused", which eml uses); their extra
memory excludes the optimizer's state.
"""

import argparse
import math
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, one_hot

from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin

SIZE = 512
Step = Callable[[], None]
WAYS = ("floor", "dense", "tiled", "sampled 0.1", "pytorch-metric-learning", "plain")
STEPS = ("AdamW", "AdamW, fused")
PML = {"arcface": "ArcFaceLoss", "curricularface": None, "adaface": None, "subcenter_arcface": "SubCenterArcFaceLoss"}


def class_weights(margin: str, classes: int) -> Tensor:
    """Return (C, D) or (C, K, D): one tensor for all ways that use it, as a million classes take 2 GB."""
    return torch.nn.Parameter(torch.randn(classes, *([3] if margin == "subcenter_arcface" else []), SIZE))


def eml_head(margin: str, weights: Tensor, mode: dict[str, object], batch: Tensor, labels: Tensor) -> Step:
    member = Margin.members()[margin].model_validate({"type": margin})
    head = ClassHead(member, len(weights), SIZE, HeadConfig.model_validate({"mode": mode}), class_weights=weights)
    loss = CrossEntropy()

    def step() -> None:
        loss(head(batch, labels)).mean().backward()
        head._sampled = []

    return step


def whole_step(way: str, weights: Tensor, batch: Tensor, labels: Tensor) -> Step:
    """Build a step of ArcFace in tiles: forward, backward and AdamW."""
    head = ClassHead(
        Margin.members()["arcface"](),
        len(weights),
        SIZE,
        HeadConfig.model_validate({"mode": {"type": "tiled"}}),
        class_weights=weights,
    )
    optimizer, loss = torch.optim.AdamW([weights], lr=1e-3, fused=way.endswith("fused") or None), CrossEntropy()

    def step() -> None:
        loss(head(batch, labels)).mean().backward()
        optimizer.step()

    return step


def floor(weights: Tensor, batch: Tensor) -> Step:
    x, rows = batch.detach(), weights.detach().flatten(0, -2)

    def step() -> None:
        cosine = x @ rows.T
        cosine.T @ x
        cosine @ rows

    return step


def peer(margin: str, classes: int, batch: Tensor, labels: Tensor) -> Step | None:
    if PML[margin] is None:
        return None
    try:
        from pytorch_metric_learning import losses
    except ImportError:
        return None
    loss = getattr(losses, PML[margin])(num_classes=classes, embedding_size=SIZE)

    def step() -> None:
        loss(batch, labels).backward()
        loss.W.grad = None

    return step


def plain_head(margin: str, weights: Tensor, batch: Tensor, labels: Tensor) -> Step:
    """Build a step that applies the margin to all of B×C with a one-hot matrix, as most repositories do."""
    classes, centers = len(weights), 3 if margin == "subcenter_arcface" else 1
    state = {"t": torch.zeros(()), "mean": torch.tensor(20.0), "std": torch.tensor(100.0)}

    def arc(cosine: Tensor, m: float) -> Tensor:
        return cosine * math.cos(m) - (1 - cosine**2).sqrt() * math.sin(m)

    def adjusted(cosine: Tensor, hot: Tensor) -> Tensor:
        match margin:
            case "curricularface":
                own = (cosine * hot).sum(1, keepdim=True)
                state["t"] = 0.01 * own.mean().detach() + 0.99 * state["t"]
                hard = cosine > arc(own, 0.5)
                return torch.where(
                    hot == 1, arc(cosine, 0.5), torch.where(hard, cosine * (state["t"] + cosine), cosine)
                )
            case "adaface":
                norms = batch.norm(dim=1, keepdim=True).clamp(0.001, 100).detach()
                state["mean"] = 0.01 * norms.mean() + 0.99 * state["mean"]
                state["std"] = 0.01 * norms.std() + 0.99 * state["std"]
                q = ((norms - state["mean"]) / (state["std"] + 1e-3) * 0.333).clamp(-1, 1)
                angle = (cosine.acos() - 0.4 * q * hot).clamp(1e-3, math.pi - 1e-3)
                return angle.cos() - (0.4 + 0.4 * q) * hot
            case _:
                return torch.where(hot == 1, torch.cos(torch.acos(cosine) + 0.5), cosine)

    def step() -> None:
        cosine = normalize(batch) @ normalize(weights, dim=-1).flatten(0, -2).T
        if centers > 1:
            cosine = cosine.view(len(batch), classes, centers).amax(2)
        cosine = cosine.clamp(-1 + 1e-3, 1 - 1e-3)
        cross_entropy(64 * adjusted(cosine, one_hot(labels, classes).float()), labels).backward()

    return step


def build(way: str, margin: str, weights: Tensor, batch: Tensor, labels: Tensor) -> Step | None:
    match way:
        case "floor":
            return floor(weights, batch)
        case "dense" | "tiled":
            return eml_head(margin, weights, {"type": way}, batch, labels)
        case "sampled 0.1":
            optimizer = {"type": "sgd", "momentum": 0.0}  # without state: only forward and backward are timed
            mode = {"type": "sampled", "fraction": 0.1, "optimizer": optimizer}
            return eml_head(margin, weights, mode, batch, labels)
        case "AdamW" | "AdamW, fused":
            return whole_step(way, weights, batch, labels)
        case "plain":
            return plain_head(margin, weights, batch, labels)
        case _:
            return peer(margin, len(weights), batch, labels)


def inputs(count: int, classes: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(count, SIZE, requires_grad=True), torch.randint(classes, (count,))


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def resident() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


def measure_memory(way: str, margin: str, classes: int, count: int) -> None:
    """Print the peak of one step beyond the memory before it, in bytes, sampled every 2 ms."""
    batch, labels = inputs(count, classes)
    weights = class_weights(margin, classes)
    step = build(way, margin, weights, batch, labels)
    assert step is not None
    if way in STEPS:
        step()  # creates the state
        weights.grad = None
    small = build("dense", "arcface", class_weights("arcface", 100), *inputs(2, 100))
    assert small is not None
    small()  # starts threads and loads libraries
    before, peak, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    thread = threading.Thread(target=watch)
    thread.start()
    step()
    done.set()
    thread.join()
    print(max(peak, resident()) - before)


def extra_memory(way: str, margin: str, classes: int, count: int) -> float:
    """Return the MiB beyond the gradient of the class weights (in mode sampled: of the rows and their copy)."""
    command = [sys.executable, __file__, "--memory-of", way, "--margin", margin]
    command += ["--classes", str(classes), "--batch", str(count)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    gradient = classes * SIZE * 4 * (3 if margin == "subcenter_arcface" else 1)
    return (grown - gradient * (0.2 if way.startswith("sampled") else 1.0)) / 2**20


def compare(margin: str, classes: int, count: int, rounds: int, ways: list[str]) -> None:
    batch, labels = inputs(count, classes)
    weights = class_weights(margin, classes)
    steps = {way: step for way in ways if (step := build(way, margin, weights, batch, labels))}
    times: dict[str, list[float]] = {way: [] for way in steps}
    for turn in range(rounds + 1):
        for way, step in steps.items():
            weights.requires_grad_(not way.startswith("sampled"))
            batch.grad = weights.grad = None
            started = time.perf_counter()
            step()
            if turn:  # the first round warms up
                times[way].append(time.perf_counter() - started)
    machine = f"{torch.get_num_threads()} threads of {processor()}, torch {torch.__version__}"
    print(f"\n{margin}, C={classes:,}, B={count}, D={SIZE}; {machine}")
    first = next(iter(times))
    print(f"| way | seconds | over {first} | extra memory (MiB) |\n|---|---|---|---|")
    steps.clear()
    del weights
    for way, measured in times.items():
        seconds = median(measured)
        memory = extra_memory(way, margin, classes, count)
        ratio = median(own / base for own, base in zip(measured, times[first], strict=True))
        print(f"| {way} | {seconds:.3f} | {ratio:.2f} | {memory:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--margin")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(WAYS))
    parser.add_argument("--memory-of")
    options = parser.parse_args()
    if options.memory_of:
        measure_memory(options.memory_of, options.margin, options.classes, options.batch)
        return
    if options.classes or options.margin:
        compare(
            options.margin or "arcface", options.classes or 100_000, options.batch or 256, options.rounds, options.only
        )
        return
    for classes, count in ((100_000, 256), (10_000, 256)):
        compare("arcface", classes, count, options.rounds, options.only)
    compare("arcface", 1_000_000, 64, 3, options.only)
    compare("arcface", 200_000, 256, options.rounds, list(STEPS))
    for margin in ("curricularface", "adaface", "subcenter_arcface"):
        compare(margin, 100_000, 256, 3, options.only)


if __name__ == "__main__":
    main()
