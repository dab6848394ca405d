"""Fields and steps that the commands of an index share."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, PathField, PathText, SummaryTable, as_path
from eml.commands.options import class_level_of, column_map, note_workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eml.indexing.adding import NewImages
    from eml.indexing.changes import AddedImages
    from eml.inference.any_model import AnyModel
    from eml.inference.embed import Batching
    from eml.inference.image_list import ImageList

IndexFolder = Annotated[
    PathField, Field(description="The index's folder, or the address of one that eml upload copied.")
]


def _not_at_address(folder: Path) -> Path:
    """Return the folder. Raises ValueError, which continues the parameter's name, for an address."""
    from eml.storage.remote_path import is_remote

    if is_remote(folder):
        from eml.storage.copies import advice_to_change

        raise ValueError(f"is at an address, where no index is changed: {advice_to_change(str(folder))}")
    return folder


def _not_made_at_address(folder: Path) -> Path:
    """Return the folder. Raises ValueError, which continues the parameter's name, for an address."""
    from eml.storage.remote_path import is_remote

    if is_remote(folder):
        text = "must be a local folder, in which the index is made; `upload_to` copies it to"
        raise ValueError(f"{text} {folder} when it is complete")
    return folder


ChangedIndex = Annotated[PathField, AfterValidator(_not_at_address), Field(description="The index's folder.")]
NewIndex = Annotated[PathField, AfterValidator(_not_made_at_address), Field(description="The index's folder.")]
ImagesRoot = Annotated[PathField | None, Field(description="The folder that file names are relative to.")]
IndexModel = Annotated[
    PathText | None,
    Field(description="Checkpoint to load the index's model from, where it is no longer where it was."),
]
QueryModel = Annotated[
    PathText | None,
    Field(
        description="Checkpoint that embeds the queries: the index's model, where it is no longer where it was, or one "
        "that was trained to be compatible with it and declares so (docs/upgrade.md)."
    ),
]
Label = Annotated[
    str | None, Field(description="The label of all these images. Default: that of the folder or the table.")
]
DuplicatesChoice = Annotated[
    Literal["skip", "keep"], Field(description="Images whose content and label are in the index already.")
]
EngineChoice = Annotated[
    Literal["exact", "usearch", "faiss"],
    Field(description="exact, or an approximate one for more than 200,000 images."),
]
Where = Annotated[
    str | None, Field(description="Search only images that fit, such as \"category == 'shoes'\" (docs/where.md).")
]


def index_or_model(value: object, info: ValidationInfo) -> object:
    """Return the path as `as_path` does; the name of a model that is no path, such as open_clip:NAME, stays."""
    return Path(str(value)) if is_model_name(value) else as_path(value, info)


def is_model_name(value: object) -> bool:
    """Return whether a name is that of a model that is no path, such as open_clip:NAME."""
    from eml.storage.remote_path import is_url

    head, colon, _ = str(value).partition(":")
    if is_url(value):
        return False
    return bool(colon) and len(head) > 1 and not set(head) & set("/\\") and not Path(str(value)).exists()


def listed_images(config: CommandConfig, names: Sequence[Path], caller: Caller) -> ImageList:
    """Return the images that a config names, by the fields that these commands share."""
    from eml.inference.image_list import list_images

    level = getattr(config, "class_level", None)
    return list_images(
        names,
        root=getattr(config, "root", None),
        columns=column_map(config),
        class_level=class_level_of(level),
        label=getattr(config, "label", None),
        report=caller.note,
    )


def batching_of(config: CommandConfig, caller: Caller) -> Batching:
    """Return the batches that a config asks for."""
    from eml.inference.embed import Batching

    values: Any = config
    note_workers(values.workers, caller)
    return Batching(values.batch_size, values.workers)


def tell_of_model(source: object, caller: Caller) -> None:
    """Tell what to know of the model of an index's queries, where it is another one than the index's."""
    from eml.indexing.index import Index

    if not isinstance(source, Index):  # names of classes, which have no gallery
        return
    for line in source.notes:
        caller.note(line)
    if source.probability_warning:
        caller.warn(source.probability_warning)


def embedded_for(model: AnyModel, images: ImageList, config: CommandConfig, kept: Path, caller: Caller) -> NewImages:
    """Return the images of a list with their embeddings; what a call that was stopped has embedded is read again."""
    from eml.errors import Interrupted
    from eml.indexing.adding import embed_new

    try:
        new = embed_new(
            model,
            images,
            batching=batching_of(config, caller),
            kept=kept,
            progress=caller.progress,
            report=caller.note,
        )
    except KeyboardInterrupt as error:
        text = "interrupted. What is embedded is kept: the same command goes on from there"
        raise Interrupted(text) from error
    if new.reused:
        caller.note(f"{new.reused:,} images had been embedded before")
    if new.unknown:
        caller.note(f"{new.unknown:,} images of unknown identity have no label in the index")
    return new


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class AddedImagesResult(CommandResult):
    """Images that came into an index.

    Attributes:
        index: The index's folder.
        added: Images that were added.
        skipped: Images that were in the index already.
        classes: Classes in the index now.
        images: Images in the index now.
        without_label: Images of these without a label.
        unreadable: file_name and reason of the images that could not be read.
        rate: Images computed per second; None where none was.
        calibrated: Whether the index gives probabilities.
        with_model: Whether the model is inside.
    """

    index: Path
    added: int
    skipped: int
    classes: int
    images: int
    without_label: int
    unreadable: tuple[tuple[str, str], ...]
    rate: float | None
    calibrated: bool
    with_model: bool

    def summary(self) -> str:
        """Return what the index holds."""
        return f"{self.added:,} images added, {self.images:,} of {self.classes:,} classes in {self.index}"

    def summary_table(self) -> SummaryTable:
        """Return the counts."""
        rows: list[list[Cell]] = [["added", self.added]]
        rows += [["in the index already, skipped", self.skipped]] if self.skipped else []
        rows += [["cannot be read", len(self.unreadable)]] if self.unreadable else []
        rows += [["without a label", self.without_label]] if self.without_label else []
        rows += [["images in the index", self.images], ["classes in the index", self.classes]]
        return ["", "images"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the counts."""
        names = ("added", "skipped", "images", "classes", "without_label", "rate", "calibrated", "with_model")
        unreadable = [{"file_name": name, "reason": reason} for name, reason in self.unreadable]
        return {"index": str(self.index)} | {name: getattr(self, name) for name in names} | {"unreadable": unreadable}


Added = TypeVar("Added", bound=AddedImagesResult)


def added_result(kind: type[Added], index: Path, new: NewImages, added: AddedImages, **files: Any) -> Added:
    """Return what an index holds after images came into it."""
    from eml.files import from_here
    from eml.indexing.class_counts import classes_of
    from eml.indexing.model_record import INSIDE
    from eml.indexing.queries import problem_text
    from eml.indexing.store import IndexStore

    errors = new.errors.to_dict("records")
    with IndexStore.open(index) as store:
        result = kind(
            index=index,
            added=len(added.ids),
            skipped=len(new.rows) - len(added.ids),
            classes=len(classes_of(store)),
            images=len(store),
            without_label=int((new.rows["label"] == "").sum()),
            unreadable=tuple((str(error["file_name"]), problem_text(error)) for error in errors),
            rate=new.rate,
            calibrated=store.calibration is not None,
            with_model=(index / INSIDE).is_dir(),
            next_command=shlex.join(["eml", "search", str(index), str(from_here(new.example))])
            if new.example
            else None,
            **files,
        )
    return result
