"""`eml index build`: an index of images, which answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, PathText, command
from eml.commands.indexing import (
    AddedImagesResult,
    DuplicatesChoice,
    ImagesRoot,
    Label,
    NewIndex,
    added_result,
    embedded_for,
    listed_images,
)
from eml.commands.options import (
    BatchSize,
    ClassLevelField,
    Device,
    FileColumn,
    Fold,
    Images,
    ImageSize,
    LabelColumn,
    MatchNames,
    PathPrefix,
    PathSuffix,
    Plugins,
    Precision,
    StripPrefix,
    UploadTo,
    Views,
    Weights,
    Workers,
    run_of_fold,
)


class BuildIndexConfig(CommandConfig):
    """Make an index of images, which eml search and eml classify ask.

    The folder of each image is its class, or the table says it; images without a class are found, but are no answer.
    The index is a folder. It holds the embeddings, the labels, all columns of the table, and the calibration of the
    checkpoint, and remembers where the checkpoint is; `with_model` puts it inside, so that the folder is all that is
    needed. Images that cannot be read are listed and left out. A run that was stopped continues.
    """

    index: NewIndex
    checkpoint: Annotated[
        PathText,
        Field(
            description="A run folder (its best checkpoint), a checkpoint folder, timm:NAME, "
            "open_clip:ARCH/PRETRAINED, or a file of eml export."
        ),
    ]
    images: Images
    label: Label = None
    with_model: bool = Field(False, description="Put the checkpoint inside the index.")
    duplicates: DuplicatesChoice = "skip"
    storage: Literal["float32", "float16"] = Field(
        "float32", description="Of the embeddings. float16 takes half the room."
    )
    root: ImagesRoot = None
    class_level: ClassLevelField = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    weights: Weights = "pretrained"
    image_size: ImageSize = None
    precision: Precision = "float32"
    tta: Views = None
    fold: Fold = None
    batch_size: BatchSize = 64
    workers: Workers = 0
    device: Device = "auto"
    overwrite: bool = Field(False, description="Replace an index.")
    upload_to: UploadTo = None
    plugins: Plugins = ()


class BuildIndexResult(AddedImagesResult):
    """The index that was made."""


@command(BuildIndexConfig, arguments=("index", "checkpoint", "images"), name="index build")
def build_index(config: BuildIndexConfig, caller: Caller) -> BuildIndexResult:
    """Embed the images and make the index."""
    from eml.indexing.adding import forget
    from eml.indexing.creating import check_new_index, create_index, kept_beside
    from eml.inference.any_model import load

    replaces = check_new_index(config.index, overwrite=config.overwrite)
    images = listed_images(config, config.images, caller)
    ways: dict[str, Any] = {"precision": config.precision, "tta": config.tta, "device": config.device}
    model = load(
        run_of_fold(config.checkpoint, config.fold), weights=config.weights, image_size=config.image_size, **ways
    )
    for note in model.notes:
        caller.note(note)
    kept = kept_beside(config.index)
    new = embedded_for(model, images, config, kept, caller)
    added = create_index(
        config.index,
        model,
        new,
        with_model=config.with_model,
        storage=config.storage,
        duplicates=config.duplicates,
        weights=config.weights,
        image_size=config.image_size,
        overwrite=config.overwrite,
        report=caller.note,
    )
    forget(kept)
    written = (config.index,)
    return added_result(
        BuildIndexResult, config.index, new, added, written=written, replaced=written if replaces else ()
    )
