"""int8: the products of an ONNX file in eight bits, with steps from calibration images or from each input itself."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from eml.exporting.precision.sections import find_sections, name_nodes

_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu"})
"""Steps that become part of the product before them."""
Range = tuple[Any, Any]
"""The lowest and the highest value of an activation, np.float32."""


def quantize_by_ranges(source: Path, target: Path, ranges: dict[str, Range]) -> None:
    """Write an ONNX file with quantised weights, one step per channel, and activations with steps of their ranges.

    Activations are uint8, weights int8: what onnxruntime and OpenVINO have kernels for on x86. Pixels' normalisation,
    pooling and unit length stay in float32.

    Args:
        source: The file in float32.
        target: The file to write, in ONNX's QDQ format (QuantizeLinear, DequantizeLinear).
        ranges: Name → range of each activation.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    proto = onnx.load(source)
    name_nodes(proto)
    _select_before_norm(proto)
    proto = onnx.shape_inference.infer_shapes(proto)
    sections = find_sections(proto)
    activations = {node.name for node in proto.graph.node if node.op_type in _ACTIVATIONS}
    data: Any = TensorsData(CalibrationMethod.MinMax, dict(ranges))
    quantizer: Any = QDQQuantizer(
        proto,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=data,
        nodes_to_quantize=[],
        nodes_to_exclude=sorted(sections.before | sections.pooled - activations | sections.length),
        op_types_to_quantize=sorted(set(QDQRegistry) | set(QLinearOpsRegistry)),
        extra_options={"QDQOpTypePerChannelSupportToAxis": {"MatMul": 1}},
    )
    with _quiet():
        quantizer.quantize_model()
    _write(quantizer.model.model, source, target)


def quantize_by_input(source: Path, target: Path) -> None:
    """Write an ONNX file with quantised weights, whose activations get their steps from each input.

    It needs no calibration images. Transformers lose least so; convolutions become slower than in float32.

    Args:
        source: The file in float32.
        target: The file to write.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    proto = onnx.load(source)
    name_nodes(proto)
    sections = find_sections(proto)
    has_convolutions = sum(node.op_type == "Conv" for node in proto.graph.node) > 1  # patches are cut by a single one
    with _quiet():
        quantize_dynamic(
            proto,
            target,
            per_channel=not has_convolutions,
            # onnxruntime has no quick kernel of ConvInteger for signed weights.
            weight_type=QuantType.QUInt8 if has_convolutions else QuantType.QInt8,
            nodes_to_exclude=sorted(sections.before | sections.pooled | sections.length),
            op_types_to_quantize=["Conv", "MatMul", "Gemm"] if has_convolutions else ["MatMul", "Gemm"],
        )
    _write(onnx.load(target), source, target)


def _select_before_norm(proto: Any) -> None:
    """Take the class token before its LayerNormalization, which is the same and less work.

    The other way round OpenVINO takes the norm's scale for a step of int8 and fails to compile
    (`GatherTransformation … Axis 1 out of the tensor rank range`).
    """
    makers = {output: node for node in proto.graph.node for output in node.output}
    uses = [name for node in proto.graph.node for name in node.input] + [value.name for value in proto.graph.output]
    scalars = {tensor.name for tensor in proto.graph.initializer if not tensor.dims}
    nodes = list(proto.graph.node)
    for node in nodes:
        norm = makers.get(node.input[0]) if node.op_type == "Gather" else None
        if norm is None or norm.op_type != "LayerNormalization" or len(norm.output) > 1 or _axis_of(norm, -1) != -1:
            continue
        if _axis_of(node, 0) != 1 or node.input[1] not in scalars or uses.count(norm.output[0]) > 1:
            continue
        node.input[0], norm.input[0] = norm.input[0], norm.output[0]
        norm.output[0], node.output[0] = node.output[0], norm.output[0]
        place, own = nodes.index(norm), nodes.index(node)
        nodes[place], nodes[own] = node, norm
        del proto.graph.value_info[:]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _axis_of(node: Any, usual: int) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == "axis"), usual)


def _write(proto: Any, source: Path, target: Path) -> None:
    """Write a quantised model that names the opsets that it uses, and no more than it needs."""
    import onnx

    used = {node.domain for node in proto.graph.node}
    kept = [entry for entry in proto.opset_import if entry.domain in used | {""}]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    before = {entry.domain: entry.version for entry in onnx.load(source, load_external_data=False).opset_import}
    assert before.get("") == next(entry.version for entry in kept if not entry.domain), "the opset stays"
    target.write_bytes(proto.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what onnxruntime's quantisation prints and logs of its own accord."""

    def is_of_others(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    logger = logging.getLogger()
    logger.addFilter(is_of_others)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.removeFilter(is_of_others)
