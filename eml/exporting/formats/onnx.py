"""ONNX: what runs in onnxruntime, and what most converters read."""

from pathlib import Path
from tempfile import TemporaryDirectory

from eml.exporting.formats.base import ExportFormat, FormatSettings
from eml.exporting.onnx_file import check_opset, write_onnx
from eml.exporting.precision.float16 import DETAILS, to_float16
from eml.exporting.precision.quantize import choose_int8
from eml.inference.exported.facts import ExportFacts
from eml.inference.exported.onnx_bytes import graph_digest, put_facts
from eml.inference.model import Model


class Onnx(ExportFormat):
    """One file for onnxruntime: input `image`, output `embedding`, any number of images."""

    name, suffix = "onnx", ".onnx"
    packages, extra = ("onnx", "onnxscript", "onnxruntime"), "onnx"
    has_texts_beside = True
    precisions = ("float32", "float16", "int8")

    def check(self, path: Path, settings: FormatSettings) -> None:
        """Raise a ConfigError where the file cannot be written so."""
        super().check(path, settings)
        check_opset(settings.opset)

    def write(self, model: Model, path: Path, settings: FormatSettings) -> str:
        """Write the model to a new path, without facts."""
        if settings.precision == "float32":
            write_onnx(model, path, input=settings.input, opset=settings.opset)
            return ""
        with TemporaryDirectory(dir=path.parent) as folder:
            source = Path(folder) / path.name
            write_onnx(model, source, input=settings.input, opset=settings.opset)
            if settings.precision == "float16":
                to_float16(source, path)
                return DETAILS
            kept, details = choose_int8(source, model.preprocess, settings)
            kept.replace(path)
            return details

    def write_facts(self, path: Path, facts: ExportFacts) -> None:
        """Put the facts into the file's metadata, or replace those that are there."""
        put_facts(path, facts.text())

    def graph_digest(self, path: Path) -> str:
        """Return blake2b-128 of the graph and its weights, which facts do not change."""
        return graph_digest(path)
