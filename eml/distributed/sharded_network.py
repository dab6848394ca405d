"""One network sharded over processes: each holds a part of its weights, gradients and optimizer state.

Torch's fully_shard (FSDP2; Zhao 2023, arXiv:2304.11277, and Rajbhandari 2020, arXiv:1910.02054, stage 3): a unit's
weights are gathered before it runs and released after it, and the sums of its gradients go to the processes that hold
them.
"""

import sys
from collections import Counter
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn

from eml.distributed.processes import Processes, is_loss
from eml.errors import ConfigError
from eml.images.image_size import Size, height_width
from eml.models.embedder import Embedder

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
SMALL = 1 / 16  # share of the backbone's weights up to which a stage is gathered as a whole
TINY = 1 / 256  # share below which a module is not gathered by itself


def is_available() -> bool:
    """Return whether torch can shard a network with sums of gradients, as it can from 2.8 on."""
    from torch.distributed.fsdp import FSDPModule

    return hasattr(FSDPModule, "set_force_sum_reduction_for_comms")


def shard_network(embedder: Embedder, processes: Processes, device: torch.device, *, size: Size) -> None:
    """Shard an embedder that is on the CPU and equal in all processes; its parts are moved to the device.

    Gradients become sums over the processes, since the class head takes the loss of the whole batch. All processes call
    this, and from then on must call the network equally often. Parameters without a dimension stay whole.

    Args:
        embedder: The network, changed in place.
        processes: All of them.
        device: Of this process's part.
        size: Of an image (pixels).

    Raises:
        ConfigError: The network cannot be sharded.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(device.type, (processes.world,))
    embedder.to(memory_format=torch.contiguous_format)  # torch shards no other; the results stay the same
    whole = {parameter for parameter in embedder.parameters() if parameter.ndim == 0}
    for module in (*units(embedder.backbone), embedder):
        module.register_forward_hook(_own_memory)
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo has sums only
    embedder.to(device)
    _check_forward(embedder, device, size)


def units(backbone: nn.Module) -> list[nn.Module]:
    """Return the modules whose weights are gathered together: mostly a network's blocks, or stages of small networks.

    They are members of Sequential, ModuleList and ModuleDict, since these are called as modules. Where such members
    hold less than half of the weights, the backbone's children are taken. A module that shares a weight with others is
    left out.
    """
    total, uses = _size(backbone), _uses(backbone)
    modules = _units_within(backbone, total)
    if sum(map(_size, modules)) < total / 2:
        modules = [child for child in backbone.children() if _is_called(child) and _size(child) >= TINY * total]
    return [module for module in modules if all(count == uses[key] for key, count in _uses(module).items())]


def _units_within(module: nn.Module, total: int) -> list[nn.Module]:
    modules: list[nn.Module] = []
    for child in module.children():
        inner, size = _units_within(child, total), _size(child)
        alone = isinstance(module, CONTAINERS) and _is_called(child) and size >= TINY * total
        if alone and (size <= SMALL * total or sum(map(_size, inner)) < size / 2):
            modules.append(child)
        else:
            modules += inner
    return modules


def _is_called(module: nn.Module) -> bool:
    """Return whether the module has children and a forward of its own."""
    return bool(list(module.children())) and not isinstance(module, nn.ModuleList | nn.ModuleDict)


def _uses(module: nn.Module) -> Counter[int]:
    """Return id of a parameter → how often it occurs."""
    return Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _own_memory(module: nn.Module, inputs: object, output: Any) -> Any:
    """Copy views in the output: torch waits for their gradient, and an in-place operation would remove it."""
    if isinstance(output, Tensor):
        return output.clone() if output._base is not None and torch.is_grad_enabled() else output
    if isinstance(output, list | tuple) and type(output) in (list, tuple):
        return type(output)(_own_memory(module, inputs, item) for item in output)
    return output


def _check_forward(embedder: Embedder, device: torch.device, size: Size) -> None:
    """Embed one image without gradients.

    Raises:
        ConfigError: A module is used otherwise than by a call, so its weights were not gathered.
    """
    training = embedder.training
    embedder.eval()
    try:
        with torch.no_grad():
            embedder(torch.zeros(1, 3, *height_width(size), device=device))
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        if is_loss(error):
            raise
        first = shorten(str(error) or type(error).__name__, 80, placeholder=" …")
        raise ConfigError(
            f"shard_network: {type(embedder.backbone).__name__} cannot be sharded ({first}); set it to false",
            code="unsupported-by-backbone",
            parameter="shard_network",
        ) from error
    embedder.train(training)


def is_sharded(network: nn.Module) -> bool:
    """Return whether the network is sharded, so that all processes must call it equally often."""
    return _is_of("torch.distributed.fsdp", "FSDPModule", network)


def is_in_parts(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Return whether each process holds some rows of the tensor."""
    return _is_of("torch.distributed.tensor", "DTensor", tensor)


def _is_of(module: str, name: str, value: object) -> bool:
    """Return whether the value is of a class that takes half a second to import: none is before somebody has."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


@torch.no_grad()
def own_part(tensor: Tensor) -> Tensor:
    """Return this process's rows of a sharded tensor, without a copy; any other tensor as it is."""
    return tensor.to_local() if is_in_parts(tensor) else tensor


def rows_of(shared: Tensor, rank: int, world: int) -> slice:
    """Return which rows of the whole tensor a process holds, split as torch.chunk does."""
    rows, share = len(shared), -(-len(shared) // world)
    return slice(min(rank * share, rows), min((rank + 1) * share, rows))


def from_own_part(part: Tensor, shared: Tensor) -> Tensor:
    """Return a tensor that is sharded as `shared` is, from the rows of each process."""
    from torch.distributed.tensor import DTensor

    assert isinstance(shared, DTensor)
    part = part.to(shared.device).contiguous()  # as the weights: torch's fused optimizers go through memory in order
    return DTensor.from_local(part, shared.device_mesh, shared.placements, shape=shared.shape, stride=shared.stride())
