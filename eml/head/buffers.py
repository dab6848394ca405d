"""Buffers of a module that belong together and are replaced as one."""

import torch
from torch import Tensor, nn


class NamedBuffers:
    """Buffers of a module that share a prefix, read and replaced by their names without it.

    Registers the initial values as `PREFIX_NAME`, floating-point ones in `dtype`. Keeps the module's dictionary of
    buffers, not the module, so that no reference cycle holds device memory.
    """

    def __init__(self, module: nn.Module, prefix: str, initial: dict[str, Tensor], dtype: torch.dtype) -> None:
        self._buffers = module._buffers
        self._keys = {name: f"{prefix}_{name}" for name in initial}
        self._numbers: dict[str, tuple[Tensor, int, int]] = {}  # name → tensor with one number, its version, the number
        for name, value in initial.items():
            module.register_buffer(self._keys[name], value.to(dtype if value.is_floating_point() else value.dtype))

    def read(self) -> dict[str, Tensor]:
        """Return the buffers by name."""
        return {name: self[name] for name in self._keys}

    def __getitem__(self, name: str) -> Tensor:
        buffer = self._buffers[self._keys[name]]
        assert buffer is not None
        return buffer

    def number(self, name: str) -> int:
        """Return the whole number in a buffer; the device is asked for it only where others have written the buffer."""
        buffer, known = self[name], self._numbers.get(name)
        if known is None or known[0] is not buffer or known[1] != buffer._version:
            known = self._numbers[name] = (buffer, buffer._version, int(buffer))
        return known[2]

    def count(self, name: str) -> int:
        """Add 1 to the whole number in a buffer, and return it as it was."""
        before = self.number(name)
        self.replace({name: self[name] + 1})
        self._numbers[name] = (self[name], self[name]._version, before + 1)
        return before

    def replace(self, values: dict[str, Tensor]) -> None:
        """Put new tensors in place of the named buffers.

        The old tensors stay as they are: the graph of a step that has not gone backward may hold them.
        """
        for name, value in values.items():
            self._buffers[self._keys[name]] = value.detach().to(self[name].dtype)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the precision for running means and optimizer state of a head in `dtype`.

    In bfloat16 a mean that moves by 1/1000 of a difference, or a sum of ones beyond 256, stands still.
    """
    return torch.promote_types(dtype, torch.float32)
