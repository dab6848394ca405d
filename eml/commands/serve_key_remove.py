"""`eml serve-key remove`: a key that is accepted no more."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, command


class RemoveServeKeyConfig(CommandConfig):
    """Take a key out of a file of keys. A running server refuses it from its next request on."""

    file: PathField = Field(description="The file of keys.")
    name: str = Field(description="The name of the key, as eml serve-key list shows it.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class RemoveServeKeyResult(CommandResult):
    """The name of the key that was removed, and the number that are left."""

    name: str
    left: int

    def summary(self) -> str:
        """Return the name and what is left."""
        return f"{self.name} removed, {self.left:,} left"

    def to_dict(self) -> dict[str, Any]:
        """Return the name and what is left."""
        return {"name": self.name, "left": self.left}


@command(RemoveServeKeyConfig, arguments=("file", "name"), name="serve-key remove")
def remove_serve_key(config: RemoveServeKeyConfig, caller: Caller) -> RemoveServeKeyResult:
    """Remove the key."""
    from eml.serving.keys import read_keys, remove_key

    remove_key(config.file, config.name)
    return RemoveServeKeyResult(
        name=config.name,
        left=len(read_keys(config.file)),
        written=(config.file,),
        next_command=shlex.join(["eml", "serve-key", "list", str(config.file)]),
    )
