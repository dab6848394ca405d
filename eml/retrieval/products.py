"""Matrix products of the full precision of their factors, whatever autocast and TF32 are set to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

FEW = 8  # rows, up to which `few_products` is faster
FULL = ("ieee", "none")  # values of `fp32_precision` that leave float32 as it is


def product(left: Tensor, right: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Return left (T, D) times the transpose of right (n, D), in their precision, summed in float32 at least.

    Autocast would round the factors to half precision, TF32 to 10 bits; neighbours, ranks and counts of pairs would
    then depend on the caller's settings.

    Args:
        left: (T, D).
        right: (n, D), of the same precision and device.
        out: (T, n) tensor to write to.
    """
    with full_precision(left.device.type):
        return torch.mm(left, right.T, out=out)


def few_products(left: Tensor, right: Tensor) -> Tensor:
    """Return left (T, D) times the transpose of right (n, D) as `product` does, faster where T is small and n large.

    MKL multiplies one vector with a long matrix at a third of the memory's speed, two with it at nearly all of it.
    For one vector and one thread, numpy's dot products of the rows are faster still. Values may differ from those of
    `product` in the last bits.
    """
    is_plain = left.device.type == "cpu" and left.dtype in (torch.float32, torch.float64)
    if not (0 < len(left) <= FEW and is_plain):
        return product(left, right)
    if len(left) == 1 and torch.get_num_threads() == 1:
        return torch.from_numpy(np.vecdot(right.numpy(), left[0].numpy())).unsqueeze(0)
    columns = left if len(left) > 1 else torch.cat([left, left])
    return product(right, columns)[:, : len(left)].T.contiguous()


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Switch off autocast, TF32 and its kin, and sums in half precision, for products on a kind of device."""
    changed: list[tuple[Any, str, Any]] = []
    for owner, name, value in _settings(device_type):
        before = getattr(owner, name)
        if before != value and not (value == "ieee" and before in FULL):
            changed.append((owner, name, before))
            setattr(owner, name, value)
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        for owner, name, before in reversed(changed):
            setattr(owner, name, before)


def _settings(device_type: str) -> list[tuple[Any, str, Any]]:
    """Return the owner, name and exact value of each of torch's settings that may round a product."""
    cuda = torch.backends.cuda.matmul
    new = hasattr(cuda, "fp32_precision")  # torch 2.9 and later; reading the older setting beside it may raise
    if device_type != "cuda":
        mkldnn = getattr(torch.backends.mkldnn, "matmul", None)
        return (
            [(mkldnn, "fp32_precision", "ieee")] if new and mkldnn is not None else [(_Older, "precision", "highest")]
        )
    of_float32 = (cuda, "fp32_precision", "ieee") if new else (cuda, "allow_tf32", False)
    return [of_float32, (cuda, "allow_bf16_reduced_precision_reduction", False)]


class _OlderPrecision:
    """The precision of float32 products in torch before 2.9, as an attribute."""

    @property
    def precision(self) -> str:
        """The value of torch.get_float32_matmul_precision()."""
        return torch.get_float32_matmul_precision()

    @precision.setter
    def precision(self, value: str) -> None:
        torch.set_float32_matmul_precision(value)


_Older = _OlderPrecision()
