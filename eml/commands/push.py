"""`eml push`: a hub folder to a repository of the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, SummaryTable, command

if TYPE_CHECKING:
    from eml.exporting.hub.push import Pushed


class PushConfig(CommandConfig):
    """Upload a folder of `eml export --format hub` to the Hugging Face Hub, private unless you say otherwise.

    Only a folder whose proof passed, and only the files that eml wrote, unchanged; the model card README.md may be
    edited before. The token is that of `hf auth login` or HF_TOKEN. No other command uploads anything.
    """

    folder: Annotated[PathField, Field(description="The hub folder.")]
    repository: str = Field(description="OWNER/NAME on the hub; it is made if it is not there.")
    public: bool = Field(False, description="Make a new repository visible to all.")
    message: str | None = Field(None, description="Message of the commit.")
    dry_run: bool = Field(False, description="Check the folder and list what would be uploaded, without a network.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class PushResult(CommandResult):
    """Files that were uploaded."""

    pushed: Pushed
    public: bool = False

    def summary(self) -> str:
        """Return what was uploaded and where it is."""
        pushed = self.pushed
        seen = "private" if pushed.private else "public"
        amount = f"{len(pushed.files)} files, {pushed.bytes / 1e6:.1f} MB"
        if not pushed.url:
            return f"{pushed.folder}: its proof passed; {amount} would go to {pushed.repository} ({seen})"
        return f'{amount} are on {pushed.url} ({seen}); eml.load("hf-hub:{pushed.repository}") loads them'

    def summary_table(self) -> SummaryTable:
        """Return a row for each file."""
        sizes = [(self.pushed.folder / file).stat().st_size for file in self.pushed.files]
        return ["file", "bytes"], [[file, size] for file, size in zip(self.pushed.files, sizes, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return the repository and the files."""
        pushed = self.pushed
        return {
            "folder": str(pushed.folder),
            "repository": pushed.repository,
            "url": pushed.url or None,
            "private": pushed.private,
            "files": pushed.files,
            "bytes": pushed.bytes,
            "removed": pushed.removed,
        }


@command(PushConfig, arguments=("folder", "repository"))
def push(config: PushConfig, caller: Caller) -> PushResult:
    """Upload a hub folder."""
    from eml.exporting.hub.push import push_folder

    pushed = push_folder(
        config.folder,
        config.repository,
        public=config.public,
        message=config.message,
        dry_run=config.dry_run,
        progress=caller.progress,
    )
    return PushResult(pushed=pushed, public=config.public)
