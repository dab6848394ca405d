"""Copies to a device that nothing waits for, and what else is done alike on all devices."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, without waiting for what the device still has to do.

    Only from pinned memory does a copy to a CUDA device run beside this process. Torch keeps that memory for the next
    copy, and gives it to none before this one is done.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    if not tensor.is_pinned():
        tensor = torch.empty_like(tensor, pin_memory=True).copy_(tensor)  # pin_memory fails where rows share memory
    return tensor.to(device, non_blocking=True)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given, so that a clock read after it tells the time of that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def rounds_products(device: torch.device) -> bool:
    """Return whether products of float32 on the device are computed from 10 bits of their fractions (TF32)."""
    if device.type != "cuda":
        return False
    products = torch.backends.cuda.matmul
    if hasattr(products, "fp32_precision"):  # torch 2.9 and later; reading the older setting beside it may raise
        return bool(products.fp32_precision == "tf32")
    return bool(products.allow_tf32)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread in this block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
