"""`eml serve-key add`: a key for a client of `eml serve`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, command


class AddServeKeyConfig(CommandConfig):
    """Draw a key for a client of eml serve, add its digest to a file of keys, and show it, once.

    The file holds digests alone: a key that is lost cannot be shown again. A running server reads the file when it
    changes. Clients send the key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.
    """

    file: PathField = Field(
        description="The file of keys, which is made where it is missing; its owner alone reads it."
    )
    name: str = Field(description="What the key is called in the file and in logs: letters, digits, dots, hyphens.")
    scope: Literal["read", "write"] = Field(
        "read", description="What it may do: read asks, write also adds to the index and removes."
    )
    rate: float | None = Field(None, gt=0, description="Requests a minute that are answered; none: any number.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class AddServeKeyResult(CommandResult):
    """A key that was made.

    Attributes:
        name: Its name.
        key: The key itself, which is written nowhere.
        scope: What it may do.
        rate: Requests a minute; None without a limit.
    """

    name: str
    key: str
    scope: str
    rate: float | None = None

    def summary(self) -> str:
        """Return the name and the scopes, without the key."""
        return f"{self.name}: {self.scope}"

    def to_dict(self) -> dict[str, Any]:
        """Return the key and what it may do."""
        return {"name": self.name, "key": self.key, "scope": self.scope, "rate": self.rate}


@command(AddServeKeyConfig, arguments=("file", "name"), name="serve-key add")
def add_serve_key(config: AddServeKeyConfig, caller: Caller) -> AddServeKeyResult:
    """Draw a key and keep its digest."""
    from eml.serving.keys import add_key

    key = add_key(config.file, config.name, [config.scope], config.rate)
    return AddServeKeyResult(
        name=config.name,
        key=key,
        scope=config.scope,
        rate=config.rate,
        written=(config.file,),
        next_command=shlex.join(["eml", "serve", "INDEX", "--keys", str(config.file)]),
    )
