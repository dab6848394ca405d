"""The state of a run that several processes share, as one: what each has rows of, merged and parted.

So that a run saved by four processes goes on with one, two or three, with the network shared out or not.
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
    """Of a tensor that the processes share by rows, on the way to them."""

    shape: torch.Size
    dtype: torch.dtype


@dataclass(frozen=True)
class Split:
    """Where a tensor is held that the processes share by rows.

    count: of rows in all, called by `name`. rows: which a rank has. like: a tensor that torch has shared out so.
    """

    holder: State
    key: str
    count: int
    rows: Callable[[int], slice]
    name: str
    like: Tensor | None = None

    @property
    def value(self) -> Any:
        """What is held there now."""
        return self.holder[self.key]


def gather_state(
    state: State, embedder: Embedder, head: ClassHead, optimizer: torch.optim.Optimizer, processes: Processes
) -> State:
    """In the first process what one process alone would save; in the others of no use.

    state: with the embedder's, the running mean's, the head's and the optimizer's as they are here, which are left
    alone. The merged tensors are on the CPU, one is sent at a time.
    """
    if processes.world == 1:
        return state
    of_optimizer = state["optimizer"]
    held = {number: dict(each) for number, each in of_optimizer["state"].items()}
    state = state | {"optimizer": of_optimizer | {"state": held}}
    state |= {name: dict(state[name]) for name in ("embedder", "ema", "head") if state[name] is not None}
    for split in _splits(state, embedder, head, optimizer, processes):
        split.holder[split.key] = _gathered(split, processes)
    return state


def whole_weights(network: Embedder, processes: Processes) -> dict[str, Tensor]:
    """In the first process the network's state with all of every tensor; in the others of no use. All call this."""
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
    where: object,
) -> State:
    """This process's part of a state that the first one has read, and that may have been saved by any number of them.

    state: in the others of no use. Raises CheckpointError, naming `where` it is, in the first process when a tensor has
    other rows than the run's, as when the classes are not as many.
    """
    if processes.world == 1:
        return state
    wholes: list[Tensor] = []
    if processes.first:
        for split in _splits(state, embedder, head, optimizer, processes):
            whole: Tensor = split.value
            if len(whole) != split.count or (split.like is not None and whole.shape != split.like.shape):
                raise CheckpointError(f"{where}: its state has {len(whole)} {split.name}, the run has {split.count}")
            wholes.append(whole)
            split.holder[split.key] = Placeholder(whole.shape, whole.dtype)
    held = state
    state = processes.from_first(lambda: held)
    for number, split in enumerate(list(_splits(state, embedder, head, optimizer, processes))):
        part = _scattered(split, wholes[number] if processes.first else None, processes)
        split.holder[split.key] = part if split.like is None else from_own_part(part, split.like)
    return state


def _gathered(split: Split, processes: Processes) -> Tensor | None:
    part = own_part(split.value.detach())
    if not processes.first:
        processes.send(part, 0)
        return None
    whole = torch.empty(split.count, *part.shape[1:], dtype=part.dtype)
    whole[split.rows(0)].copy_(part)
    for rank in range(1, processes.world):
        processes.receive(whole[split.rows(rank)], rank)
    return whole


def _scattered(split: Split, whole: Tensor | None, processes: Processes) -> Tensor:
    """whole: in the first process."""
    if whole is not None:
        for rank in range(1, processes.world):
            processes.send(whole[split.rows(rank)], rank)
        return whole[split.rows(0)].clone()
    given: Placeholder = split.value
    count = len(range(split.count)[split.rows(processes.rank)])
    part = torch.empty(count, *given.shape[1:], dtype=given.dtype)
    processes.receive(part, 0)
    return part


def _splits(
    state: State, embedder: Embedder, head: ClassHead, optimizer: torch.optim.Optimizer, processes: Processes
) -> Iterator[Split]:
    """All of them in a state, in the same order in every process."""
    for name in ("embedder", "ema"):
        if state.get(name) is not None:
            yield from _of_network(state[name], embedder, processes)
    by_class: Callable[[State, str], Split] = lambda holder, key: Split(  # noqa: E731
        holder, key, head.num_classes, lambda rank: slice(*part_of(head.num_classes, rank, processes.world)), "classes"
    )
    for key in sorted(head.by_class() & state["head"].keys()):
        yield by_class(state["head"], key)
    trained = [each for group in optimizer.param_groups for each in group["params"]]
    for number, parameter in enumerate(trained):
        held = state["optimizer"]["state"].get(number, {})
        of_rows = [key for key in sorted(held) if isinstance(held[key], Placeholder | Tensor) and len(held[key].shape)]
        if parameter is head.class_weights or parameter is head.bias:
            yield from (by_class(held, key) for key in of_rows)
        elif is_in_parts(parameter):
            yield from (_like(parameter, held, key, processes) for key in of_rows)


def _of_network(weights: State, network: nn.Module, processes: Processes) -> Iterator[Split]:
    """Of what is shared out of it. weights: its state dict, or that of another with the same shares."""
    for key, shared in network.state_dict().items():
        if key in weights and is_in_parts(shared):
            yield _like(shared, weights, key, processes)


def _like(shared: Tensor, holder: State, key: str, processes: Processes) -> Split:
    return Split(
        holder, key, len(shared), lambda rank: rows_of(shared, rank, processes.world), f"rows of {key}", shared
    )
