"""A model repository for NVIDIA's Triton Inference Server: the ONNX files of an export, each with its `config.pbtxt`.

The layout and the fields are those of Triton's model configuration (its model_config.proto). What a config says of
inputs and outputs is read from the graph of the file, not from what eml believes of it.
"""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eml.errors import OutputError
from eml.files import whole_folder, write_text

SUFFIX = ".triton"
CONFIG, VERSION, MODEL = "config.pbtxt", "1", "model.onnx"
MOST_IMAGES = 64
"""Images that Triton may give to the network at once."""
DELAY = 2000
"""Microseconds that Triton waits for more images; a network of this size takes longer for one."""
DYNAMIC = "DynamicQuantizeLinear"
"""The node of ONNX by which integers get their step from all that a tensor holds, so from all images of a batch."""


def repository_place(out: Path) -> Path:
    """Return the folder of the model repository that belongs to an exported file, such as shoes.triton."""
    return out.with_name(out.stem + SUFFIX)


def refuse_repository(folder: Path, *, overwrite: bool) -> None:
    """Raise an OutputError where the folder exists, unless it is a model repository of ONNX files to be replaced."""
    if not os.path.lexists(folder):
        return
    foreign = _foreign(folder)
    if foreign is not None:
        text = f"{folder}: holds {foreign}, which is no part of a model repository; move the folder away"
        raise OutputError(text, code="file-exists", parameter="triton")
    if not overwrite:
        text = f"{folder}: exists; give another `out`, or set `overwrite`"
        raise OutputError(text, code="file-exists", parameter="out")


def write_repository(files: Sequence[Path], folder: Path) -> None:
    """Write a model repository of ONNX files, whole or not at all; one that is there is replaced.

    Args:
        files: The files, which are copied. Each is a model, called as the file without what Triton's addresses do not
            take: shoes.text.onnx is shoes_text.
        folder: The repository.
    """
    with whole_folder(folder) as temporary:
        for file in files:
            name = re.sub(r"[^\w-]+", "_", file.stem, flags=re.ASCII)
            (temporary / name / VERSION).mkdir(parents=True)
            write_text(temporary / name / CONFIG, model_config(file, name))
            shutil.copyfile(file, temporary / name / VERSION / MODEL)


def model_config(file: Path, name: str) -> str:
    """Return the text of `config.pbtxt` for an ONNX file whose inputs and outputs begin with the batch.

    A file that takes the steps of its integers from the whole batch gets one image at a time: its embeddings would
    depend on what other clients ask.
    """
    import onnx

    graph = onnx.load(file).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = ",\n".join(_tensor(value) for value in graph.input if value.name not in weights)
    outputs = ",\n".join(_tensor(value) for value in graph.output)
    is_alone = any(node.op_type == DYNAMIC for node in graph.node)
    batching = "" if is_alone else f"dynamic_batching {{\n  max_queue_delay_microseconds: {DELAY}\n}}\n"
    return "\n".join(
        [
            f'name: "{name}"',
            'backend: "onnxruntime"',
            f"max_batch_size: {1 if is_alone else MOST_IMAGES}",
            f"input [\n{inputs}\n]",
            f"output [\n{outputs}\n]",
            batching,
        ]
    )


def _tensor(value: Any) -> str:
    """Return an input or output; its dimensions are those after the batch, −1 for one of any size."""
    import onnx

    own = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(own.elem_type)
    kind = {"FLOAT": "FP32", "FLOAT16": "FP16", "DOUBLE": "FP64"}.get(kind, kind)
    sizes = [size.dim_value if size.HasField("dim_value") else -1 for size in own.shape.dim]
    assert sizes[0] == -1, "eml exports for batches of any size"
    dims = ", ".join(map(str, sizes[1:]))
    return f'  {{\n    name: "{value.name}"\n    data_type: TYPE_{kind}\n    dims: [ {dims} ]\n  }}'


def _foreign(folder: Path) -> str | None:
    """Return the name of something in a folder that no model repository of ONNX files has; None: there is nothing."""
    if not folder.is_dir():
        return "a file"
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not path.is_dir() and parts[1:] not in {(CONFIG,), (VERSION, MODEL)}:
            return "/".join(parts)
    return None
