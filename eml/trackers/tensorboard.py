"""TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from eml.trackers.base import Tracker, TrackerLog, Values


class TensorBoard(Tracker):
    """Event files in RUN/tensorboard, shown by `tensorboard --logdir RUN`."""

    type: Literal["tensorboard"] = "tensorboard"
    package: ClassVar[str] = "tensorboard"

    def open(self, run: Path, config: Mapping[str, Any], *, resumed: bool) -> TrackerLog:
        """Open a writer; steps that a resumed run takes again replace the earlier ones when they are read."""
        from torch.utils.tensorboard import SummaryWriter

        return _TensorBoardLog(SummaryWriter(str(run / "tensorboard")))


class _TensorBoardLog:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, step: int, values: Values) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()
