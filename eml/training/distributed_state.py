"""Gather the state of a run from several processes into one, and scatter it again.

A run saved by four processes can so be resumed with one, two or three, with the network sharded or not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eml.distributed.processes import Processes
from eml.distributed.sharded_network import from_own_part, is_in_parts, own_part, rows_of
from eml.errors import CheckpointError
from eml.head.class_head import ClassHead
from eml.head.shards import part_of
from eml.models.embedder import Embedder

State = dict[str, Any]


@dataclass(frozen=True)
class Placeholder:
    """Stands for a tensor whose rows are sent to the processes one by one."""

    shape: torch.Size
    dtype: torch.dtype


@dataclass(frozen=True)
class SplitTensor:
    """A tensor in a state whose rows are split over the processes.

    Attributes:
        holder: The dictionary that holds it.
        key: Its key there.
        count: Number of rows in all.
        rows: Rank → its rows.
        name: What the rows are, for messages.
        like: A tensor that torch shards in the same way; None for one that eml splits.
    """

    holder: State
    key: str
    count: int
    rows: Callable[[int], slice]
    name: str
    like: Tensor | None = None

    @property
    def value(self) -> Any:
        """The tensor that is held now."""
        return self.holder[self.key]


def gather_state(
    state: State, embedder: Embedder, head: ClassHead, optimizer: torch.optim.Optimizer, processes: Processes
) -> State:
    """Return in the first process the state that a single process would save; in the others it is incomplete.

    The gathered tensors are on the CPU; one is sent at a time.

    Args:
        state: Holds the states of embedder, running mean, head and optimizer in this process; not changed.
        embedder: The trained network.
        head: The class head.
        optimizer: Of their parameters.
        processes: All of them call this.
    """
    if processes.world == 1:
        return state
    optimizer_state = state["optimizer"]
    moments = {number: dict(tensors) for number, tensors in optimizer_state["state"].items()}
    state = state | {"optimizer": optimizer_state | {"state": moments}}
    state |= {name: dict(state[name]) for name in ("embedder", "ema", "head") if state[name] is not None}
    for split in _split_tensors(state, embedder, head, optimizer, processes):
        split.holder[split.key] = _gathered(split, processes)
    return state


def whole_weights(network: Embedder, processes: Processes) -> dict[str, Tensor]:
    """Return in the first process the network's state with whole tensors; all processes call this."""
    weights: State = dict(network.state_dict())
    for split in _of_network(weights, network, processes):
        split.holder[split.key] = _gathered(split, processes)
    return weights


def scatter_state(
    state: State,
    embedder: Embedder,
    head: ClassHead,
    optimizer: torch.optim.Optimizer,
    processes: Processes,
    path: object,
) -> State:
    """Return this process's part of a state that the first process has read; any number of processes may have saved it.

    Args:
        state: Used in the first process.
        embedder: The network to train.
        head: The class head.
        optimizer: Of their parameters.
        processes: All of them call this.
        path: Of the run, for messages.

    Raises:
        CheckpointError: In the first process, when a tensor has a different number of rows than the run's, as with
            another number of classes.
    """
    if processes.world == 1:
        return state
    wholes: list[Tensor] = []
    if processes.first:
        for split in _split_tensors(state, embedder, head, optimizer, processes):
            whole: Tensor = split.value
            if len(whole) != split.count or (split.like is not None and whole.shape != split.like.shape):
                raise CheckpointError(
                    f"{path}: its state has {len(whole)} {split.name}, the run has {split.count}",
                    code="state-does-not-fit",
                )
            wholes.append(whole)
            split.holder[split.key] = Placeholder(whole.shape, whole.dtype)
    with_placeholders = state
    state = processes.from_first(lambda: with_placeholders)
    for number, split in enumerate(list(_split_tensors(state, embedder, head, optimizer, processes))):
        part = _scattered(split, wholes[number] if processes.first else None, processes)
        split.holder[split.key] = part if split.like is None else from_own_part(part, split.like)
    return state


def _gathered(split: SplitTensor, processes: Processes) -> Tensor | None:
    part = own_part(split.value.detach())
    if not processes.first:
        processes.send(part, 0)
        return None
    whole = torch.empty(split.count, *part.shape[1:], dtype=part.dtype)
    whole[split.rows(0)].copy_(part)
    for rank in range(1, processes.world):
        processes.receive(whole[split.rows(rank)], rank)
    return whole


def _scattered(split: SplitTensor, whole: Tensor | None, processes: Processes) -> Tensor:
    """Return this process's rows of a tensor that is whole in the first process."""
    if whole is not None:
        for rank in range(1, processes.world):
            processes.send(whole[split.rows(rank)], rank)
        return whole[split.rows(0)].clone()
    placeholder: Placeholder = split.value
    count = len(range(split.count)[split.rows(processes.rank)])
    part = torch.empty(count, *placeholder.shape[1:], dtype=placeholder.dtype)
    processes.receive(part, 0)
    return part


def _split_tensors(
    state: State, embedder: Embedder, head: ClassHead, optimizer: torch.optim.Optimizer, processes: Processes
) -> Iterator[SplitTensor]:
    """Yield all split tensors of a state, in the same order in every process."""
    for name in ("embedder", "ema"):
        if state.get(name) is not None:
            yield from _of_network(state[name], embedder, processes)

    def by_class(holder: State, key: str) -> SplitTensor:
        def rows(rank: int) -> slice:
            return slice(*part_of(head.num_classes, rank, processes.world))

        return SplitTensor(holder, key, head.num_classes, rows, "classes")

    for key in sorted(head.by_class() & state["head"].keys()):
        yield by_class(state["head"], key)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, parameter in enumerate(trained):
        held = state["optimizer"]["state"].get(number, {})
        of_rows = [key for key in sorted(held) if isinstance(held[key], Placeholder | Tensor) and len(held[key].shape)]
        if parameter is head.class_weights or parameter is head.bias:
            yield from (by_class(held, key) for key in of_rows)
        elif is_in_parts(parameter):
            yield from (_like(parameter, held, key, processes) for key in of_rows)


def _of_network(weights: State, network: nn.Module, processes: Processes) -> Iterator[SplitTensor]:
    """Yield the sharded tensors of a network. weights: its state dict, or that of a copy sharded in the same way."""
    for key, shared in network.state_dict().items():
        if key in weights and is_in_parts(shared):
            yield _like(shared, weights, key, processes)


def _like(shared: Tensor, holder: State, key: str, processes: Processes) -> SplitTensor:
    return SplitTensor(
        holder, key, len(shared), lambda rank: rows_of(shared, rank, processes.world), f"rows of {key}", shared
    )
