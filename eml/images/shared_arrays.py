"""Arrays by name that several processes read, and that are in memory once."""

from typing import Any

from numpy.typing import NDArray

from eml.imported import is_imported


class SharedArrays:
    """Arrays whose memory is shared with the processes that they are sent to, so that theirs does not grow with it.

    They travel as tensors, which torch sends in shared memory. Where torch is not imported they are copied.

    Args:
        arrays: Name → array.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays
        self._tensors: dict[str, Any] = {}  # kept, since sending one moves it into shared memory

    def __getstate__(self) -> dict[str, Any]:
        if not is_imported("torch"):
            return {"arrays": self.arrays}
        import torch

        if not self._tensors:
            self._tensors = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        return {"tensors": self._tensors}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._tensors = state.get("tensors", {})
        self.arrays = state.get("arrays") or {name: tensor.numpy() for name, tensor in self._tensors.items()}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]
