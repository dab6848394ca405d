"""A model as an ONNX file, from torch's exporter: the format itself, and what other formats are converted from."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from eml.errors import ConfigError
from eml.exporting.graph import InferenceGraph
from eml.inference.exported.facts import InputKind
from eml.inference.model import Model

INPUT, OUTPUT = "image", "embedding"
LOWEST_OPSET = 18
"""What torch's exporter writes by itself; a lower one would need a conversion, which often fails silently."""
EXAMPLES = 2  # images of the traced call: 1 would fix the batch


def check_opset(opset: int) -> None:
    """Raise a ConfigError for an opset that torch's exporter does not write."""
    if opset < LOWEST_OPSET:
        text = f"`opset` must be at least {LOWEST_OPSET}, which torch's exporter writes, got {opset}"
        raise ConfigError(text, code="out-of-range", parameter="opset")


def write_onnx(model: Model, path: Path, *, input: InputKind, opset: int) -> None:
    """Write a model to a new ONNX file in float32, without facts.

    Raises:
        ConfigError: torch cannot export the network, writes another opset, or the file would have more than 2 GB.
    """
    import onnx

    graph = InferenceGraph(model, input, contiguous=True).eval().cpu()
    proto = _exported(graph, graph.example(EXAMPLES, model.preprocess.shape), opset).model_proto
    _refuse_other_opset(proto, opset)
    _strip(proto)
    if proto.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
        text = "the model is larger than 2 GB, which one file of ONNX cannot hold; export it with `format` torch"
        raise ConfigError(text, code="unsupported-by-backbone", parameter="format")
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


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
        text = f"torch {torch.__version__} cannot export this network as ONNX: {reason}"
        raise ConfigError(text, code="unsupported-by-backbone", parameter="format") from error


def _refuse_other_opset(proto: Any, opset: int) -> None:
    """Raise a ConfigError for a model of another opset than was set: the exporter may choose one silently."""
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    if versions.get("", versions.get("ai.onnx")) != opset:
        text = f"`opset` {opset}: the exporter wrote opset {versions.get('')} instead; set that one"
        raise ConfigError(text, code="out-of-range", parameter="opset")


def _strip(proto: Any) -> None:
    """Remove the notes of torch's exporter: they hold the paths of source files on this machine."""
    graph = proto.graph
    for item in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del item.metadata_props[:]
        item.doc_string = ""
