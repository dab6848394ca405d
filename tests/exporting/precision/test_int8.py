import logging
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from eml.exporting.precision.int8 import _select_before_norm, quantize_by_input, quantize_by_ranges  # noqa: E402
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


def has_vnni() -> bool:
    """Return whether the processor sums products of 8 bits exactly; others of x86-64 saturate at 16 bits."""
    facts = Path("/proc/cpuinfo")
    text = facts.read_text(encoding="utf-8") if facts.exists() else ""
    return "avx2" not in text or "vnni" in text


LEAST_COSINE = 0.99 if has_vnni() else 0.97


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
        assert (before * after).sum(1).min() > LEAST_COSINE
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


def test_the_class_token_is_selected_before_its_norm_with_the_same_numbers(tmp_path: Path) -> None:
    make, values = onnx.helper.make_node, np.random.default_rng(0).normal(0, 1, (2, 5, 4)).astype(np.float32)
    weights = {"scale": values[0, 0], "index": np.array(3), "tokens": values}
    graph = onnx.helper.make_graph(
        [
            make("LayerNormalization", ["tokens", "scale"], ["normed"], "norm", axis=-1),
            make("Gather", ["normed", "index"], ["token"], "select", axis=1),
            make("Identity", ["token"], ["embedding"], "last"),
        ],
        "tokens",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1])],
        [onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, [2, 4])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    before, after = tmp_path / "a.onnx", tmp_path / "b.onnx"
    before.write_bytes(proto.SerializeToString())
    _select_before_norm(proto)
    after.write_bytes(proto.SerializeToString())
    onnx.checker.check_model(proto)
    assert [node.op_type for node in proto.graph.node] == ["Gather", "LayerNormalization", "Identity"]
    np.testing.assert_allclose(run(after, images(1)[0, 0, 0, :1]), run(before, images(1)[0, 0, 0, :1]), atol=1e-6)
