"""`eml train --dry-run`: what a run would be, from two of its steps; nothing is written."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from eml.dataset.columns import seen_sizes
from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.distributed.sharded_network import own_part
from eml.errors import EmlError
from eml.head.class_head import ClassHead
from eml.head.compatibility import smoothing_warning
from eml.training.config import RunConfig
from eml.training.fit import Run
from eml.training.nan_check import NotFiniteError
from eml.training.recipe import resolved

MIB = 2**20
UPSCALED = 2.0  # images enlarged by more than this have nothing to show at that size


def rehearse(
    config: RunConfig, table: Table, processes: Processes = SINGLE_PROCESS
) -> tuple[dict[str, Any], list[str]]:
    """Build everything, take two steps, write nothing. Facts of the run that would be, and warnings, a line each.

    processes: that have met and all call this; memory is that of each by itself.
    """
    config, chosen = resolved(config, table)
    run = Run(_always_mixed(config), table, lambda event: None, processes=processes)
    try:
        pixels, rows = next(run.batches(epoch=1, first_step=0))
        run.step(pixels, rows)  # the first one warms up
        started = time.monotonic()
        run.step(*next(run.batches(epoch=1, first_step=0)))
    except NotFiniteError as error:  # which tells of a saved state, and here is none
        raise EmlError(error.diagnosis) from error
    seconds = time.monotonic() - started
    batch_size = sum(processes.all_gather(len(rows)))
    facts = {name: value for name, value in run.facts().items() if name != "table"}
    facts |= _class_head_facts(run.head, batch_size, run.optimizer, len(rows)) | _memory(run)
    facts |= {
        "image_size": run.preprocess.size,
        "batch_size": batch_size,
        "steps": run.steps,
        "seconds_per_step": round(seconds, 3),
        "minutes_without_validation": round(seconds * run.steps / 60, 1),
    }
    return facts | {"recipe": [line.strip() for line in chosen]}, list(_warnings(run))


def _always_mixed(config: RunConfig) -> RunConfig:
    """With every batch mixed that could be, so that two steps show what that takes."""
    if config.mix is None or config.mix.chance == 0:
        return config
    return config.model_copy(update={"mix": config.mix.model_copy(update={"chance": 1.0, "until": 1.0})})


def _memory(run: Run) -> dict[str, Any]:
    """MiB in this process: network with gradient, optimizer state and running mean; and the peak that was reached."""
    state = [each for values in run.optimizer.state.values() for each in values.values() if isinstance(each, Tensor)]
    weights = list(run.embedder.parameters())
    gradient = [each.grad for each in weights if each.grad is not None]
    mean = list(run.ema.module.parameters()) if run.ema else []
    held = map(own_part, [*weights, *gradient, *mean, *state])
    network = sum(each.numel() * each.element_size() for each in held)
    return {"network_and_optimizer_mib": round(network / MIB, 1), "peak_mib": _peak(run.device)}


def _peak(device: torch.device) -> float | None:
    """Of the device's memory, or of the process on a CPU; None where the system does not tell."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / MIB, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB, 1)


def _warnings(run: Run) -> Iterator[str]:
    config, sets = run.config, run.sets
    if smoothing := smoothing_warning(run.head, config.loss):
        yield smoothing
    yield from run.sampling_notes()
    yield from run.process_notes()
    counts = sets.frame["label"].value_counts()
    if alone := int((counts == 1).sum()):
        yield (
            f"{alone:,} of {len(counts):,} classes have one image to train on: nothing says what they share. "
            "Leave them out with: eml filter --min-per-class 2"
        )
    rates = config.optimizer.lr
    if 0 < rates.class_weights < rates.backbone:
        yield (
            f"optimizer.lr.class_weights {rates.class_weights:g} is below the backbone's {rates.backbone:g}: class "
            "weights start at random and need the larger one, ten to a hundred times as large"
        )
    if (sizes := seen_sizes(sets.frame)) is not None:
        small = (sizes.max(axis=1) * UPSCALED < run.preprocess.size).mean()
        if small > 0.05:
            yield (
                f"{small:.0%} of the images are enlarged more than {UPSCALED:g} times to {run.preprocess.size} "
                "pixels: a smaller image.size is quicker and loses nothing"
            )
    if config.accumulate > 1 and config.model.batch_norm == "train" and _has_batch_norm(run):
        yield "accumulate: BatchNorm sees the parts of a batch; model.batch_norm: frozen makes the step exact"
    if config.data.cache is not None:
        yield "data.cache: these steps read the files, and were slower for it; no cache is made in a dry run"


def _has_batch_norm(run: Run) -> bool:
    return any(isinstance(each, torch.nn.modules.batchnorm._BatchNorm) for each in run.embedder.modules())


def _class_head_facts(head: ClassHead, batch_size: int, optimizer: torch.optim.Optimizer, here: int) -> dict[str, Any]:
    """How the class head works, what memory it takes (MiB) and its own share of a step's time (seconds).

    here: how many images of a batch are this process's.
    """
    state = optimizer.state.get(head.class_weights, {})
    copies = sum(1 for each in state.values() if isinstance(each, Tensor) and each.shape == head.class_weights.shape)
    memory = {name: round(size / MIB, 1) for name, size in head.memory_needed(batch_size, copies).items()}
    device = head.class_weights.device
    embeddings = torch.randn(here, head.embedding_size, device=device, requires_grad=True)
    labels = torch.randint(head.num_classes, (here,), device=device)
    started = time.monotonic()
    head(embeddings, labels).log_sum_exp.sum().backward()
    seconds = time.monotonic() - started
    return {
        "class_head": str(head.plan(batch_size)).removeprefix("class head: "),
        **{f"class_head_{name}_mib": size for name, size in memory.items()},
        "class_head_seconds_per_step": round(seconds, 4),
    }
