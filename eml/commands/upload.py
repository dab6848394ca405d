"""`eml upload`: files and folders to a remote place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, Paths, command
from eml.commands.options import remote_place

if TYPE_CHECKING:
    from eml.storage.upload import Upload


class UploadConfig(CommandConfig):
    """Copy a run, an index, an export or any other files to an object store or a folder, whole.

    The file eml-upload.json, which names all others, is written last, so that no reader takes a part for the whole. A
    copy that was begun is continued: files that are there with the same bytes are not sent again.
    """

    sources: Annotated[Paths, Field(description="A folder, of which the content is copied; or files and folders.")]
    to: Annotated[
        PathField,
        BeforeValidator(remote_place),
        Field(description="The folder of the copy, such as s3://bucket/runs/1 or file:///srv/www/runs/1."),
    ]
    overwrite: bool = Field(False, description="Copy into a folder with other files, and replace those of one name.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class UploadResult(CommandResult):
    """A copy that is complete."""

    copy: Upload

    def summary(self) -> str:
        """Return the counts and the place."""
        copy = self.copy
        return f"{copy.files:,} files, {copy.bytes / 1e6:,.1f} MB, are at {copy.target}; {copy.sent:,} were sent now"

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and the place."""
        return {"to": str(self.copy.target), "files": self.copy.files, "bytes": self.copy.bytes, "sent": self.copy.sent}


@command(UploadConfig, arguments=("sources",))
def upload(config: UploadConfig, caller: Caller) -> UploadResult:
    """Copy files and folders to a remote place."""
    from eml.commands.with_upload import upload_with_bar

    return UploadResult(copy=upload_with_bar(config.sources, config.to, caller.progress, overwrite=config.overwrite))
