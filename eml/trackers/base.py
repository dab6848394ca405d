"""What a tracker is, and how several are written to without ever stopping a run."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

from eml.config import Choice
from eml.errors import ConfigError

Values = Mapping[str, float]


class Log(Protocol):
    """An open tracker."""

    def write(self, step: int, values: Values) -> None:
        """Numbers of an optimizer step, or of the validation after it; names with slashes are grouped by trackers."""

    def close(self) -> None:
        """The run has ended, whole or not."""


class Tracker(Choice):
    """Where the numbers of a run go besides its folder."""

    package: ClassVar[str]
    """The module that it needs; the extra of eml that installs it is named as the tracker's `type`."""

    def open(self, run: Path, config: Mapping[str, Any], *, resumed: bool) -> Log:
        """Begin to log, or go on. run: the run folder. config: the resolved config, of plain values."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises ConfigError when its package is missing."""
        if find_spec(self.package) is None:
            raise ConfigError(
                f"tracker {self.type!r} needs the {self.package} package: "
                f"pip install 'easy-metric-learning[{self.type}]'"
            )


class Tracking:
    """All trackers of a run. One that fails is told of once and left alone from then on."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._open: dict[str, Log] = {}

    def open(self, trackers: Sequence[Tracker], run: Path, config: Mapping[str, Any], *, resumed: bool) -> None:
        """Open them all."""
        for tracker in trackers:
            self._guarded(tracker.type, lambda tracker=tracker: self._add(tracker, run, config, resumed))  # type: ignore[misc]

    def write(self, step: int, values: Values) -> None:
        """To every tracker that is still at work."""
        for name, log in list(self._open.items()):
            self._guarded(name, lambda log=log: log.write(step, values))  # type: ignore[misc]

    def close(self) -> None:
        """Close them all."""
        for name, log in list(self._open.items()):
            self._guarded(name, log.close)
        self._open = {}

    def _add(self, tracker: Tracker, run: Path, config: Mapping[str, Any], resumed: bool) -> None:
        self._open[tracker.type] = tracker.open(run, config, resumed=resumed)

    def _guarded(self, name: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # networks, disks and services fail in every way there is; the run goes on
            self._open.pop(name, None)
            first = str(error).strip().splitlines()
            self._warn(
                f"warning: tracker {name} failed and gets nothing more: {first[0] if first else type(error).__name__}"
            )
