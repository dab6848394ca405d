import logging
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from eml.exporting.precision.int8 import quantize_by_input, quantize_by_ranges  # noqa: E402
from eml.exporting.precision.ranges import measure_ranges  # noqa: E402
from tests.exporting.precision.graphs import images, opsets, run, write_network  # noqa: E402


def test_ranges_are_those_of_every_image(tmp_path: Path) -> None:
    source = write_network(tmp_path / "a.onnx")
    pixels = images(5)
    ranges = measure_ranges(source, (pixels[i : i + 1] for i in range(5)), tmp_path)
    normalised = (pixels.astype(np.float32) - 127) / 58
    place = ranges.names.index("normalised")
    np.testing.assert_allclose(ranges.low[:, place], normalised.min((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(ranges.high[:, place], normalised.max((1, 2, 3)), rtol=1e-5)
    assert ranges.extremes()["normalised"] == pytest.approx((normalised.min(), normalised.max()), rel=1e-5)
    assert ranges.means()["normalised"][1] == pytest.approx(normalised.max((1, 2, 3)).mean(), rel=1e-5)
    assert ranges.extremes()["r1"][0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.parametrize("way", ["static", "dynamic"])
def test_int8_is_close_to_float32_and_of_unit_length(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = write_network(tmp_path / "a.onnx"), tmp_path / "b.onnx"
    if way == "static":
        pixels = images(16, seed=2)
        ranges = measure_ranges(source, (pixels[i : i + 1] for i in range(16)), tmp_path).extremes()
        with caplog.at_level(logging.WARNING):
            quantize_by_ranges(source, target, ranges)
    else:
        with caplog.at_level(logging.WARNING):
            quantize_by_input(source, target)
    for count in (1, 7):
        before, after = run(source, images(count)), run(target, images(count))
        assert (before * after).sum(1).min() > 0.99
        np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-6)
        assert not np.allclose(before, after, atol=1e-6)
    proto = onnx.load(target)
    weights = [tensor for tensor in proto.graph.initializer if tensor.name.startswith("w2_quantized")]
    assert [tensor.data_type for tensor in weights] in ([onnx.TensorProto.INT8], [onnx.TensorProto.UINT8])
    kept = {node.op_type: node for node in proto.graph.node}
    assert {"Sub", "ReduceL2"} <= kept.keys()
    assert kept["ReduceL2"].input[0] == "features"
    if way == "static":
        scales = next(tensor for tensor in proto.graph.initializer if tensor.name == "w2_scale")
        assert list(scales.dims) == [12]
    assert opsets(target) == {"": 20}
    assert not caplog.records
    assert capsys.readouterr().out == ""
