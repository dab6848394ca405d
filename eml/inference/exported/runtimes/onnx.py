"""ONNX files, by onnxruntime."""

from pathlib import Path

import numpy as np

from eml.images.preprocess import Pixels
from eml.inference.exported import onnx_bytes
from eml.inference.exported.facts import KEY, read_facts
from eml.inference.exported.onnx_bytes import graph_digest
from eml.inference.exported.onnx_session import open_session, run_session
from eml.inference.exported.runtimes.base import Runtime, Vectors, normalised


class OnnxRuntime(Runtime):
    """onnxruntime on the CPU."""

    suffixes = (".onnx",)
    name = "onnxruntime"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.path = path
        self._session = open_session(path, threads)
        self.facts = read_facts(self._session.get_modelmeta().custom_metadata_map.get(KEY), str(path))

    def run(self, pixels: Pixels) -> Vectors:
        """Return embeddings (B, D) float32 of unit length of pixels (B, H, W, 3) uint8."""
        is_float = self.facts.input == "float"
        images = normalised(pixels, self.facts.preprocess) if is_float else np.ascontiguousarray(pixels)
        return run_session(self._session, images, self.path, "images")

    @staticmethod
    def facts_text(path: Path) -> str | None:
        """Return the facts in a file as JSON, without loading the model; None without any."""
        return onnx_bytes.read_metadata(path).get(KEY)

    @staticmethod
    def put_facts(path: Path, text: str) -> None:
        """Put facts into a file, or replace those that are there."""
        onnx_bytes.put_facts(path, text)

    def graph_digest(self) -> str:
        """Return blake2b-128 of the graph and its weights as they are in the file, without the facts beside them."""
        return graph_digest(self.path)
