"""The device to compute on."""

import torch

from eml.errors import ConfigError

AMPERE = (8, 0)
"""Compute capability from which CUDA devices have units for bfloat16."""


def find_device(name: str) -> torch.device:
    """Return a device by its name. `auto` is the first of cuda, mps and cpu that this machine has.

    Raises:
        ConfigError: The name is unknown, or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise _error(f"device {name!r} is unknown; allowed: auto, cpu, cuda, cuda:N, mps", "unusable-device") from None
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device.type, False):
        raise _error(f"device {name!r} is not on this machine; use auto or cpu", "unusable-device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise _error(f"device {name!r}: this machine has {count} CUDA devices, counted from 0", "unusable-device")
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes products in bfloat16 faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= AMPERE
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch has no public name for it
    return device.type == "cpu" and known is not None and bool(known())


def _error(text: str, code: str) -> ConfigError:
    return ConfigError(text, code=code, parameter="device")
