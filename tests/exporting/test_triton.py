"""The model repository for Triton: its layout, and `config.pbtxt` read as the text of a protobuf message."""

from pathlib import Path
from typing import Any

import pytest

from eml.errors import OutputError
from eml.exporting.triton import model_config, refuse_repository, repository_place, write_repository

onnx = pytest.importorskip("onnx")

FIELDS = {
    "ModelConfig": [
        *((1, "name", "string", 1), (4, "max_batch_size", "int32", 1), (17, "backend", "string", 1)),
        *((5, "input", "ModelInput", 3), (6, "output", "ModelOutput", 3)),
        (11, "dynamic_batching", "ModelDynamicBatching", 1),
    ],
    "ModelInput": [(1, "name", "string", 1), (2, "data_type", "DataType", 1), (4, "dims", "int64", 3)],
    "ModelOutput": [(1, "name", "string", 1), (2, "data_type", "DataType", 1), (3, "dims", "int64", 3)],
    "ModelDynamicBatching": [(2, "max_queue_delay_microseconds", "uint64", 1)],
}
"""Number, name, type and label of the fields that eml writes, by Triton's model_config.proto."""
TYPES = ["INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32"]


def read_config(text: str) -> Any:
    """Read a `config.pbtxt` by protobuf's own parser, which refuses fields and values that the messages have not."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    file = descriptor_pb2.FileDescriptorProto(name="triton.proto", package="inference", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    for number, name in enumerate(TYPES):
        kinds.value.add(name=f"TYPE_{name}", number=number)
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for number, field, kind, label in fields:
            own = message.field.add(name=field, number=number, label=label)
            plain = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}", None)
            if plain is not None:
                own.type = plain
            else:
                own.type = 14 if kind == "DataType" else 11
                own.type_name = f".inference.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()
    return text_format.Parse(text, config)


def write_graph(path: Path, input_name: str, kind: int, shape: list[int | str]) -> Path:
    """Write an ONNX file whose graph takes one input and has a weight that is listed among the inputs too."""
    image = onnx.helper.make_tensor_value_info(input_name, kind, shape)
    embedding = onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["batch", 7])
    weight = onnx.helper.make_tensor("weight", onnx.TensorProto.FLOAT, [1], [2.0])
    listed = onnx.helper.make_tensor_value_info("weight", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([], "g", [image, listed], [embedding], [weight])
    onnx.save(onnx.helper.make_model(graph), path)
    return path


def test_a_config_says_what_the_graph_takes_and_gives(tmp_path: Path) -> None:
    file = write_graph(tmp_path / "shoes.onnx", "image", onnx.TensorProto.UINT8, ["batch", 12, 8, 3])
    config = read_config(model_config(file, "shoes"))
    assert (config.name, config.backend, config.max_batch_size) == ("shoes", "onnxruntime", 64)
    (image,), (embedding,) = config.input, config.output
    assert (image.name, TYPES[image.data_type], list(image.dims)) == ("image", "UINT8", [12, 8, 3])
    assert (embedding.name, TYPES[embedding.data_type], list(embedding.dims)) == ("embedding", "FP32", [7])
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    tokens = write_graph(tmp_path / "t.onnx", "tokens", onnx.TensorProto.INT64, ["batch", "length"])
    (text,) = read_config(model_config(tokens, "t")).input
    assert (text.name, TYPES[text.data_type], list(text.dims)) == ("tokens", "INT64", [-1])


def test_a_file_whose_integers_depend_on_the_batch_gets_one_image_at_a_time(tmp_path: Path) -> None:
    file = write_graph(tmp_path / "a.onnx", "image", onnx.TensorProto.FLOAT, ["batch", 7])
    assert read_config(model_config(file, "a")).HasField("dynamic_batching")
    model = onnx.load(file)
    model.graph.node.append(onnx.helper.make_node("DynamicQuantizeLinear", ["image"], ["a", "b", "c"]))
    onnx.save(model, file)
    config = read_config(model_config(file, "a"))
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (1, False)


def test_a_repository_has_a_folder_with_a_version_for_each_file(tmp_path: Path) -> None:
    image = write_graph(tmp_path / "shoes v2.onnx", "image", onnx.TensorProto.FLOAT, ["batch", 3, 12, 8])
    text = write_graph(tmp_path / "shoes v2.text.onnx", "tokens", onnx.TensorProto.INT64, ["batch", 77])
    folder = repository_place(image)
    assert folder == tmp_path / "shoes v2.triton"
    write_repository([image, text], folder)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    names = {"shoes_v2", "shoes_v2_text"}
    assert set(files) == {f"{name}/{part}" for name in names for part in ("config.pbtxt", "1/model.onnx")}
    assert files["shoes_v2_text/1/model.onnx"].read_bytes() == text.read_bytes()
    assert {read_config(files[f"{name}/config.pbtxt"].read_text()).name for name in names} == names


def test_a_repository_replaces_nothing_but_a_repository(tmp_path: Path) -> None:
    file = write_graph(tmp_path / "a.onnx", "image", onnx.TensorProto.UINT8, ["batch", 12, 8, 3])
    folder = repository_place(file)
    refuse_repository(folder, overwrite=False)
    write_repository([file], folder)
    with pytest.raises(OutputError, match="exists"):
        refuse_repository(folder, overwrite=False)
    refuse_repository(folder, overwrite=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes\.txt"):
        refuse_repository(folder, overwrite=True)
