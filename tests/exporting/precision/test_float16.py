from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from eml.errors import ConfigError  # noqa: E402
from eml.exporting.precision.float16 import to_float16  # noqa: E402
from tests.exporting.precision.graphs import images, opsets, run, write_network  # noqa: E402


def test_a_network_in_float16_gives_embeddings_of_exact_unit_length_in_float32(tmp_path: Path) -> None:
    source, target = write_network(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    to_float16(source, target)
    for count in (1, 2, 7):
        before, after = run(source, images(count)), run(target, images(count))
        assert after.dtype == np.float32
        assert np.abs(before - after).max() < 2e-3
        np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-6)
    proto = onnx.load(target)
    kinds = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    assert {name: kinds[name] for name in ("w1", "w2", "w3")} == dict.fromkeys(("w1", "w2", "w3"), 10)  # FLOAT16
    mean = next(tensor for tensor in proto.graph.initializer if tensor.name.startswith("mean"))
    assert mean.data_type == onnx.TensorProto.FLOAT
    assert opsets(target) == {"": 20}


def test_a_weight_that_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    source = write_network(tmp_path / "a.onnx", scale=1e6)
    with pytest.raises(ConfigError, match="the weight w1") as error:
        to_float16(source, tmp_path / "b.onnx")
    assert (error.value.code, error.value.parameter) == ("unsupported-by-backbone", "precision")
