"""A small ONNX network as eml exports them, made by hand: no torch, no exporter."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def write_network(path: Path, *, projection: bool = False, scale: float = 1.0, seed: int = 0) -> Path:
    """Write pixels (B, 8, 8, 3) → two convolutions, mean, a linear layer and unit length; opset 20."""
    random = np.random.default_rng(seed)
    weights = {
        "mean": np.full((1, 3, 1, 1), 127.0),
        "std": np.full((1, 3, 1, 1), 58.0),
        "w1": scale * random.normal(0, 0.3, (8, 3, 3, 3)),
        "b1": random.normal(0, 0.1, 8),
        "w2": random.normal(0, 0.2, (12, 8, 3, 3)),
        "b2": random.normal(0, 0.1, 12),
        "w3": random.normal(0, 0.3, (12, 6)),
        "b3": random.normal(0, 0.1, 6),
    }
    if projection:
        weights["w4"] = random.normal(0, 0.3, (6, 4))
    make = helper.make_node
    nodes = [
        make("Transpose", ["image"], ["chw"], "transpose", perm=[0, 3, 1, 2]),
        make("Cast", ["chw"], ["floats"], "cast", to=TensorProto.FLOAT),
        make("Sub", ["floats", "mean"], ["centred"], "sub"),
        make("Div", ["centred", "std"], ["normalised"], "div"),
        make("Conv", ["normalised", "w1", "b1"], ["c1"], "conv1"),
        make("Relu", ["c1"], ["r1"], "relu1"),
        make("Conv", ["r1", "w2", "b2"], ["c2"], "conv2"),
        make("Relu", ["c2"], ["r2"], "relu2"),
        make("ReduceMean", ["r2", "axes"], ["pooled"], "pool", keepdims=0),
        make("MatMul", ["pooled", "w3"], ["product"], "linear"),
        make("Add", ["product", "b3"], ["features"], "bias"),
        make("ReduceL2", ["features", "last"], ["length"], "norm", keepdims=1),
        make("Div", ["features", "length"], ["unit" if projection else "embedding"], "unit"),
    ]
    if projection:
        nodes.append(make("MatMul", ["unit", "w4"], ["embedding"], "projection"))
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    tensors += [numpy_helper.from_array(np.array([2, 3]), "axes"), numpy_helper.from_array(np.array([1]), "last")]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 4 if projection else 6])],
        tensors,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def images(count: int, seed: int = 1) -> NDArray[np.uint8]:
    """Return noise, (B, 8, 8, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


def run(path: Path, batch: NDArray[Any]) -> NDArray[np.float32]:
    """Return what a file gives for a batch."""
    embeddings: NDArray[np.float32] = onnxruntime.InferenceSession(path).run(["embedding"], {"image": batch})[0]
    return embeddings


def opsets(path: Path) -> dict[str, int]:
    """Return domain → version of the opsets that a file needs."""
    return {entry.domain: entry.version for entry in onnx.load(path).opset_import}
