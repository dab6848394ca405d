"""Settings of a CUDA device that hold while a step of training is computed, and for nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from eml.config import Strict

if TYPE_CHECKING:
    import torch


class CudaConfig(Strict):
    """The way a CUDA device computes a step of training; other devices know no such settings.

    Validation, evaluation and everything else compute as torch is set up by default, or by the caller.
    """

    tf32: bool = Field(
        True,
        description="products of float32 numbers from 10 bits of their fractions (TF32), faster on GPUs since "
        "Ampere; false: from all bits; target cosines and sums have all bits in any case",
    )
    benchmark: bool = Field(
        True,
        description="try the kernels of each convolution and take the quickest; false: the same kernels in every run, "
        "for runs that are compared bit by bit",
    )

    @contextmanager
    def in_effect(self, device: "torch.device") -> Iterator[None]:
        """Compute with these settings inside the block, and as before after it."""
        before = []
        for owner, name, value in self._settings() if device.type == "cuda" else ():
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        try:
            yield
        finally:
            for owner, name, value in reversed(before):
                setattr(owner, name, value)

    def _settings(self) -> list[tuple[Any, str, Any]]:
        """Return the owner, name and value of each of torch's settings."""
        import torch

        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
        benchmark = (convolutions, "benchmark", self.benchmark)
        if not hasattr(products, "fp32_precision"):  # before torch 2.9
            return [(products, "allow_tf32", self.tf32), (convolutions, "allow_tf32", self.tf32), benchmark]
        precision = "tf32" if self.tf32 else "ieee"
        return [
            (products, "fp32_precision", precision),
            (convolutions.conv, "fp32_precision", precision),  # type: ignore[attr-defined]
            benchmark,
        ]
