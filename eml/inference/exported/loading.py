"""Loading a file of `eml export`, which says itself how it embeds."""

import os
from pathlib import Path

from eml.errors import CheckpointError, ConfigError
from eml.images.image_size import Size, checked_size, size_text
from eml.inference.exported.model import ExportedModel
from eml.inference.exported.names import proof_files
from eml.models.pointers import FAILED

PROCESSOR = ("auto", "cpu")
"""Devices by which an exported file is run."""


def load_exported(
    path: Path,
    *,
    weights: str | os.PathLike[str] = "pretrained",
    image_size: Size | None = None,
    device: str = "auto",
    precision: str = "float32",
    tta: str | None = None,
    threads: int | None = None,
) -> ExportedModel:
    """Load an exported file; with the arguments of `eml.load`, which may say what the file says, and nothing else.

    Args:
        path: The file.
        weights: The file has its own.
        image_size: Side of the images (pixels), or (height, width).
        device: auto or cpu.
        precision: float32 or auto, which leave the file's own, or that.
        tta: The views of an image that are averaged inside the file.
        threads: Threads of a call; None: as the package that runs it likes.

    Raises:
        CheckpointError: The file is missing, damaged, not of eml, or its proof failed.
        ConfigError: An argument says something else than the file, or the package that runs it is not installed.
    """
    if path.suffix.lower() == FAILED:
        text = (
            f"{path}: its proof failed: it did not show that the file answers as its checkpoint does; "
            f"{proof_files(path, is_folder=False)[1]} says why. To use it all the same, take {FAILED} off "
            "its name"
        )
        raise CheckpointError(text, code="failed-proof", parameter="checkpoint")
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file", code="missing-file", parameter="checkpoint")
    if device not in PROCESSOR:
        text = f"{path}: device {device!r}: an exported file runs on the CPU; use auto or cpu, or load the checkpoint"
        raise ConfigError(text, code="unusable-device", parameter="device")
    model = ExportedModel(path, threads)
    size = checked_size(image_size, "image_size")
    if os.fspath(weights) != "pretrained":
        raise _fixed(path, "weights", "has its own weights", os.fspath(weights))
    if size is not None and size != model.preprocess.size:
        raise _fixed(path, "image_size", f"takes images of {size_text(model.preprocess.size)}", size_text(size))
    if precision not in ("float32", "auto", model.precision):
        raise _fixed(path, "precision", f"computes in {model.precision}", precision)
    if tta not in (None, model.tta):
        raise _fixed(path, "tta", f"was exported with tta {model.tta}", str(tta))
    return model


def _fixed(path: Path, parameter: str, own: str, value: str) -> ConfigError:
    text = f"{path}: `{parameter}` is {value}, and the file {own}; leave it out, or export the checkpoint again"
    return ConfigError(text, code="conflicting-settings", parameter=parameter)
