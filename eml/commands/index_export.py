"""`eml index export`: the embeddings and columns of an index as a file that other programs read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, command
from eml.commands.indexing import IndexFolder, Where
from eml.commands.options import Overwrite


class ExportIndexConfig(CommandConfig):
    """Write the embeddings and all columns of an index to a file, as eml embed does.

    .parquet has a column of fixed-size lists, which DuckDB, LanceDB, Qdrant and pgvector read; .npz holds arrays; .npy
    has the embeddings and a .csv beside it the columns. .csv alone has the columns without the embeddings.
    """

    index: IndexFolder
    out: Annotated[PathField, Field(description="The file: .parquet, .npz, .npy or .csv.")]
    where: Where = None
    overwrite: Overwrite = False


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ExportIndexResult(CommandResult):
    """The number of images that were written, and the embedding size; None without embeddings."""

    index: Path
    images: int
    size: int | None

    def summary(self) -> str:
        """Return the counts."""
        numbers = f", each {self.size:,} numbers" if self.size else ""
        return f"{self.images:,} images of {self.index}{numbers}"

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and files."""
        files = [str(path) for path in self.written]
        return {"index": str(self.index), "images": self.images, "size": self.size, "written": files}


@command(ExportIndexConfig, arguments=("index", "out"), name="index export")
def export_index(config: ExportIndexConfig, caller: Caller) -> ExportIndexResult:
    """Write the file."""
    from eml.indexing.exporting import check_export, export_rows
    from eml.indexing.searching import condition_of
    from eml.indexing.store import IndexStore

    check_export(config.out, overwrite=config.overwrite)
    with IndexStore.open(config.index) as store:
        condition = condition_of(store, config.where)
        written, replaced, images = export_rows(
            store,
            config.out,
            condition,
            command=caller.command or "eml index export",
            overwrite=config.overwrite,
        )
        size = None if config.out.suffix == ".csv" else store.size
    return ExportIndexResult(
        index=config.index, images=images, size=size, written=tuple(written), replaced=tuple(replaced)
    )
