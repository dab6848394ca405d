"""`eml index verify`: every byte of an index against its checksums."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, command
from eml.commands.indexing import IndexFolder

if TYPE_CHECKING:
    from eml.indexing.checks import IndexProblem


class VerifyIndexConfig(CommandConfig):
    """Read all of an index and compare it with its checksums.

    Every other command checks what it reads; this one reads everything. The exit code is 1 where anything is damaged
    and was not repaired.
    """

    index: IndexFolder
    repair: bool = Field(False, description="Make damaged files under derived/ again from index.sqlite.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class VerifyResult(CommandResult):
    """The damage; none in a sound index."""

    index: Path
    problems: tuple[IndexProblem, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged now."""
        return all(problem.is_repaired for problem in self.problems)

    def summary(self) -> str:
        """Return whether the index is sound."""
        repaired = sum(problem.is_repaired for problem in self.problems)
        parts = [f"{len(self.problems) - repaired:,} problems" if not self.sound else "sound"]
        return ", ".join([*parts, *([f"{repaired:,} repaired"] if repaired else [])])

    def to_dict(self) -> dict[str, Any]:
        """Return the problems."""
        names = ("code", "place", "text", "is_repairable", "is_repaired")
        problems = [{name: asdict(problem)[name] for name in names} for problem in self.problems]
        return {"index": str(self.index), "sound": self.sound, "problems": problems}


@command(VerifyIndexConfig, arguments=("index",), name="index verify")
def verify_index(config: VerifyIndexConfig, caller: Caller) -> VerifyResult:
    """Verify the index."""
    import shlex

    from eml.errors import ConfigError
    from eml.indexing.checks import verify_index as verify
    from eml.indexing.database import NAME, local_index, no_index
    from eml.storage.copies import advice_to_change, copied_from

    folder = local_index(config.index)
    if config.repair and (address := copied_from(folder)):
        text = f"`repair` {address}: {advice_to_change(address)}"
        raise ConfigError(text, code="remote-place", parameter="repair")
    if not (folder / NAME).is_file():
        raise no_index(folder)
    problems = verify(folder, repair=config.repair, report=caller.note)
    mendable = any(problem.is_repairable and not problem.is_repaired for problem in problems)
    line = shlex.join(["eml", "index", "verify", str(config.index), "--repair"])
    return VerifyResult(index=config.index, problems=tuple(problems), next_command=line if mendable else None)
