"""A model of the class head's step and memory, fitted on single processes and compared with other measurements.

Processor seconds of a step = a · products + b · entries + c · numbers + d. Products are the multiply-adds of the large
matrices, including those computed twice; entries the B·n cosines with the n classes compared by a process; numbers the
n·D of their weights. a, b, c, d ≥ 0 minimise the squared relative error on small heads in one process. The model
predicts larger heads, and the processes of sharded_head.py, of which it knows only the number. Bytes are those of
`ClassHead.memory_needed`, without any fit, plus AdamW's temporary tensors: two like the weights, or in mode sampled
four like its rows.

    OMP_NUM_THREADS=1 python tests/benchmarks/sharded_head.py --out points.json
    OMP_NUM_THREADS=1 python tests/benchmarks/scaling_model.py --points points.json

`--table` needs no measurement: it prints the arithmetic of docs/scaling.md for GPUs, from published peaks.
"""

import argparse
import gc
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.optimize import nnls
from sharded_head import MODES, Case, head_and_step

from eml.head.modes import Mode
from eml.head.plan import ClassPlan, make_plan
from eml.head.shards import Shard

SMALL = {
    "auto": [
        (10_000, 512, 256),
        (20_000, 512, 256),
        (40_000, 512, 256),
        (20_000, 128, 256),
        (40_000, 128, 256),
        (40_000, 512, 64),
        (20_000, 256, 128),
    ],
    "sampled": [
        (50_000, 512, 256),
        (80_000, 512, 256),
        (50_000, 128, 256),
        (100_000, 128, 256),
        (50_000, 512, 512),
        (100_000, 256, 128),
        (150_000, 256, 128),
    ],
}
LARGE = {
    "auto": [(100_000, 512, 256), (1_000_000, 256, 64)],
    "sampled": [(400_000, 512, 256), (1_000_000, 256, 64)],
}


def plan(case: Case, world: int = 1) -> ClassPlan:
    mode = Mode.members()[str(MODES[case.mode]["type"])].model_validate(MODES[case.mode])
    return make_plan(mode, case.batch, case.classes, 1, case.size, number_bytes=4, on_cpu=True, world=world)


def terms(case: Case, world: int = 1) -> list[float]:
    """Return products, entries, numbers and 1."""
    spec = plan(case, world)
    entries = case.batch * spec.compared
    again = 0.0 if spec.tile is None else 1 - min(1.0, spec.kept / spec.compared)
    return [entries * case.size * (3 + again), entries, spec.compared * case.size, 1.0]


def seconds(case: Case, rounds: int) -> float:
    """Return the processor seconds of a step, the median of several."""
    head, step = head_and_step(case, Shard.whole(case.classes))
    took = []
    for turn in range(rounds + 1):
        started = time.process_time()
        step()
        if turn:
            took.append(time.process_time() - started)
    del head, step
    gc.collect()
    return median(took)


def line(case: Case, world: int, predicted: float, measured: float, unit: str) -> None:
    name = f"{case.margin}, {case.mode}, C={case.classes:,}, D={case.size}, B={case.batch}"
    print(f"| {name} | {world} | {predicted:,.3g} {unit} | {measured:,.3g} {unit} | {predicted / measured - 1:+.0%} |")


def compare(margin: str, mode: str, points: list[dict], rounds: int) -> None:  # type: ignore[type-arg]
    small = [Case(margin, mode, *sizes) for sizes in SMALL[mode]]
    measured = [seconds(case, rounds) for case in small]
    rows = np.array([terms(case) for case in small]) / np.array(measured)[:, None]
    size = rows.max(0)
    rates = nnls(rows / size, np.ones(len(small)))[0] / size
    a, b, c, d = rates
    print(
        f"\n{margin}, {mode}: {a * 1e12:.1f} ps per multiply-add, {b * 1e9:.2f} ns per entry, "
        f"{c * 1e9:.2f} ns per number, {d * 1e3:.1f} ms per step\n\n"
        "| | N | predicted | measured | error |\n|---|---|---|---|---|"
    )
    for case, took in zip(small, measured, strict=True):
        line(case, 1, float(rates @ terms(case)), took, "s, fitted")
    for sizes in LARGE[mode]:
        case = Case(margin, mode, *sizes)
        line(case, 1, float(rates @ terms(case)), seconds(case, 3), "s")
        sys.stdout.flush()
    for point in points:
        case = Case(**{name: point[name] for name in Case.__dataclass_fields__ if name in point})
        if (case.margin, case.mode, case.fused) == (margin, mode, False):
            for group in point["points"]:
                line(case, group["world"], float(rates @ terms(case, group["world"])), group["cpu_seconds"], "s")
            for group in point["points"]:
                needed = group["needed_mib"]
                temporary = 2 * needed["weights"] if mode == "auto" else 2 * needed["gradient"]
                line(case, group["world"], sum(needed.values()) + temporary, group["peak_mib"], "MiB")
    sys.stdout.flush()


@dataclass(frozen=True)
class Device:
    """Published peaks of an H100 SXM, and the assumed (not measured) share of them that is reached."""

    memory: float = 80e9
    bfloat16: float = 989e12  # operations a second, dense
    float32: float = 67e12
    hbm: float = 3.35e12  # bytes a second
    nvlink: float = 450e9  # bytes a second, each way
    network: float = 50e9  # 400 Gbit a second, each way
    products_reached: float = 0.5
    hbm_reached: float = 0.8
    per_node: int = 8


PASSES, PASSES_AGAIN = 32, 3
"""Reads and writes of a B×tile matrix in a step of mode tiled, counted in eml/head/tiled.py for a margin that does not
change the other classes: 13 forward and 19 backward; and additional ones for cosines that are computed twice."""


def arithmetic(classes: int, world: int, share: float, each_batch: int = 128, size: int = 512) -> str:
    """Return a line of the table. share: share of the classes in a step, 1 for mode tiled."""
    device, batch = Device(), each_batch * world
    mode = Mode.members()["tiled"]() if share == 1 else Mode.members()["sampled"].model_validate({"fraction": share})
    spec = make_plan(mode, batch, classes, 1, size, number_bytes=4, on_cpu=False, world=world)
    weights, rows, entries = 4 * spec.here * size, 4 * spec.compared * size, batch * spec.compared
    gradient, state = (weights, 2 * weights) if share == 1 else (2 * rows, 2 * weights + 4 * spec.here)
    held = weights + gradient + state + spec.work()
    again = 0.0 if spec.tile is None else 1 - min(1.0, spec.kept / spec.compared)
    operations = 2 * (3 + again) * entries * size
    products = operations / (device.bfloat16 * device.products_reached)
    exact = operations / (device.float32 * device.products_reached)
    passes = (PASSES + PASSES_AGAIN * again) * 4 * entries / (device.hbm * device.hbm_reached)
    moved = 7 * rows if share == 1 else 14 * rows  # AdamW reads four and writes three; rows are gathered and scattered
    optimizer = moved / (device.hbm * device.hbm_reached)
    sent = 3 * batch * size * 4 * (world - 1) / world
    wire = sent / (device.network if world > device.per_node else device.nvlink)
    total = products + passes + optimizer + wire
    cells = [
        f"{classes / 1e6:g}M",
        "tiled" if share == 1 else f"sampled {share:g}",
        f"{world}",
        f"{batch:,}",
        f"{weights / 1e9:,.2f}",
        f"{held / 1e9:,.1f}" + ("" if held < 0.9 * device.memory else " (too much)"),
        *(f"{1e3 * duration:,.1f}" for duration in (products, exact, passes, optimizer)),
        f"{sent / 1e6:,.0f}",
        f"{1e3 * wire:,.2f}",
        f"{1e3 * total:,.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def table() -> None:
    print(
        "| classes | mode | N | B | weights (GB) | memory (GB) | products, bfloat16 (ms) | the same in float32 (ms) "
        "| passes (ms) | AdamW (ms) | sent (MB) | network (ms) | step (ms) |"
    )
    print("|---" * 13 + "|")
    for classes, worlds in ((1_000_000, (1, 8, 64)), (10_000_000, (8, 64, 256)), (100_000_000, (8, 64, 256))):
        for share in (1.0, 0.1):
            for world in worlds:
                print(arithmetic(classes, world, share))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, help="the JSON file that sharded_head.py wrote")
    parser.add_argument("--margins", nargs="*", default=["arcface", "curricularface"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        table()
        return
    torch.set_num_threads(1)
    points = json.loads(options.points.read_text()) if options.points else []
    for margin in options.margins:
        for mode in MODES:
            compare(margin, mode, points, options.rounds)


if __name__ == "__main__":
    main()
