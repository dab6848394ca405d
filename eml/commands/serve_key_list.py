"""`eml serve-key list`: the keys of a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, PathField, SummaryTable, command

if TYPE_CHECKING:
    from eml.serving.keys import StoredKey


class ListServeKeysConfig(CommandConfig):
    """List the keys of a file: name, scopes, rate, and when each was made. The keys themselves are not in it."""

    file: PathField = Field(description="The file of keys.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ServeKeysResult(CommandResult):
    """The keys of a file, without what would let anybody in."""

    keys: tuple[StoredKey, ...]

    def summary(self) -> str:
        """Return the names."""
        return ", ".join(key.name for key in self.keys) or "no keys"

    def summary_table(self) -> SummaryTable:
        """Return a line for each key."""
        rows: list[list[Cell]] = [
            [key.name, ", ".join(key.scopes), "" if key.rate is None else f"{key.rate:g}", key.created]
            for key in self.keys
        ]
        return ["name", "scopes", "requests a minute", "made"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the keys without their digests."""
        return {"keys": [{name: fact for name, fact in asdict(key).items() if name != "digest"} for key in self.keys]}


@command(ListServeKeysConfig, arguments=("file",), name="serve-key list")
def list_serve_keys(config: ListServeKeysConfig, caller: Caller) -> ServeKeysResult:
    """Read the file."""
    from eml.serving.keys import read_keys

    return ServeKeysResult(keys=tuple(read_keys(config.file)))
