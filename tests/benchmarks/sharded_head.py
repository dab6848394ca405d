"""The class head shared by 1, 2 and 4 processes of one thread: memory of each, time of a step, bytes exchanged.

A step is forward, backward and the optimizer's: torch's AdamW of all class weights in mode auto, the head's own AdamW
of the sampled rows in mode sampled. All groups of processes take their steps in turns, medians of several rounds. Wall
time is that of the slowest process. Processor time is what each process uses by itself, which is what it would take if
every process had a core. The processor use of other work meanwhile is printed too. Memory is the growth of the resident
set since just before the head was created. Bytes are counted at the calls, converted into what a ring of processes must
send, and compared with the traffic of the loopback device (which other processes may use too).

    OMP_NUM_THREADS=1 python tests/benchmarks/sharded_head.py --classes 200000 --size 512 --batch 256

`--start` instead measures how long one process of several takes to create its part of the head, against one alone.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.head.shards import Shard
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin

MODES: dict[str, dict[str, object]] = {"auto": {"type": "auto"}, "sampled": {"type": "sampled", "fraction": 0.1}}
MIB = 2**20


@dataclass(frozen=True)
class Case:
    """The head to train. fused: torch's AdamW in one pass, without temporary tensors."""

    margin: str
    mode: str
    classes: int
    size: int
    batch: int
    fused: bool = False


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def watched(peak: list[int]) -> Iterator[None]:
    """Keep the largest resident set in peak[0], sampled every 2 ms."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    done.set()
    thread.join()
    peak[0] = max(peak[0], resident())


@contextmanager
def counted(sizes: dict[str, list[int]]) -> Iterator[None]:
    """Record the bytes that each call gives all processes: of the whole for a gather."""
    gather, reduce = dist.all_gather, dist.all_reduce

    def all_gather(parts: list[torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        sizes["all_gather"].append(sum(part.numel() * part.element_size() for part in parts))
        return gather(parts, *args, **kwargs)

    def all_reduce(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes["all_reduce"].append(tensor.numel() * tensor.element_size())
        return reduce(tensor, *args, **kwargs)

    dist.all_gather, dist.all_reduce = all_gather, all_reduce
    try:
        yield
    finally:
        dist.all_gather, dist.all_reduce = gather, reduce


def head_and_step(case: Case, shard: Shard) -> tuple[ClassHead, Callable[[], float]]:
    """Build the head and a training step on this process's part of a batch, which returns the mean loss."""
    torch.manual_seed(0)
    margin = Margin.members()[case.margin].model_validate({"type": case.margin})
    config = HeadConfig.model_validate({"mode": MODES[case.mode]})
    head, loss = ClassHead(margin, case.classes, case.size, config, shard=shard), CrossEntropy()
    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=case.fused or None) if trained else None
    random = torch.Generator().manual_seed(1)
    x = torch.randn(case.batch, case.size, generator=random).tensor_split(shard.world)[shard.rank].requires_grad_()
    labels = torch.randint(case.classes, (case.batch,), generator=random).tensor_split(shard.world)[shard.rank]

    def step() -> float:
        mean = loss(head(x, labels)).mean()
        mean.backward()
        head.step(1e-3)
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
        x.grad = None
        return mean.item()

    return head, step


def process(rank: int, world: int, case: Case, meet: str, pipe: Connection) -> None:
    """Create the head, take two steps, send the memory needed, then take a step at each signal."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=world)
    small = Case(case.margin, case.mode, 100, case.size, case.batch)
    head_and_step(small, shard_of(small, world))[1]()  # loads libraries and connects
    before = resident()
    peak, sizes = [before], defaultdict[str, list[int]](list)
    with watched(peak):
        head, step = head_and_step(case, shard_of(case, world))
        first = step()
        stands = resident()
        with counted(sizes):
            step()
    needed = head.memory_needed(case.batch)
    pipe.send({"peak": peak[0] - before, "stands": stands - before, "needed": needed, "sizes": dict(sizes)})
    pipe.send({"loss": first, "plan": str(head.plan(case.batch))})
    while pipe.recv():
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        pipe.send((time.perf_counter() - wall, time.process_time() - cpu))
    dist.destroy_process_group()


def shard_of(case: Case, world: int) -> Shard:
    return Shard.of_group(case.classes) if world > 1 else Shard.whole(case.classes)


@dataclass
class Group:
    """The processes that share a head, and their measurements."""

    world: int
    pipes: list[Connection]
    processes: list[Any]
    facts: list[dict[str, Any]] = field(default_factory=list)
    first: list[dict[str, Any]] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    cpus: list[list[float]] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    loopback: list[int] = field(default_factory=list)

    @classmethod
    def started(cls, case: Case, world: int, folder: str) -> "Group":
        spawn, pipes, processes = multiprocessing.get_context("spawn"), [], []
        for rank in range(world):
            here, there = spawn.Pipe()
            meet = f"{folder}/{case.margin}-{case.mode}-{world}"
            child = spawn.Process(target=process, args=(rank, world, case, meet, there), daemon=True)
            child.start()
            pipes.append(here)
            processes.append(child)
        group = cls(world, pipes, processes)
        group.facts = [pipe.recv() for pipe in pipes]
        group.first = [pipe.recv() for pipe in pipes]
        return group

    def step(self, *, kept: bool) -> None:
        busy, sent, started = busy_seconds(), loopback(), time.perf_counter()
        for pipe in self.pipes:
            pipe.send(True)
        took = [pipe.recv() for pipe in self.pipes]
        elapsed = time.perf_counter() - started
        own = sum(cpu for _, cpu in took)
        if kept:
            self.walls.append(max(wall for wall, _ in took))
            self.cpus.append([cpu for _, cpu in took])
            self.others.append(max(0.0, (busy_seconds() - busy - own) / elapsed))
            self.loopback.append(loopback() - sent)

    def end(self) -> None:
        for pipe, child in zip(self.pipes, self.processes, strict=True):
            pipe.send(False)
            child.join()


def busy_seconds() -> float:
    """Return the busy seconds of all processors of the machine since it started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / os.sysconf("SC_CLK_TCK")


def loopback() -> int:
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split(":")[1].split()[8]) for line in lines if line.strip().startswith("lo:"))


def ring(sizes: dict[str, list[int]], world: int) -> float:
    """Return the bytes that each process sends per step: (N−1)/N of gathered ones, twice that of reduced ones."""
    share = (world - 1) / world
    return share * (sum(sizes.get("all_gather", [])) + 2 * sum(sizes.get("all_reduce", [])))


def theory(case: Case, world: int) -> float:
    """Return the bytes of embeddings gathered in the forward pass and their gradients summed in the backward pass."""
    return (world - 1) / world * 3 * case.batch * case.size * 4


def measure(case: Case, worlds: list[int], rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        groups = [Group.started(case, world, folder) for world in worlds]
        for turn in range(rounds + 1):
            for group in groups:
                group.step(kept=turn > 0)
        for group in groups:
            group.end()
    show(case, groups)
    base = groups[0]
    return {
        **vars(case),
        "points": [
            {
                "world": group.world,
                "peak_mib": max(fact["peak"] for fact in group.facts) / MIB,
                "stands_mib": max(fact["stands"] for fact in group.facts) / MIB,
                "needed_mib": {name: size / MIB for name, size in group.facts[0]["needed"].items()},
                "seconds": median(group.walls),
                "cpu_seconds": median(max(cpu) for cpu in group.cpus),
                "ratio": median(own / single for own, single in zip(group.walls, base.walls, strict=True)),
                "others": median(group.others),
                "payload": {name: sum(sizes) for name, sizes in group.facts[0]["sizes"].items()},
                "ring": ring(group.facts[0]["sizes"], group.world),
                "loopback": median(group.loopback) / group.world,
            }
            for group in groups
        ],
    }


def show(case: Case, groups: list[Group]) -> None:
    fused = ", fused AdamW" if case.fused else ""
    print(
        f"\n{case.margin}, {case.mode}{fused}: C={case.classes:,}, D={case.size}, B={case.batch}, "
        "one thread per process"
    )
    for group in groups:
        losses = {round(facts["loss"], 4) for facts in group.first}
        print(f"  N={group.world}: first loss {losses}; {group.first[0]['plan']}")
    print(
        "| N | MiB, peak | of it weights, gradient, state | × N / one | s per step | / one | / one, fastest steps "
        "| processor s of the busiest | / one | cores of others | sent by each: ring (KiB) | embeddings alone "
        "| over loopback |"
    )
    print("|---" * 13 + "|")
    base = groups[0]
    for group in groups:
        needed = group.facts[0]["needed"]
        peak, single = (max(fact["peak"] for fact in part.facts) / MIB for part in (group, base))
        pairs = zip(group.walls, base.walls, strict=True)
        cpu, cpu_single = (median(max(took) for took in part.cpus) for part in (group, base))
        print(
            f"| {group.world} | {peak:,.0f} | {sum(needed[name] for name in needed if name != 'work') / MIB:,.0f} "
            f"| {peak * group.world / single:.2f} | {median(group.walls):.3f} | {median(a / b for a, b in pairs):.2f} "
            f"| {min(group.walls) / min(base.walls):.2f} "
            f"| {cpu:.3f} | {cpu / cpu_single:.2f} | {median(group.others):.2f} "
            f"| {ring(group.facts[0]['sizes'], group.world) / 1024:,.0f} | {theory(case, group.world) / 1024:,.0f} "
            f"| {median(group.loopback) / group.world / 1024:,.0f} |"
        )
    for group in groups[1:]:
        calls = ", ".join(f"{len(sizes)} {name} of {sizes}" for name, sizes in group.facts[0]["sizes"].items())
        print(f"  N={group.world}: {calls} bytes")
    sys.stdout.flush()


def start(classes: int, size: int, worlds: list[int], rounds: int) -> None:
    """Print the seconds to create the head in the last of N processes, in turns; no process waits for another."""
    margin, took = Margin.members()["arcface"](), defaultdict[int, list[float]](list)
    for turn in range(rounds + 1):
        for world in worlds:
            began = time.process_time()
            ClassHead(margin, classes, size, shard=Shard(classes, (world - 1) * classes // world, classes))
            if turn:
                took[world].append(time.process_time() - began)
    single = took[worlds[0]]
    print(f"\ncreating the head, C={classes:,}, D={size}\n| N | processor s | / N={worlds[0]} |\n|---|---|---|")
    for world, seconds in took.items():
        ratio = median(own / alone for own, alone in zip(seconds, single, strict=True))
        print(f"| {world} | {median(seconds):.3f} | {ratio:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--worlds", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--margins", nargs="*", default=["arcface", "curricularface"])
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=list(MODES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--fused", action="store_true", help="torch's AdamW in one pass")
    parser.add_argument("--out", type=Path, help="JSON for scaling_model.py")
    parser.add_argument("--start", action="store_true", help="measure only the time to create the head")
    options = parser.parse_args()
    print(f"load {', '.join(f'{load:.2f}' for load in os.getloadavg())} of {os.cpu_count()} cores at the start")
    if options.start:
        start(options.classes, options.size, options.worlds, options.rounds)
        return
    results = []
    for margin in options.margins:
        for mode in options.modes:
            case = Case(margin, mode, options.classes, options.size, options.batch, options.fused)
            results.append(measure(case, options.worlds, options.rounds))
            if options.out:
                options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
