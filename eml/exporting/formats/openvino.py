"""OpenVINO: for Intel's processors."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from eml.errors import ConfigError, message_lines
from eml.exporting.formats.base import ExportFormat, FormatSettings
from eml.exporting.onnx_file import check_opset, write_onnx
from eml.exporting.precision.quantize import Conversion, EmbedBatch, choose_int8
from eml.inference.exported.facts import ExportFacts
from eml.inference.exported.openvino_xml import model_digest, put_facts, weights_path
from eml.inference.exported.runtimes.openvino import compile_model
from eml.inference.model import Model


class OpenVino(ExportFormat):
    """A graph, .xml, with its weights beside it, .bin; for any number of images. It is converted from ONNX."""

    name, suffix = "openvino", ".xml"
    packages, extra = ("openvino", "onnx", "onnxscript", "onnxruntime"), "openvino"
    precisions = ("float32", "float16", "int8")

    def companions(self, path: Path) -> list[Path]:
        """Return the file of the weights."""
        return [weights_path(path)]

    def check(self, path: Path, settings: FormatSettings) -> None:
        """Raise a ConfigError where the files cannot be written so."""
        super().check(path, settings)
        check_opset(settings.opset)

    def write(self, model: Model, path: Path, settings: FormatSettings) -> str:
        """Write the model to new paths, without facts."""
        with TemporaryDirectory(dir=path.parent) as folder:
            source = Path(folder) / "model.onnx"
            write_onnx(model, source, input=settings.input, opset=settings.opset)
            if settings.precision != "int8":
                halves = settings.precision == "float16"
                convert(source, path, halves=halves)
                return "weights in float16, products in float32" if halves else ""
            conversion = Conversion(self.suffix, lambda own, new: convert(own, new, halves=False), _opened)
            kept, details = choose_int8(source, model.preprocess, settings, conversion)
            kept.replace(path)
            weights_path(kept).replace(weights_path(path))
            return details

    def write_facts(self, path: Path, facts: ExportFacts) -> None:
        """Put the facts into the graph, or replace those that are there."""
        put_facts(path, facts.text())

    def graph_digest(self, path: Path) -> str:
        """Return blake2b-128 of the graph and its weights, which facts do not change."""
        return model_digest(path)


def _opened(path: Path) -> EmbedBatch:
    """Return what runs a file on a batch."""
    compiled = compile_model(path)
    return lambda batch: np.array(compiled(np.ascontiguousarray(batch))[0])


def convert(source: Path, path: Path, *, halves: bool) -> None:
    """Write an ONNX file as OpenVINO's two files; halves: with weights in float16.

    This is what `openvino.convert_model` does too, which however reports to Intel that it was used.
    """
    import openvino

    try:
        core: Any = openvino.Core()
        core.set_property({"ENABLE_MMAP": False})
        openvino.save_model(core.read_model(str(source)), str(path), compress_to_fp16=halves)
    except RuntimeError as error:
        text = f"openvino {openvino.__version__} cannot convert this network: {message_lines(error)[-1]}"
        raise ConfigError(text, code="unsupported-by-backbone", parameter="format") from error
