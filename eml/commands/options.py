"""Fields that several commands share, so that they mean the same everywhere."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from eml.commands.base import Caller, Names, PathField

Dataset = Annotated[PathField, Field(description="The folder of images, one folder per class, or a table of them.")]
Root = Annotated[PathField | None, Field(description="With a table: the folder that its file names are relative to.")]
Out = Annotated[
    PathField | None, Field(description="Folder for the files that are written. Default: where `dataset` is.")
]
Overwrite = Annotated[bool, Field(description="Replace files that eml did not write, or that were changed since.")]
GroupBy = Annotated[
    Names,
    Field(
        description="Images with one value in this column stay together, such as those of one camera, track, product "
        "page or designer; a blank is no value. Repeatable.",
    ),
]
Near = Annotated[
    bool,
    Field(description="Keep images together that look alike or are the same file."),
]
NearThreshold = Annotated[
    int | None,
    Field(
        ge=0,
        le=63,
        description="Images look alike when their 64-bit hashes differ by at most so many bits. Default: 6, or less "
        "where that joins too much by chance.",
    ),
]
UnknownLabel = Annotated[
    str | None,
    Field(
        min_length=1,
        description="The label of images of unknown identity, such as new_whale: no class, never trained on, never a "
        "right answer; in an evaluation they are distractors. Default: as the table says, which keeps it.",
    ),
]
BatchSize = Annotated[int, Field(ge=1, description="Images embedded at once.")]
Workers = Annotated[
    int, Field(ge=0, description="Processes that decode images, at most 4 for each core; 0: the command's own.")
]
Device = Annotated[str, Field(description="auto, cpu, cuda, cuda:N or mps.")]
LeaveOutSame = Annotated[
    str | None,
    Field(
        description="A column, such as the camera: gallery images with the query's class and value do not count.",
    ),
]
Within = Annotated[
    str | None,
    Field(
        description="A column, such as the category: a query is compared only with gallery images of its own value.",
    ),
]


def note_workers(workers: int | None, caller: Caller) -> None:
    """Tell that fewer worker processes are started than the caller asks for, where it is so."""
    from eml.threads import PER_CORE, most_workers

    if workers is not None and workers > most_workers():
        caller.note(f"`workers` {workers:,} are more than {PER_CORE} for each core; {most_workers()} are started")


def out_folder(dataset: Path, out: Path | None) -> Path:
    """Return where a command writes: `out`, else the folder of the dataset or of the table."""
    from eml.files import refuse_file_name

    if out is not None:
        refuse_file_name(out, "a folder for the tables, which have names of their own")
    return out or (dataset if dataset.is_dir() else dataset.parent)
