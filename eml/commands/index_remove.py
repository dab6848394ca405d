"""`eml index remove`: images out of an index."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from eml.commands.base import Caller, CommandConfig, CommandResult, Names, command, option
from eml.commands.indexing import ChangedIndex

Ids = Annotated[tuple[int, ...], BeforeValidator(lambda ids: (ids,) if isinstance(ids, int) else ids or ())]


class RemoveFromIndexConfig(CommandConfig):
    """Remove images from an index by class, file name or id, in one transaction.

    They are found no more from then on; eml index compact erases what is left of them in the files. Where one of the
    names or ids is not in the index, nothing is removed.
    """

    index: ChangedIndex
    labels: Names = option((), "Remove the images of this class. Repeatable.", name="label")
    file_names: Names = option(
        (), "Remove the image of this name, as eml search shows it. Repeatable.", name="file-name"
    )
    ids: Ids = option((), "Remove the image of this id. Repeatable.", name="id")

    @model_validator(mode="after")
    def _something_to_remove(self) -> Self:
        if not (self.labels or self.file_names or self.ids):
            raise ValueError("give `labels`, `file_names` or `ids` of the images to remove")
        return self


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class RemoveResult(CommandResult):
    """The number of images that were removed, and what is left."""

    index: Path
    removed: int
    images: int
    classes: int

    def summary(self) -> str:
        """Return the counts."""
        return f"{self.removed:,} images removed, {self.images:,} of {self.classes:,} classes left in {self.index}"

    def to_dict(self) -> dict[str, Any]:
        """Return the counts."""
        names = ("removed", "images", "classes")
        return {"index": str(self.index)} | {name: getattr(self, name) for name in names}


@command(RemoveFromIndexConfig, arguments=("index",), name="index remove")
def remove_from_index(config: RemoveFromIndexConfig, caller: Caller) -> RemoveResult:
    """Remove the images."""
    from eml.indexing.calibrating import is_due
    from eml.indexing.class_counts import classes_of
    from eml.indexing.store import IndexStore

    with IndexStore.open(config.index) as store:
        removed = store.remove(labels=config.labels, file_names=config.file_names, ids=config.ids)
        if is_due(store):
            line = shlex.join(["eml", "index", "calibrate", str(config.index)])
            caller.note(f"the index has changed much since it was calibrated: {line}")
        return RemoveResult(
            index=config.index,
            removed=removed,
            images=len(store),
            classes=len(classes_of(store)),
            next_command=shlex.join(["eml", "index", "compact", str(config.index)]),
        )
