"""A model as an ONNX file, from torch's exporter: the format itself, and what other formats are converted from."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eml.errors import ConfigError, message_lines
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
    graph = InferenceGraph(model, input, contiguous=True).eval().cpu()
    write_graph(graph, graph.example(EXAMPLES, model.preprocess.shape), path, INPUT, opset)


def write_graph(graph: nn.Module, example: Tensor, path: Path, input_name: str, opset: int) -> None:
    """Write a module of one input and one output, `embedding`, to a new ONNX file for batches of any size.

    Args:
        graph: The module, in eval mode on the CPU.
        example: An input of `EXAMPLES` rows.
        path: The file.
        input_name: Of the file's input.
        opset: Of ONNX.

    Raises:
        ConfigError: torch cannot export the module, writes another opset, or the file would have more than 2 GB.
    """
    import onnx

    proto = _exported(graph, example, input_name, opset)
    _refuse_other_opset(proto, opset)
    _strip(proto)
    if proto.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
        text = "the model is larger than 2 GB, which one file of ONNX cannot hold; export it with `format` torch"
        raise ConfigError(text, code="unsupported-by-backbone", parameter="format")
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def _exported(graph: nn.Module, example: Tensor, input_name: str, opset: int) -> Any:
    """Return the model that torch's exporter makes; what it prints is kept back."""
    batch = torch.export.Dim("batch", min=1)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # torch 2.6 has no ONNX for the operator that attention then is
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph, (example,), dynamo=True, opset_version=opset, dynamic_shapes=({0: batch},), verbose=False
            )
            assert program is not None, "torch returns None where it writes a file"
            _name_ends(program.model.graph, input_name)
            return program.model_proto
    except Exception as error:  # torch raises many types, each with pages of text
        text = f"torch {torch.__version__} cannot export this network as ONNX: {message_lines(error)[0]}"
        raise ConfigError(text, code="unsupported-by-backbone", parameter="format") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _name_ends(graph: Any, input_name: str) -> None:
    """Name the input and the output; values within that have one of these names, such as of nn.Embedding, lose it.

    torch's `output_names` leaves two values of one name there, which no runtime loads.
    """
    ends = {input_name: graph.inputs[0], OUTPUT: graph.outputs[0]}
    values = [
        *graph.inputs,
        *graph.initializers.values(),
        *(value for node in graph.all_nodes() for value in node.outputs),
    ]
    for value in values:
        if value.name in ends and value is not ends[value.name]:
            value.name = f"{value.name}_within"
    for name, value in ends.items():
        value.name = name


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
