"""float16: weights and products in half precision, between a normalisation and a unit length in float32."""

import logging
from pathlib import Path
from typing import Any

from eml.errors import ConfigError
from eml.exporting.precision.sections import find_sections, name_nodes

LARGEST = 65504.0
"""The largest number of float16."""
DETAILS = (
    "weights and products in float16; pixels are normalised, pooled and brought to unit length in float32, and input "
    "and output are those of float32"
)


def to_float16(source: Path, target: Path) -> None:
    """Write an ONNX file with its network in float16.

    Raises:
        ConfigError: A weight is beyond the range of float16.
    """
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    proto = onnx.load(source)
    name_nodes(proto)
    _refuse_large_weights(proto)
    sections = find_sections(proto)
    kept = sorted(sections.before | sections.pooled | sections.length)
    weights = {tensor.name: type(tensor).FromString(tensor.SerializeToString()) for tensor in proto.graph.initializer}
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)
    converted: Any = convert_float_to_float16(proto, keep_io_types=True, node_block_list=kept)
    _join_casts(converted.graph, weights)
    ordered = ONNXModel(converted)
    ordered.topological_sort()  # the converter puts casts where their input is not there yet
    onnx.checker.check_model(ordered.model)
    target.write_bytes(ordered.model.SerializeToString())


def _join_casts(graph: Any, weights: dict[str, Any]) -> None:
    """Let a step in float32 take what another one gives, or its weights, as they are: the converter rounds them.

    Args:
        graph: Of the converted model.
        weights: Name → tensor in float32 before the conversion.
    """
    import onnx

    halves = {node.output[0]: node.input[0] for node in graph.node if _casts_to(node, onnx.TensorProto.FLOAT16)}
    whole = {node.output[0]: node.input[0] for node in graph.node if _casts_to(node, onnx.TensorProto.FLOAT)}
    replaced = {output: halves[half] for output, half in whole.items() if half in halves}
    for output, name in whole.items():
        if name in weights:
            tensor = graph.initializer.add()
            tensor.CopyFrom(weights[name])
            tensor.name = f"{name}_float32"
            replaced[output] = tensor.name
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        if node.output[0] in outputs & replaced.keys():
            node.op_type, node.input[0] = "Identity", replaced[node.output[0]]
            del node.attribute[:]
        for place, name in enumerate(node.input):
            node.input[place] = replaced.get(name, name)
    for _ in range(2):  # casts to float32, then those to float16 before them
        used = outputs | {name for node in graph.node for name in node.input}
        for node in [node for node in graph.node if node.op_type == "Cast" and not used & set(node.output)]:
            graph.node.remove(node)
    used = outputs | {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _casts_to(node: Any, kind: int) -> bool:
    return bool(node.op_type == "Cast" and node.attribute[0].i == kind)


def _refuse_large_weights(proto: Any) -> None:
    """Raise a ConfigError for a weight that float16 cannot hold; the converter would replace it silently."""
    import numpy as np
    import onnx

    for tensor in proto.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        finite = np.abs(values[np.isfinite(values)])
        if finite.size and float(finite.max()) > LARGEST:
            text = (
                f"`precision` float16: the weight {tensor.name} reaches {float(finite.max()):.3g}, and float16 ends at "
                f"{LARGEST:,.0f}; use float32 or int8"
            )
            raise ConfigError(text, code="unsupported-by-backbone", parameter="precision")
