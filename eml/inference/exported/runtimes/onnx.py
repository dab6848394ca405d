"""ONNX files, by onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np

from eml.errors import CheckpointError, ConfigError
from eml.images.preprocess import Pixels
from eml.inference.exported.facts import KEY, read_facts
from eml.inference.exported.onnx_bytes import graph_digest
from eml.inference.exported.runtimes.base import Runtime, Vectors, normalised


class OnnxRuntime(Runtime):
    """onnxruntime on the CPU."""

    suffixes = (".onnx",)
    name = "onnxruntime"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            text = f"{path}: needs onnxruntime: pip install 'easy-metric-learning[onnx]'"
            raise ConfigError(text, code="missing-package", parameter="checkpoint") from error
        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; they are raised too
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        self.path = path
        try:
            session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises errors of its own for each kind of damage
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(f"{path}: onnxruntime cannot load it: {reason}", code="damaged-file") from error
        self._session = session
        self.facts = read_facts(session.get_modelmeta().custom_metadata_map.get(KEY), str(path))
        self._input = session.get_inputs()[0].name

    def run(self, pixels: Pixels) -> Vectors:
        """Return embeddings (B, D) float32 of unit length of pixels (B, H, W, 3) uint8."""
        is_float = self.facts.input == "float"
        images = normalised(pixels, self.facts.preprocess) if is_float else np.ascontiguousarray(pixels)
        try:
            embeddings: Vectors = self._session.run(["embedding"], {self._input: images})[0]
        except Exception as error:  # of onnxruntime's own types
            reason = str(error).strip().splitlines()[0]
            text = f"{self.path}: onnxruntime cannot run it on {len(pixels):,} images: {reason}"
            raise CheckpointError(text, code="damaged-file") from error
        return embeddings

    def graph_digest(self) -> str:
        """Return blake2b-128 of the graph and its weights as they are in the file, without the facts beside them."""
        return graph_digest(self.path)
