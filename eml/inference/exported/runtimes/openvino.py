"""OpenVINO's files, by openvino."""

from pathlib import Path
from typing import Any

import numpy as np

from eml.errors import CheckpointError, ConfigError, message_lines
from eml.images.preprocess import Pixels
from eml.inference.exported import openvino_xml
from eml.inference.exported.facts import read_facts
from eml.inference.exported.openvino_xml import facts_text, model_digest
from eml.inference.exported.runtimes.base import Runtime, Vectors, normalised


class OpenVinoRuntime(Runtime):
    """OpenVINO on the CPU. Products that are not int8 are computed in float32, not in bfloat16 as it likes to."""

    suffixes = (".xml",)
    name = "openvino"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.path = path
        self.facts = read_facts(facts_text(path), str(path))
        try:
            self._compiled: Any = compile_model(path, threads)
        except ImportError as error:
            text = f"{path}: needs openvino: pip install 'easy-metric-learning[openvino]'"
            raise ConfigError(text, code="missing-package", parameter="checkpoint") from error
        except Exception as error:  # openvino raises RuntimeErrors of many lines
            text = f"{path}: openvino cannot load it: {message_lines(error)[-1]}"
            raise CheckpointError(text, code="damaged-file") from error

    def run(self, pixels: Pixels) -> Vectors:
        """Return embeddings (B, D) float32 of unit length of pixels (B, H, W, 3) uint8."""
        is_float = self.facts.input == "float"
        images = normalised(pixels, self.facts.preprocess) if is_float else np.ascontiguousarray(pixels)
        try:
            embeddings: Vectors = np.array(self._compiled(images)[0])
        except Exception as error:
            text = f"{self.path}: openvino cannot run it on {len(pixels):,} images: {message_lines(error)[-1]}"
            raise CheckpointError(text, code="damaged-file") from error
        return embeddings

    def files(self) -> list[Path]:
        """Return the files that make up the model, the named one first."""
        return [self.path, self.path.with_suffix(".bin")]

    @staticmethod
    def facts_text(path: Path) -> str | None:
        """Return the facts in a file as JSON, without loading the model; None without any."""
        return openvino_xml.facts_text(path)

    @staticmethod
    def put_facts(path: Path, text: str) -> None:
        """Put facts into a file, or replace those that are there."""
        openvino_xml.put_facts(path, text)

    def graph_digest(self) -> str:
        """Return blake2b-128 of the graph and its weights as they are in the files, without the facts beside them."""
        return model_digest(self.path)


def compile_model(path: Path, threads: int | None = None) -> Any:
    """Return a model compiled for the CPU, with products that are not int8 in float32."""
    import openvino

    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    core: Any = openvino.Core()
    return core.compile_model(core.read_model(str(path)), "CPU", settings)
