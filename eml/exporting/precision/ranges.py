"""The range of each activation of an ONNX file over images, which int8 steps are cut from."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Inputs = Iterable[NDArray[Any]]
"""What the graph takes, an image at a time, (1, …)."""


@dataclass(frozen=True)
class ActivationRanges:
    """The range of every activation in every image.

    Attributes:
        names: Of the T activations.
        low: (N, T) float32.
        high: (N, T) float32.
    """

    names: list[str]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def extremes(self) -> dict[str, tuple[np.float32, np.float32]]:
        """Return the range over all images of each activation: nothing is cut off."""
        return self._with_zero(self.low.min(0), self.high.max(0))

    def means(self) -> dict[str, tuple[np.float32, np.float32]]:
        """Return the mean of the images' ranges: finer steps, and the peaks of some images are cut off."""
        return self._with_zero(self.low.mean(0), self.high.mean(0))

    def _with_zero(
        self, low: NDArray[np.float32], high: NDArray[np.float32]
    ) -> dict[str, tuple[np.float32, np.float32]]:
        """Return name → range; zero is in each, since it has to be a step of its own."""
        pairs = zip(np.minimum(low, 0).astype(np.float32), np.maximum(high, 0).astype(np.float32), strict=True)
        return dict(zip(self.names, pairs, strict=True))


def measure_ranges(source: Path, inputs: Inputs, folder: Path) -> ActivationRanges:
    """Run an ONNX file in float32 on images and return the ranges of its activations.

    Args:
        source: The file.
        inputs: The images.
        folder: For a temporary file.
    """
    import onnx
    import onnxruntime

    proto = onnx.shape_inference.infer_shapes(onnx.load(source))
    values = [*proto.graph.value_info, *proto.graph.input, *proto.graph.output]
    names = [value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    del proto.graph.output[:]
    for name in names:
        for operation in ("ReduceMin", "ReduceMax"):
            output = f"{operation} of {name}"
            proto.graph.node.append(onnx.helper.make_node(operation, [name], [output], output, keepdims=0))
            proto.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, []))
    watched = folder / "ranges.onnx"
    watched.write_bytes(proto.SerializeToString())
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(str(watched), options, providers=["CPUExecutionProvider"])
    key = session.get_inputs()[0].name
    rows = [session.run(None, {key: image}) for image in inputs]
    watched.unlink()
    table = np.array(rows, np.float32).reshape(len(rows), len(names), 2)
    return ActivationRanges(names, table[..., 0], table[..., 1])
