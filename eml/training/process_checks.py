"""Checks of settings that several processes cannot use together, and notes on their use."""

from collections.abc import Iterator

import torch
from torch import nn

from eml.distributed.processes import Processes
from eml.distributed.sharded_network import is_available
from eml.errors import ConfigError, EmlError, Problem
from eml.head.modes import Sampled
from eml.models.embedder import Embedder
from eml.training.config import RunConfig
from eml.training.data_parallel import batch_norms
from eml.training.optimizer import new_optimizer


def sharding_problems(config: RunConfig) -> Iterator[Problem]:
    """Yield the problems of a config with `shard_network`, a line each."""
    if not is_available():
        yield _problem("shard_network", f"needs torch 2.8 or later, this is {torch.__version__}; set it to false")
    if config.loss.compares_texts:
        text = f"does not shard a text tower, which loss {config.loss.type} trains; set it to false"
        yield _problem("shard_network", text)
    if config.compile:
        text = "does not work with compile, since the combination is untested; set one of them to false"
        yield _problem("shard_network", text)


def check_processes(config: RunConfig, processes: Processes) -> None:
    """Raise ConfigError, with all problems at once, for settings that several processes cannot use."""
    if processes.world == 1:
        return
    problems: list[str] = []
    try:
        on_cpu = processes.device(config.device).type == "cpu"
    except EmlError:  # reported elsewhere
        on_cpu = False
    if config.precision == "float16":
        text = "float16 is for one process; with several use bfloat16 or float32"
        problems.append(_problem("precision", text))
    if on_cpu and config.model.batch_norm == "synced":
        text = "synced is for GPUs, since torch has it only there; use frozen"
        problems.append(_problem("model.batch_norm", text))
    try:
        check_parts(config.batch_size, config.accumulate, processes)
    except ConfigError as error:
        problems += error.problems
    if config.shard_network:
        problems += sharding_problems(config)
    sampled = isinstance(config.head.mode, Sampled)
    if (config.shard_network or not sampled) and not goes_by_rows(config.optimizer.name):
        matrices = "matrices of the network" if sampled else "all class weights"
        alternative = "" if config.shard_network else ", or head.mode: sampled, which has an optimizer of its own"
        text = (
            f"{config.optimizer.name} needs {matrices} at once, and each of several processes has only a part of "
            f"them; use adamw or sgd{alternative}"
        )
        problems.append(_problem("optimizer.name", text))
    if problems:
        raise ConfigError(problems)


def _problem(key: str, text: str) -> Problem:
    return Problem(f"{key}: {text}", "unsupported-by-processes", key)


def check_parts(batch_size: int, accumulate: int, processes: Processes) -> None:
    """Raise ConfigError when a process's share of a batch is too small for all to take equal steps."""
    share = batch_size // processes.world
    if processes.world > 1 and share < accumulate:
        raise ConfigError(
            f"batch_size {batch_size} gives {processes.world} processes {share} or fewer images each, which cannot be "
            f"divided into {accumulate} {'parts' if accumulate > 1 else 'part'}; make it at least "
            f"{processes.world * accumulate}",
            code="out-of-range",
            parameter="batch_size",
        )


def goes_by_rows(name: str) -> bool:
    """Return whether an optimizer treats part of a matrix's rows as it treats them in the whole, by trying it."""
    random = torch.Generator().manual_seed(0)
    rows, size, part, rate = 64, 48, 20, 1e-3  # large enough for those that factorise matrices
    start, *gradients = (torch.randn(rows, size, generator=random) for _ in range(4))
    for gradient in gradients:
        gradient *= torch.logspace(-3, 1, rows).unsqueeze(1)
        along = nn.functional.normalize(start[:part])  # absent from a margin's gradients, which some optimizers detect
        gradient[:part] -= (gradient[:part] * along).sum(1, keepdim=True) * along
    moved = []
    for split in ([rows], [part, rows - part]):
        weights = [nn.Parameter(rows_of_part.clone()) for rows_of_part in start.split(split)]
        try:
            groups = [{"params": weights, "lr": rate, "weight_decay": 0.1}]
            optimizer = new_optimizer(name, groups, start.device)
            for gradient in gradients:
                for weight, own in zip(weights, gradient.split(split), strict=True):
                    weight.grad = own.clone()
                optimizer.step()
        except Exception:
            return True  # an unknown or unusable optimizer is reported elsewhere
        moved.append((torch.cat([weight.detach() for weight in weights]) - start) / rate)
    return torch.allclose(moved[0], moved[1], rtol=1e-3, atol=1e-3)


def batch_norm_note(embedder: Embedder, processes: Processes) -> Iterator[str]:
    """Yield a note when BatchNorm layers train on parts of a batch."""
    layers = [layer for layer in batch_norms(embedder) if layer.training and not isinstance(layer, nn.SyncBatchNorm)]
    if processes.world > 1 and layers:
        yield (
            "BatchNorm sees each process's part of a batch, so the result depends on their number; on GPUs "
            "model.batch_norm: synced makes it see the whole batch"
        )


def sharding_note(config: RunConfig, processes: Processes) -> Iterator[str]:
    """Yield a note when there is only one process to hold the network."""
    if config.shard_network and processes.world == 1:
        yield "shard_network: one process holds the whole network; start several: eml train CONFIG --devices N"
