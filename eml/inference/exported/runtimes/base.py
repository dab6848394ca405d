"""The base class of what runs an exported file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from shutil import copyfile
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eml.errors import CheckpointError
from eml.files import whole_file
from eml.images.preprocess import Pixels, Preprocess
from eml.inference.exported.facts import ExportFacts

Vectors = NDArray[np.float32]
_runtimes: dict[str, type[Runtime]] = {}


class Runtime(ABC):
    """A package that runs files of one kind. A subclass is found by its suffixes as soon as it is defined.

    Args:
        path: The file.
        threads: Threads of a call; None: as the package likes.

    Attributes:
        suffixes: Of its files, such as `.onnx`.
        name: The package, as `eml.load` says what runs a model.
        path: The file.
        facts: What the file says of itself.

    Raises:
        CheckpointError: The file is damaged or is not of eml.
        ConfigError: The package is not installed.
    """

    suffixes: ClassVar[tuple[str, ...]]
    name: ClassVar[str]
    path: Path
    facts: ExportFacts

    def __init_subclass__(cls) -> None:
        """Enter the runtime under its suffixes."""
        super().__init_subclass__()
        for suffix in cls.suffixes:
            _runtimes[suffix] = cls

    @abstractmethod
    def __init__(self, path: Path, threads: int | None = None) -> None: ...

    @abstractmethod
    def run(self, pixels: Pixels) -> Vectors:
        """Return embeddings (B, D) float32 of unit length of pixels (B, H, W, 3) uint8."""

    def files(self) -> list[Path]:
        """Return the files that make up the model, the named one first."""
        return [self.path]

    def keep_facts(self, facts: ExportFacts) -> None:
        """Replace the facts in the file, which is written anew.

        Raises:
            OSError: It cannot be written.
        """
        with whole_file(self.path) as temporary:
            copyfile(self.path, temporary)
            self.put_facts(temporary, facts.text())
        self.facts = facts

    @staticmethod
    @abstractmethod
    def facts_text(path: Path) -> str | None:
        """Return the facts in a file as JSON, without loading the model; None without any.

        Raises:
            CheckpointError: The file cannot be read.
        """

    @staticmethod
    @abstractmethod
    def put_facts(path: Path, text: str) -> None:
        """Put facts into a file, or replace those that are there."""

    @abstractmethod
    def graph_digest(self) -> str:
        """Return blake2b-128 of the graph and its weights as they are in the file, without the facts beside them."""


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of files that can be run."""
    return tuple(sorted(_runtimes))


def find_runtime(path: Path) -> type[Runtime]:
    """Return what runs a file, by its suffix.

    Raises:
        CheckpointError: Nothing does.
    """
    runtime = _runtimes.get(path.suffix.lower())
    if runtime is None:
        text = f"{path}: is no exported model; the suffixes of such are {', '.join(suffixes())}"
        raise CheckpointError(text, code="wrong-suffix")
    return runtime


def normalised(pixels: Pixels, preprocess: Preprocess) -> NDArray[np.float32]:
    """Return uint8 (B, H, W, 3) as float32 (B, 3, H, W), (x/255 − mean)/std."""
    images = pixels.astype(np.float32)
    images /= np.float32(255)
    images -= np.asarray(preprocess.mean, np.float32)
    images /= np.asarray(preprocess.std, np.float32)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
