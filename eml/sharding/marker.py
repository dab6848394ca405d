"""The completion marker of a shard: what was done, of what, and which bytes came of it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eml.config.text import shown
from eml.files import digest, write_json
from eml.json_files import read_json
from eml.sharding.file_states import ListedFiles
from eml.sharding.shard import WorkShard
from eml.versions import eml_version

FORMAT = 1
"""Raise it when results of an earlier eml cannot be merged."""

PATH, TYPED = "path", "typed"
"""Keys of a path in a config: relative to the folder of the shards where one lies within the other; as it was typed."""


@dataclass(frozen=True)
class Task:
    """The work of a shard, by which one that was done before is known to be the same.

    Attributes:
        command: The command's name.
        line: The command line without its options for shards.
        config: The config without its options for shards; its paths relative to the folder of the shards where that
            lies below them or above.
        settings: What else the result depends on, such as versions of packages.
        inputs: File that was read, such as a table → its digest.
        files: The images.
        shard: Which one it is.
    """

    command: str
    line: str
    config: dict[str, Any]
    settings: dict[str, Any]
    inputs: dict[str, str]
    files: ListedFiles
    shard: WorkShard


@dataclass(frozen=True)
class Marker:
    """A shard that is done.

    Attributes:
        task: What was done.
        rows: Rows of the result.
        result_bytes: Size of the result.
        result_digest: Digest of the result.
        facts: What the result does not hold, and merging needs.
        eml_version: Of the eml that did it.
        format: Of the marker and the result.
    """

    task: Task
    rows: int
    result_bytes: int
    result_digest: str
    facts: dict[str, Any] = field(default_factory=dict)
    eml_version: str = field(default_factory=eml_version)
    format: int = FORMAT

    @classmethod
    def of_result(cls, task: Task, rows: int, result: Path, facts: Mapping[str, Any]) -> "Marker":
        """Return the marker of a result that is on the disk."""
        return cls(task, rows, result.stat().st_size, digest(result), dict(facts))

    def write(self, path: Path) -> None:
        """Write the marker whole."""
        write_json(path, asdict(self))

    def differences(self, task: Task) -> list[str]:
        """Return in which ways the work to do now differs from what was done; none where it is the same."""
        return [*self.other_work(task), *_other_files(self.task, task)]

    def other_work(self, task: Task) -> list[str]:
        """Return how the work differs, whatever the images are."""
        lines = []
        if (self.format, self.eml_version) != (FORMAT, eml_version()):
            lines.append(f"it was made by eml {self.eml_version}, and this is {eml_version()}")
        lines += [] if self.task.command == task.command else [f"it is of eml {self.task.command}"]
        for name in ("config", "settings", "inputs"):
            lines += _changes(name, getattr(self.task, name), getattr(task, name))
        return lines


def read_marker(path: Path) -> Marker | None:
    """Return the marker in a file; None where there is none, or what is there is none of this version."""
    try:
        marker: Marker = read_json(path, Marker)
    except (OSError, ValueError):
        return None
    return marker


def _changes(kind: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each option, setting or input that was another one."""
    for name in sorted(before.keys() | now.keys()):
        if comparable(before.get(name)) == comparable(now.get(name)):
            continue
        if kind == "inputs":
            yield f"{name} has changed since"
        else:
            text = f"`{name}`" if kind == "config" else name
            yield f"{text} was {_value(before.get(name))}, and is {_value(now.get(name))}"


def comparable(value: Any) -> Any:
    """Return a value of a config without how its paths were typed, which does not matter."""
    if isinstance(value, Mapping):
        return {name: comparable(part) for name, part in value.items() if name != TYPED}
    return [comparable(part) for part in value] if isinstance(value, list) else value


def _value(value: object) -> str:
    if isinstance(value, Mapping) and PATH in value:
        return shown(value[PATH])
    if isinstance(value, list):
        return ", ".join(_value(part) for part in value) or "none"
    return "not given" if value is None else shown(value)


def _other_files(before: Task, now: Task) -> Iterator[str]:
    old, new = before.files, now.files
    if old.names != new.names:
        counts = f"{old.rows:,} images before, {new.rows:,} now" if old.rows != new.rows else f"{new.rows:,} images"
        yield f"its images are others: files were added, removed or renamed ({counts})"
    elif old.states != new.states:
        yield "files of it were written since, by their size or time"
