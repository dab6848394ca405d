"""Copies to a device that nothing waits for."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, without waiting for what the device still has to do.

    Only from pinned memory does a copy to a CUDA device run beside this process. Torch keeps that memory for the next
    copy, and gives it to none before this one is done.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
