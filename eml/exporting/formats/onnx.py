"""ONNX: what runs in onnxruntime, and what most converters read."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from eml.errors import ConfigError
from eml.exporting.formats.base import ExportFormat, FormatSettings
from eml.exporting.graph import InferenceGraph
from eml.inference.exported.facts import KEY, ExportFacts
from eml.inference.exported.onnx_bytes import graph_digest
from eml.inference.model import Model

INPUT, OUTPUT = "image", "embedding"
LOWEST_OPSET = 18
"""What torch's exporter writes by itself; a lower one would need a conversion, which often fails silently."""
EXAMPLES = 2  # images of the traced call: 1 would fix the batch


class Onnx(ExportFormat):
    """One file for onnxruntime: input `image`, output `embedding`, any number of images."""

    name, suffix = "onnx", ".onnx"
    packages, extra = ("onnx", "onnxscript", "onnxruntime"), "onnx"

    def check(self, path: Path, settings: FormatSettings) -> None:
        """Raise a ConfigError where the file cannot be written so."""
        super().check(path, settings)
        if settings.opset < LOWEST_OPSET:
            text = f"`opset` must be at least {LOWEST_OPSET}, which torch's exporter writes, got {settings.opset}"
            raise ConfigError(text, code="out-of-range", parameter="opset")

    def write(self, model: Model, path: Path, settings: FormatSettings) -> str:
        """Write the model to a new path, without facts."""
        import onnx

        graph = InferenceGraph(model, settings.input).eval().cpu()
        program = _exported(graph, graph.example(EXAMPLES, model.preprocess.shape), settings.opset)
        proto = program.model_proto
        _refuse_other_opset(proto, settings.opset)
        if proto.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
            text = (
                "`format` onnx: the model is larger than 2 GB, which one file of ONNX cannot hold; export it as torch"
            )
            raise ConfigError(text, code="unsupported-by-backbone", parameter="format")
        onnx.checker.check_model(proto)
        path.write_bytes(proto.SerializeToString())
        return ""

    def write_facts(self, path: Path, facts: ExportFacts) -> None:
        """Put the facts into the file's metadata, or replace those that are there."""
        import onnx

        proto = onnx.load(path)
        kept = {entry.key: entry.value for entry in proto.metadata_props} | {KEY: facts.text()}
        onnx.helper.set_model_props(proto, kept)
        path.write_bytes(proto.SerializeToString())

    def graph_digest(self, path: Path) -> str:
        """Return blake2b-128 of the graph and its weights, which facts do not change."""
        return graph_digest(path)


def _exported(graph: InferenceGraph, example: torch.Tensor, opset: int) -> Any:
    """Return the program that torch's exporter makes; what it prints is kept back."""
    batch = torch.export.Dim("batch", min=1)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: batch},),
                verbose=False,
            )
    except Exception as error:  # torch raises many types, each with pages of text
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        text = f"`format` onnx: torch {torch.__version__} cannot export this network: {reason}"
        raise ConfigError(text, code="unsupported-by-backbone", parameter="format") from error


def _refuse_other_opset(proto: Any, opset: int) -> None:
    """Raise a ConfigError for a model of another opset than was set: the exporter may choose one silently."""
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    if versions.get("", versions.get("ai.onnx")) != opset:
        text = f"`opset` {opset}: the exporter wrote opset {versions.get('')} instead; set that one"
        raise ConfigError(text, code="out-of-range", parameter="opset")
