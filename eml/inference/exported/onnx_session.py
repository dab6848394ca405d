"""Sessions of onnxruntime on the CPU, whose many types of errors become ours."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.errors import CheckpointError, ConfigError, message_lines

OUTPUT = "embedding"
_SPINNING = "session.intra_op.allow_spinning"


def open_session(path: Path, threads: int | None = None) -> Any:
    """Return a session of an ONNX file.

    Its threads sleep while they have nothing to do. As onnxruntime has them they spin, and take the processor from
    whatever decodes the images meanwhile: on two cores that other work shared, 55 images per processor second in place
    of 77, and no fewer milliseconds for one image or sixteen.

    Args:
        path: The file.
        threads: Threads of a call; None: as onnxruntime likes.

    Raises:
        CheckpointError: The file is damaged.
        ConfigError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        text = f"{path}: needs onnxruntime: pip install 'easy-metric-learning[onnx]'"
        raise ConfigError(text, code="missing-package", parameter="checkpoint") from error
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised too
    options.add_session_config_entry(_SPINNING, "0")
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of its own for each kind of damage
        reason = message_lines(error)[0]
        raise CheckpointError(f"{path}: onnxruntime cannot load it: {reason}", code="damaged-file") from error


def run_session(session: Any, inputs: NDArray[Any], path: Path, noun: str) -> NDArray[np.float32]:
    """Return the embeddings (B, D) of inputs (B, …). path, noun: for messages, such as model.onnx and images.

    Raises:
        CheckpointError: The graph cannot be run on them.
    """
    try:
        embeddings: NDArray[np.float32] = session.run([OUTPUT], {session.get_inputs()[0].name: inputs})[0]
    except Exception as error:  # of onnxruntime's own types
        reason = " ".join(str(error).split())
        text = f"{path}: onnxruntime cannot run it on {len(inputs):,} {noun}: {reason}"
        raise CheckpointError(text, code="damaged-file") from error
    return embeddings
