"""The base class of experiment trackers, and writing to several of them without ever stopping a run."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

from eml.config import Choice
from eml.errors import ConfigError

Values = Mapping[str, float]


class TrackerLog(Protocol):
    """An open tracker."""

    def write(self, step: int, values: Values) -> None:
        """Write numbers of an optimizer step, or of the validation after it; trackers group names by their slashes."""

    def close(self) -> None:
        """Close the log when the run has ended, complete or not."""


class Tracker(Choice):
    """A place besides the run folder where the numbers of a run go."""

    package: ClassVar[str]
    """The module that the tracker needs; the extra of eml that installs it has the name of the tracker's `type`."""

    def open(self, run: Path, config: Mapping[str, Any], *, resumed: bool) -> TrackerLog:
        """Begin a log, or continue it.

        Args:
            run: The run folder.
            config: The resolved config, of plain values.
            resumed: Whether the run is resumed.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Raise ConfigError when the tracker's package is missing."""
        if find_spec(self.package) is None:
            raise ConfigError(
                f"tracker {self.type!r} needs the {self.package} package: "
                f"pip install 'easy-metric-learning[{self.type}]'",
                code="missing-package",
                parameter="trackers",
            )


class Tracking:
    """All trackers of a run. A failing tracker is reported once and not used again."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._open: dict[str, TrackerLog] = {}

    def open(self, trackers: Sequence[Tracker], run: Path, config: Mapping[str, Any], *, resumed: bool) -> None:
        """Open all trackers."""
        for tracker in trackers:
            self._guarded(tracker.type, lambda tracker=tracker: self._add(tracker, run, config, resumed))  # type: ignore[misc]

    def write(self, step: int, values: Values) -> None:
        """Write to every tracker that has not failed."""
        for name, log in list(self._open.items()):
            self._guarded(name, lambda log=log: log.write(step, values))  # type: ignore[misc]

    def close(self) -> None:
        """Close all trackers."""
        for name, log in list(self._open.items()):
            self._guarded(name, log.close)
        self._open = {}

    def _add(self, tracker: Tracker, run: Path, config: Mapping[str, Any], resumed: bool) -> None:
        self._open[tracker.type] = tracker.open(run, config, resumed=resumed)

    def _guarded(self, name: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # networks, disks and services fail in every way; the run continues
            self._open.pop(name, None)
            first = str(error).strip().splitlines()
            self._warn(
                f"warning: tracker {name} failed and is not used again: {first[0] if first else type(error).__name__}"
            )
