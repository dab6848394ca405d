"""Part of gpu.py about the machine: what the device does at best, which the other figures are to be read against."""

import platform
from pathlib import Path
from statistics import median

import torch
from gpu_kit import MIB, Part, in_turns, matmul_precision

from eml.threads import cores


def copy_rate(part: Part, megabytes: int) -> float:
    """Return the GB/s of a copy on the device, read and written."""
    source = torch.empty(megabytes * MIB, dtype=torch.uint8, device=part.device)
    target = torch.empty_like(source)
    times = in_turns({"copy": lambda: target.copy_(source)}, part.device, rounds=5)
    return 2 * source.nbytes / median(times["copy"]) / 1e9


def upload_rate(part: Part, megabytes: int, *, pinned: bool) -> float:
    """Return the GB/s of a copy from the host to the device."""
    source = torch.empty(megabytes * MIB, dtype=torch.uint8)
    source = source.pin_memory() if pinned and part.device.type == "cuda" else source
    target = torch.empty(megabytes * MIB, dtype=torch.uint8, device=part.device)
    times = in_turns({"copy": lambda: target.copy_(source, non_blocking=True)}, part.device, rounds=5)
    return source.nbytes / median(times["copy"]) / 1e9


def product_rate(part: Part, size: int, dtype: torch.dtype, precision: str) -> float:
    """Return the TFLOP/s of a square product of random numbers."""
    left, right = (torch.randn(size, size, device=part.device).to(dtype) for _ in range(2))
    with matmul_precision(precision):
        times = in_turns({"product": lambda: left @ right}, part.device, rounds=5, times=3)
    return 2 * size**3 / median(times["product"]) / 1e12


def processor() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def machine(part: Part) -> None:
    """Record the device, the processor, and the rates of copies and products."""
    part.row("processor", value=f"{cores()} cores of {processor()}")
    if part.device.type == "cuda":
        properties = torch.cuda.get_device_properties(part.device)
        part.row("device", value=f"{properties.name}, {properties.total_memory / MIB:,.0f} MiB")
        part.row("CUDA", value=f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    megabytes, size = (4, 128) if part.dry else (2048, 8192)
    part.row("copy on the device", GB_per_s=round(copy_rate(part, megabytes), 1))
    for kind in ("pageable", "pinned"):
        rate = upload_rate(part, min(512, megabytes), pinned=kind == "pinned")
        part.row(f"copy to the device, {kind}", GB_per_s=round(rate, 1))
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("TF32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        part.row(f"product, {name}", TFLOP_per_s=round(product_rate(part, size, dtype, precision), 2))
