"""Options that several data commands share, so that they mean the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[
    Path,
    typer.Argument(
        metavar="DATASET", show_default=False, help="The folder of images, one folder per class, or a table of them."
    ),
]
Root = Annotated[
    Path | None, typer.Option(help="With a table: the folder that its file names are relative to.", show_default=False)
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder for the files that are written.  [default: where DATASET is]", show_default=False),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that eml did not write, or that were changed since.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout.")]

GroupBy = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        show_default=False,
        help="Images with one value in this column stay together too, as of one camera, track, product page or "
        "designer; a blank is no value. Repeatable.",
    ),
]
NoNear = Annotated[
    bool, typer.Option("--no-near", help="Images that look alike, or are the same file, need not stay together.")
]
NearThreshold = Annotated[
    int | None,
    typer.Option(
        "--threshold",
        min=0,
        max=63,
        show_default=False,
        help="Bits of 64 by which the hashes of images that look alike may differ.  [default: 6; less where that "
        "joins too much by chance]",
    ),
]


def out_folder(dataset: Path, out: Path | None) -> Path:
    """Where a command writes: the folder that was asked for, else the data set's or the table's."""
    from eml.files import refuse_file_name

    if out is not None:
        refuse_file_name(out, "a folder for the tables, which have names of their own")
    return out or (dataset if dataset.is_dir() else dataset.parent)


BatchSize = Annotated[int, typer.Option(min=1, help="Images embedded at once.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that decode images.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
LeaveOutSame = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Such as the camera: gallery images of the query's class and value do not count.",
        show_default=False,
    ),
]
Within = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Such as the category: compare a query with the gallery images of its own value alone.",
        show_default=False,
    ),
]
