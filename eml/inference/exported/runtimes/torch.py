"""Programs of torch.export and TorchScript, by torch."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np

from eml.errors import CheckpointError, ConfigError, message_lines
from eml.images.preprocess import Pixels
from eml.inference.exported import torch_archive
from eml.inference.exported.facts import read_facts
from eml.inference.exported.runtimes.base import Runtime, Vectors, normalised
from eml.inference.exported.torch_archive import (
    archive_digest,
    facts_text,
    refuse_pickled_objects,
    refuse_programs_with_files,
)

if TYPE_CHECKING:
    from torch import Tensor


class TorchRuntime(Runtime):
    """torch on the CPU, for programs of torch.export."""

    suffixes = (".pt2",)
    name = "torch"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.facts = read_facts(facts_text(path), str(path))
        self.path, self.threads = path, threads
        try:
            import torch
        except ImportError as error:
            text = f"{path}: needs torch: pip install torch"
            raise ConfigError(text, code="missing-package", parameter="checkpoint") from error
        self._torch = torch
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._program = self._load()
        except CheckpointError:
            raise
        except Exception as error:  # torch raises errors of many types for a damaged archive
            reason = message_lines(error)[0]
            text = f"{path}: torch {torch.__version__} cannot load it: {reason}"
            raise CheckpointError(text, code="damaged-file") from error

    def _load(self) -> Any:
        refuse_pickled_objects(self.path)
        with ZipFile(self.path) as archive:
            for name in archive.namelist():
                if name.endswith(".pt"):  # torch reads them without weights_only where that fails
                    self._torch.load(io.BytesIO(archive.read(name)), weights_only=True)
        return self._torch.export.load(self.path).module()

    def run(self, pixels: Pixels) -> Vectors:
        """Return embeddings (B, D) float32 of unit length of pixels (B, H, W, 3) uint8."""
        is_float = self.facts.input == "float"
        images = normalised(pixels, self.facts.preprocess) if is_float else np.ascontiguousarray(pixels)
        if not images.flags.writeable:
            images = images.copy()  # torch warns of memory that it must not write to
        threads = self._torch.get_num_threads()
        try:
            if self.threads is not None:
                self._torch.set_num_threads(self.threads)
            with self._torch.no_grad():
                embeddings: Tensor = self._program(self._torch.from_numpy(images))
        except Exception as error:
            reason = message_lines(error)[0]
            text = f"{self.path}: torch cannot run it on {len(pixels):,} images: {reason}"
            raise CheckpointError(text, code="damaged-file") from error
        finally:
            self._torch.set_num_threads(threads)
        vectors: Vectors = embeddings.numpy()
        return vectors

    @staticmethod
    def facts_text(path: Path) -> str | None:
        """Return the facts in a file as JSON, without loading the model; None without any."""
        return torch_archive.facts_text(path)

    @staticmethod
    def put_facts(path: Path, text: str) -> None:
        """Put facts into a file, or replace those that are there."""
        torch_archive.put_facts(path, text)

    def graph_digest(self) -> str:
        """Return blake2b-128 of the graph and its weights as they are in the file, without the facts beside them."""
        return archive_digest(self.path)


class TorchScriptRuntime(TorchRuntime):
    """torch on the CPU, for TorchScript."""

    suffixes = (".pt",)
    name = "TorchScript"

    def _load(self) -> Any:
        refuse_programs_with_files(self.path)
        return self._torch.jit.load(str(self.path), map_location="cpu").eval()
