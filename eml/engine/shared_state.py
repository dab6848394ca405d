"""The state of a run that several processes share, as one: class weights and what goes with them, merged and parted.

So that a run saved by four processes goes on with one, two or three.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eml.engine.processes import Processes
from eml.errors import CheckpointError
from eml.models.head import ClassHead
from eml.models.shards import part_of

State = dict[str, Any]


@dataclass(frozen=True)
class Placeholder:
    """Of a tensor with a row for each class, on the way to the processes. row: shape of one."""

    row: torch.Size
    dtype: torch.dtype


def merged(state: State, head: ClassHead, optimizer: torch.optim.Optimizer, processes: Processes) -> State:
    """In the first process what one process alone would save; in the others of no use.

    state: with the `head`'s and the `optimizer`'s as they are here, which are left alone. The merged tensors are on the
    CPU.
    """
    if processes.world == 1:
        return state
    of_optimizer = state["optimizer"]
    held = {number: dict(each) for number, each in of_optimizer["state"].items()}
    state = state | {"head": dict(state["head"]), "optimizer": of_optimizer | {"state": held}}
    for holder, key in _by_class(state, head, optimizer):
        part: Tensor = holder[key].detach()
        if processes.first:
            holder[key] = whole = torch.empty(head.num_classes, *part.shape[1:], dtype=part.dtype)
            for rank in range(processes.world):
                rows = whole[slice(*part_of(head.num_classes, rank, processes.world))]
                if rank == 0:
                    rows.copy_(part)
                else:
                    processes.receive(rows, rank)
        else:
            processes.send(part, 0)
    return state


def parted(
    state: State, head: ClassHead, optimizer: torch.optim.Optimizer, processes: Processes, where: object
) -> State:
    """This process's part of a state that the first one has read, and that may have been saved by any number of them.

    state: in the others of no use. Raises CheckpointError, naming `where` it is, in the first process when the classes
    are not as many as the head's.
    """
    if processes.world == 1:
        return state
    wholes: list[Tensor] = []
    if processes.first:
        for holder, key in _by_class(state, head, optimizer):
            whole: Tensor = holder[key]
            if len(whole) != head.num_classes:
                raise CheckpointError(f"{where}: its state has {len(whole)} classes, the run has {head.num_classes}")
            wholes.append(whole)
            holder[key] = Placeholder(whole.shape[1:], whole.dtype)
    held = state
    state = processes.told(lambda: held)
    for number, (holder, key) in enumerate(list(_by_class(state, head, optimizer))):
        if processes.first:
            whole = wholes[number]
            holder[key] = whole[: len(head.shard)].clone()
            for rank in range(1, processes.world):
                processes.send(whole[slice(*part_of(len(whole), rank, processes.world))], rank)
        else:
            given: Placeholder = holder[key]
            holder[key] = torch.empty(len(head.shard), *given.row, dtype=given.dtype)
            processes.receive(holder[key], 0)
    return state


def _by_class(state: State, head: ClassHead, optimizer: torch.optim.Optimizer) -> Iterator[tuple[State, str]]:
    """Holder and key of each tensor with a row for each class; in the same order in every process."""
    for key in sorted(head.by_class() & state["head"].keys()):
        yield state["head"], key
    trained = [each for group in optimizer.param_groups for each in group["params"]]
    for number, parameter in enumerate(trained):
        if parameter is head.class_weights or parameter is head.bias:
            held = state["optimizer"]["state"].get(number, {})
            for key in sorted(held):
                if isinstance(held[key], Placeholder) or (isinstance(held[key], Tensor) and held[key].ndim):
                    yield held, key
