"""A network in one process, whole in each of two processes, and sharded over them: memory of each, time of a step.

A step is forward, backward, exchange of gradients and AdamW, as in a training run; the loss is the mean square of the
embeddings. Bytes of weights, gradients and optimizer state are counted tensor by tensor after a step. The peak is the
largest resident set of the second and third step, beyond that of just before the network was created. All groups of
processes of one thread take their steps in turns, medians of several rounds. Wall time is that of the slowest process,
processor time that of the busiest.

    OMP_NUM_THREADS=1 python tests/benchmarks/sharded_network.py --backbone vit_base_patch16_224 --side 64 --batch 2
"""

import argparse
import gc
import json
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from eml.distributed.processes import Processes
from eml.distributed.sharded_network import own_part, shard_network, units
from eml.models.config import ModelConfig
from eml.models.embedder import Embedder, build_embedder
from eml.training.data_parallel import SummedGradients
from eml.training.optimizer import new_optimizer

MIB = 2**20
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A network to train in `world` processes, sharded (`shared`) or not. batch: images per process."""

    backbone: str
    side: int
    batch: int
    world: int
    shared: bool


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """Return the largest resident set since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def bytes_of(tensors: list[Tensor]) -> int:
    """Return the bytes of these tensors that are in this process."""
    return sum(part.numel() * part.element_size() for part in map(own_part, tensors))


def network_and_step(case: Case, rank: int) -> tuple[Embedder, torch.optim.Optimizer, Callable[[], None]]:
    torch.manual_seed(0)
    config = {"backbone": case.backbone, "weights": "none", "neck": {"type": "identity"}}
    network = build_embedder(ModelConfig.model_validate(config), case.side)
    if case.shared:
        shard_network(network, Processes(rank, case.world), CPU, size=case.side)
    gradients = SummedGradients(network) if case.world > 1 else None
    optimizer = new_optimizer("adamw", [{"params": list(network.parameters()), "lr": 1e-4}], CPU)
    images = torch.randn(case.batch, 3, case.side, case.side, generator=torch.Generator().manual_seed(rank))

    def step() -> None:
        if gradients is not None:
            gradients.begin()
        network(images).square().mean().backward()
        if gradients is not None:
            gradients.finish()
        optimizer.step()
        optimizer.zero_grad()

    return network, optimizer, step


def facts(case: Case, rank: int) -> tuple[dict[str, int], Callable[[], None]]:
    before = resident()
    network, optimizer, step = network_and_step(case, rank)
    weights, gradients = list(network.parameters()), list[Tensor]()
    optimizer.register_step_pre_hook(
        lambda *_: gradients.extend(weight.grad for weight in weights if weight.grad is not None)
    )
    step()
    state = [tensor for values in optimizer.state.values() for tensor in values.values()]
    held = {"weights": bytes_of(weights), "gradients": bytes_of(gradients), "state": bytes_of(state)}
    optimizer._optimizer_step_pre_hooks.clear()
    gradients.clear()
    gc.collect()
    stands = resident()
    forget_peak()
    for _ in range(2):
        step()
    return held | {"stands": stands - before, "peak": peak() - before, "units": len(units(network.backbone))}, step


def process(rank: int, case: Case, meet: str, pipe: Connection) -> None:
    """Create the network, send the memory needed, then take a step at each signal."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=case.world)
    facts(Case("test_vit", 32, case.batch, case.world, case.shared), rank)  # loads libraries and connects
    gc.collect()
    needed, step = facts(case, rank)
    pipe.send(needed)
    while pipe.recv():
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        pipe.send((time.perf_counter() - wall, time.process_time() - cpu))
    dist.destroy_process_group()


@dataclass
class Group:
    """The processes that train a network, and their measurements."""

    case: Case
    pipes: list[Connection]
    processes: list[Any]
    facts: list[dict[str, int]]
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)

    @classmethod
    def started(cls, case: Case, folder: str) -> "Group":
        spawn, pipes, processes = multiprocessing.get_context("spawn"), [], []
        for rank in range(case.world):
            here, there = spawn.Pipe()
            meet = f"{folder}/{case.world}-{case.shared}"
            processes.append(spawn.Process(target=process, args=(rank, case, meet, there), daemon=True))
            processes[-1].start()
            pipes.append(here)
        return cls(case, pipes, processes, [pipe.recv() for pipe in pipes])

    def step(self) -> None:
        for pipe in self.pipes:
            pipe.send(True)
        took = [pipe.recv() for pipe in self.pipes]
        self.walls.append(max(wall for wall, _ in took))
        self.cpus.append(max(cpu for _, cpu in took))

    def end(self) -> None:
        for pipe, child in zip(self.pipes, self.processes, strict=True):
            pipe.send(False)
            child.join()

    def summary(self) -> dict[str, Any]:
        most = {key: round(max(facts[key] for facts in self.facts) / MIB, 1) for key in self.facts[0] if key != "units"}
        times = {"wall_s": round(median(self.walls), 3), "processor_s": round(median(self.cpus), 3)}
        return {
            "processes": self.case.world,
            "shared": self.case.shared,
            "units": self.facts[0]["units"],
            **most,
            **times,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2, help="images per process")
    parser.add_argument("--worlds", type=int, nargs="+", default=[2])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    kinds = [(1, False), *((world, shared) for world in options.worlds for shared in (False, True))]
    with tempfile.TemporaryDirectory() as folder:
        cases = [Case(options.backbone, options.side, options.batch, world, shared) for world, shared in kinds]
        groups = [Group.started(case, folder) for case in cases]
        for _ in range(options.rounds):
            for group in groups:
                group.step()
        for group in groups:
            group.end()
            print(json.dumps(group.summary()))


if __name__ == "__main__":
    main()
