"""`eml index add`: more images for an index, without training."""

from __future__ import annotations

from eml.commands.base import Caller, CommandConfig, command
from eml.commands.indexing import (
    AddedImagesResult,
    ChangedIndex,
    DuplicatesChoice,
    ImagesRoot,
    IndexModel,
    Label,
    added_result,
    embedded_for,
    listed_images,
)
from eml.commands.options import (
    BatchSize,
    ClassLevelField,
    Device,
    FileColumn,
    Images,
    LabelColumn,
    MatchNames,
    PathPrefix,
    PathSuffix,
    Plugins,
    StripPrefix,
    Workers,
)


class AddToIndexConfig(CommandConfig):
    """Add images to an index, in one transaction: new classes too, without training.

    The folder of each image is its class, or the table says it, or `label` for all of them. A search that runs at the
    same time sees the index before or after. Images that cannot be read are listed and left out.
    """

    index: ChangedIndex
    images: Images
    label: Label = None
    duplicates: DuplicatesChoice = "skip"
    model: IndexModel = None
    root: ImagesRoot = None
    class_level: ClassLevelField = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    batch_size: BatchSize = 64
    workers: Workers = 0
    device: Device = "auto"
    plugins: Plugins = ()


class AddToIndexResult(AddedImagesResult):
    """The images that came into the index."""


@command(AddToIndexConfig, arguments=("index", "images"), name="index add")
def add_to_index(config: AddToIndexConfig, caller: Caller) -> AddToIndexResult:
    """Embed the images and add them."""
    from eml.indexing.adding import forget, kept_labels_line
    from eml.indexing.calibrating import calibrate_if_due
    from eml.indexing.creating import kept_beside
    from eml.indexing.index import Index

    with Index.open(config.index, model=config.model, device=config.device) as index:
        images = listed_images(config, config.images, caller)
        kept = kept_beside(config.index)
        new = embedded_for(index.own_model, images, config, kept, caller)
        added = index.store.add(new.embeddings, new.rows, duplicates=config.duplicates, fingerprint=index.fingerprint)
        if (line := kept_labels_line(config.index, new, added)) is not None:
            caller.warn(line)
        if calibrate_if_due(index.store, index.model, caller.note):
            caller.note("calibrated again, since the index has changed much")
    forget(kept)
    return added_result(AddToIndexResult, config.index, new, added)
