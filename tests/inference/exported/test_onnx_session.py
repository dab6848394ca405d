from pathlib import Path

import numpy as np
import pytest

from eml.errors import CheckpointError
from eml.inference.exported.onnx_session import OUTPUT, open_session, run_session

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")


def doubling(path: Path) -> Path:
    """Write a network that doubles its numbers."""
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 2]) for name in ("x", OUTPUT)]
    node = onnx.helper.make_node("Add", ["x", "x"], [OUTPUT])
    graph = onnx.helper.make_graph([node], "doubling", values[:1], values[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_threads_that_have_nothing_to_do_leave_the_processor_to_others(threads: int | None, tmp_path: Path) -> None:
    session = open_session(doubling(tmp_path / "model.onnx"), threads)
    assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"
    numbers = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    assert np.array_equal(run_session(session, numbers, tmp_path, "images"), 2 * numbers)


def test_a_damaged_file_and_inputs_of_another_shape_are_our_errors(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no network")
    with pytest.raises(CheckpointError, match="onnxruntime cannot load it"):
        open_session(damaged)
    session = open_session(doubling(tmp_path / "model.onnx"))
    with pytest.raises(CheckpointError, match="cannot run it on 1 images"):
        run_session(session, np.zeros((1, 3), np.float32), tmp_path, "images")


def test_weights_outside_of_the_folder_of_a_file_are_not_read(tmp_path: Path) -> None:
    numbers, folder = np.arange(4, dtype=np.float32), tmp_path / "model"
    folder.mkdir()
    for file in (tmp_path / "secret.bin", folder / "own.bin"):
        file.write_bytes(numbers.tobytes())
    session = open_session(with_weights_at(folder / "good.onnx", "own.bin"))
    assert np.array_equal(session.run(None, {"x": np.zeros(4, np.float32)})[0], numbers)
    for location in ("../secret.bin", str(tmp_path / "secret.bin")):
        with pytest.raises(CheckpointError) as caught:
            open_session(with_weights_at(folder / "evil.onnx", location))
        assert caught.value.code == "damaged-file"


def with_weights_at(path: Path, location: str) -> Path:
    """Write a network that adds four numbers, which lie in another file."""
    types = onnx.TensorProto
    tensor = types(name="w", data_type=types.FLOAT, dims=[4], data_location=types.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    inputs, outputs = (onnx.helper.make_tensor_value_info(name, types.FLOAT, [4]) for name in "xy")
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "adding", [inputs], [outputs], [tensor])
    opsets = [onnx.helper.make_opsetid("", 17)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path
