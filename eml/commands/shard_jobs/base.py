"""The base of the jobs: a command's config as a completion marker keeps it, and back."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from eml.commands.base import Caller, CommandConfig, CommandFunction, command_text, validated
from eml.commands.sharded import SHARD_OPTIONS
from eml.dataset.sidecar import from_folder
from eml.files import real_path
from eml.sharding.jobs import ShardJob, ShardWork
from eml.sharding.marker import PATH, TYPED
from eml.storage import is_remote, is_url


class CommandJob(ShardJob[Caller]):
    """The job of a command.

    Attributes:
        path_texts: Fields whose text may be a path, or a name such as timm:resnet50.
        without: Fields that the result does not depend on.
    """

    path_texts: Collection[str] = ()
    without: Collection[str] = ("overwrite", "workers")

    @property
    @abstractmethod
    def function(self) -> CommandFunction[Any]:
        """The command."""

    def facts(self, config: CommandConfig, folder: Path) -> dict[str, Any]:
        """Return the fields that are set, as JSON, for shards whose folder lies in `folder`."""
        fields = type(config).model_fields
        left_out = {*SHARD_OPTIONS, *self.without}
        return {
            name: _as_json(value, folder, may_be_path=name in self.path_texts)
            for name in fields
            if name not in left_out
            and (value := getattr(config, name)) != fields[name].get_default(call_default_factory=True)
        }

    def config_of(self, facts: Mapping[str, Any], folder: Path, changes: Mapping[str, Any]) -> Any:
        """Return the config that `facts` made these of. Raises ConfigError where they are of no such config."""
        values = {name: _from_json(value, folder) for name, value in facts.items()}
        return validated(self.function.config_type, values | dict(changes))

    def line(self, config: CommandConfig) -> str:
        """Return the command line without the options for shards."""
        whole = config.model_copy(update=dict.fromkeys(SHARD_OPTIONS))
        return command_text(self.command, whole, self.function.arguments)

    @abstractmethod
    def open(self, config: Any, caller: Caller, *, line: str | None = None) -> ShardWork[Caller]:
        """Check the config, and list its images."""


def _as_json(value: Any, folder: Path, *, may_be_path: bool) -> Any:
    if isinstance(value, tuple | list):
        return [_as_json(part, folder, may_be_path=may_be_path) for part in value]
    if is_remote(value) or (may_be_path and is_url(value)):
        return {PATH: str(value), TYPED: str(value)}
    if isinstance(value, Path) or (may_be_path and isinstance(value, str) and Path(value).exists()):
        return {PATH: from_folder(Path(value), folder), TYPED: str(value)}
    return value


def _from_json(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_from_json(part, folder) for part in value]
    if not isinstance(value, dict):
        return value
    if is_url(value.get(PATH)):
        return str(value[PATH])
    path, typed = Path(os.path.normpath(folder / str(value.get(PATH)))), Path(str(value.get(TYPED)))
    return str(typed if real_path(typed) == real_path(path) else path)
