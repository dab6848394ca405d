"""Checks of what several processes can do together."""

from collections.abc import Iterator

import torch
from torch import nn

from eml.distributed.processes import Processes
from eml.distributed.sharded_network import AVAILABLE
from eml.errors import ConfigError, EmlError
from eml.head.modes import Sampled
from eml.models.embedder import Embedder
from eml.training.config import RunConfig
from eml.training.data_parallel import _batch_norms
from eml.training.optimizer import new_optimizer


def sharding_problems(config: RunConfig) -> Iterator[str]:
    """What does not go with `shard_network`, a line each."""
    if not AVAILABLE:
        yield f"shard_network: needs torch 2.8 or later, this is {torch.__version__}; set it to false"
    if config.compile:
        yield "shard_network: not with compile, which we have not tried together; set one of them to false"


def check_processes(config: RunConfig, processes: Processes) -> None:
    """Raises ConfigError for what several processes cannot do."""
    if processes.world == 1:
        return
    problems = []
    try:
        on_cpu = processes.device(config.device).type == "cpu"
    except EmlError:  # told of elsewhere
        on_cpu = False
    if config.precision == "float16":
        problems.append("precision: float16 is for one process; several take bfloat16 or float32")
    if on_cpu and config.model.batch_norm == "synced":
        problems.append("model.batch_norm: synced is for GPUs, torch has it there alone; use frozen")
    try:
        check_parts(config.batch_size, config.accumulate, processes)
    except ConfigError as error:
        problems += error.problems
    if config.shard_network:
        problems += sharding_problems(config)
    sampled = isinstance(config.head.mode, Sampled)
    if (config.shard_network or not sampled) and not goes_by_rows(config.optimizer.name):
        what = "matrices of the network" if sampled else "all class weights"
        instead = "" if config.shard_network else ", or head.mode: sampled, which has an optimizer of its own"
        problems.append(
            f"optimizer.name: {config.optimizer.name} looks at {what} at once, of which each of several "
            f"processes has a part; use adamw or sgd{instead}"
        )
    if problems:
        raise ConfigError(problems)


def check_parts(batch_size: int, accumulate: int, processes: Processes) -> None:
    """Raises ConfigError where a process's share of a batch is too small, so that they would differ in their steps."""
    share = batch_size // processes.world
    if processes.world > 1 and share < accumulate:
        raise ConfigError(
            f"batch_size {batch_size} for {processes.world} processes is {share} or less each, which cannot be "
            f"had in {accumulate} {'parts' if accumulate > 1 else 'part'}; make it at least "
            f"{processes.world * accumulate}"
        )


def goes_by_rows(name: str) -> bool:
    """Whether an optimizer does to a part of a matrix's rows what it does to them in the whole: tried out."""
    random = torch.Generator().manual_seed(0)
    rows, size, part, rate = 64, 48, 20, 1e-3  # large enough for those that factorise matrices
    start, *gradients = (torch.randn(rows, size, generator=random) for _ in range(4))
    for each in gradients:
        each *= torch.logspace(-3, 1, rows).unsqueeze(1)
        along = nn.functional.normalize(start[:part])  # a margin's gradients have none of it, which some look for
        each[:part] -= (each[:part] * along).sum(1, keepdim=True) * along
    moved = []
    for split in ([rows], [part, rows - part]):
        weights = [nn.Parameter(each.clone()) for each in start.split(split)]
        try:
            groups = [{"params": weights, "lr": rate, "weight_decay": 0.1}]
            optimizer = new_optimizer(name, groups, start.device)
            for gradient in gradients:
                for weight, own in zip(weights, gradient.split(split), strict=True):
                    weight.grad = own.clone()
                optimizer.step()
        except Exception:
            return True  # an unknown or unusable one is told of elsewhere
        moved.append((torch.cat([each.detach() for each in weights]) - start) / rate)
    return torch.allclose(moved[0], moved[1], rtol=1e-3, atol=1e-3)


def batch_norm_note(embedder: Embedder, processes: Processes) -> Iterator[str]:
    """What to know of BatchNorm layers that train on parts of a batch."""
    layers = [each for each in _batch_norms(embedder) if each.training and not isinstance(each, nn.SyncBatchNorm)]
    if processes.world > 1 and layers:
        yield (
            "BatchNorm sees each process's part of a batch, so the result depends on their number; on GPUs "
            "model.batch_norm: synced makes it see the whole batch"
        )


def sharding_note(config: RunConfig, processes: Processes) -> Iterator[str]:
    """Where there is nobody to share with."""
    if config.shard_network and processes.world == 1:
        yield "shard_network: one process holds the whole network; to share it out start several, --devices N"
