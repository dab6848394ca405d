"""`eml doctor`: what a bug report needs to say of the machine."""

from __future__ import annotations

import importlib.util
import os
import platform
import queue
import shutil
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from eml.allocator import keep_freed_memory
from eml.commands.base import Caller, CommandConfig, CommandResult, SummaryTable, command
from eml.versions import eml_version, version_of

PACKAGES = (
    *("torch", "torchvision", "timm", "numpy", "pandas", "pillow", "scikit-learn", "albumentations", "pydantic"),
    *("typer", "rich", "safetensors", "huggingface-hub"),
)
EXTRAS = {
    "parquet": "pyarrow",
    "faiss": "faiss",
    "jpeg": "simplejpeg",
    "heic": "pillow_heif",
    "jxl": "pillow_jxl",
    "text": "sentence_transformers",
    "umap": "umap",
    "usearch": "usearch",
    "ray": "ray",
    "clip": "open_clip",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "hub": "huggingface_hub",
    "remote": "s3fs",
    "serve": "fastapi",
    "terminal-images": "textual_image",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
}
"""Extra → the module that it brings."""

HUB_TIMEOUT = 2.0  # seconds
GIB = 1 << 30


class DoctorConfig(CommandConfig):
    """Print versions, devices, memory, disk and extras, as text to paste into a bug report."""

    hub: bool = Field(True, description="Try whether the model hub can be reached; takes 2 seconds at most.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DoctorResult(CommandResult):
    """The software and hardware of a machine.

    Attributes:
        facts: Name → value, in the order in which they are printed.
    """

    facts: dict[str, str]

    def summary(self) -> str:
        """Return the versions of eml and torch, and the devices."""
        return f"eml {self.facts['eml']}, torch {self.facts['torch']}, {self.facts['devices']}"

    def summary_table(self) -> SummaryTable:
        """Return a row for each fact."""
        return ["", ""], [list(fact) for fact in self.facts.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return the facts."""
        return dict(self.facts)


@command(DoctorConfig)
def doctor(config: DoctorConfig, caller: Caller) -> DoctorResult:
    """Look at the machine."""
    facts = {"eml": eml_version(), "python": sys.version.split()[0], "system": platform.platform()}
    facts |= {name: version_of(name) or "not installed" for name in PACKAGES}
    facts |= {"devices": _devices(), "cores": _cores(), "memory": _memory()}
    facts["freed memory"] = (
        "kept for the next batch (EML_MALLOC=default: given back)"
        if keep_freed_memory()
        else "given back to the system after each batch"
    )
    facts["fused kernels"] = _fused_kernels()
    facts["free disk here"] = _free(Path.cwd())
    shared = Path("/dev/shm")
    facts["free /dev/shm"] = _free(shared) if shared.is_dir() else "none"
    facts["remote cache"] = _remote_cache()
    present = [name for name, module in EXTRAS.items() if importlib.util.find_spec(module) is not None]
    facts["extras found"] = ", ".join(present) or "none"
    facts["extras not found"] = ", ".join(name for name in EXTRAS if name not in present) or "none"
    if config.hub:
        facts["model hub"] = _hub()
    return DoctorResult(facts=facts)


def _remote_cache() -> str:
    from eml.storage.object_cache import cache_facts

    return cache_facts()


def _devices() -> str:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return ", ".join(names) or f"cpu ({platform.processor() or platform.machine()}), no accelerator"


def _fused_kernels() -> str:
    from eml.head.fused import state

    return state()


def _cores() -> str:
    from eml.threads import cores

    return f"{cores()} usable of {os.cpu_count()}"


def _memory() -> str:
    with suppress(OSError, ValueError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        kib = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines() if line.endswith("kB")}
        return f"{kib['MemAvailable'] * 1024 / GIB:,.1f} of {kib['MemTotal'] * 1024 / GIB:,.1f} GiB free"
    with suppress(OSError, ValueError, AttributeError):
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / GIB:,.1f} GiB"
    return "unknown"


def _free(folder: Path) -> str:
    with suppress(OSError):
        usage = shutil.disk_usage(folder)
        return f"{usage.free / GIB:,.1f} of {usage.total / GIB:,.1f} GiB"
    return "unknown"


def _hub() -> str:
    """Return whether a connection to the hub can be opened; no request is made."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return "off (HF_HUB_OFFLINE)"
    place = urlsplit(ENDPOINT)
    port = place.port or (443 if place.scheme == "https" else 80)
    answers = queue.SimpleQueue[str]()

    def connect() -> None:
        try:
            socket.create_connection((place.hostname or "", port), timeout=HUB_TIMEOUT).close()
            answers.put(f"reached: {place.hostname}")
        except OSError as error:
            answers.put(f"not reached: {(error.strerror or str(error)).lower()}")

    threading.Thread(target=connect, daemon=True).start()  # looking up a name knows no time limit
    try:
        return answers.get(timeout=HUB_TIMEOUT)
    except queue.Empty:
        return f"not reached: no answer of {place.hostname} in {HUB_TIMEOUT:g} s"
