"""`eml embed`: images to embeddings in a file, with what is known of each image."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import (
    Caller,
    Cell,
    CommandResult,
    PathField,
    PathText,
    SummaryTable,
    command,
    command_text,
)
from eml.commands.options import (
    Address,
    BatchSize,
    ClassLevelField,
    Device,
    Executor,
    ExecutorOptions,
    FileColumn,
    Fold,
    Images,
    ImageSize,
    LabelColumn,
    MatchNames,
    Overwrite,
    PathPrefix,
    PathSuffix,
    Plugins,
    Precision,
    ShardNumber,
    Shards,
    StripPrefix,
    UploadTo,
    Views,
    Weights,
    class_level_of,
    column_map,
    note_workers,
    run_of_fold,
)
from eml.commands.sharded import ShardedConfig, sharded

if TYPE_CHECKING:
    import pandas as pd

    from eml.distributed.processes import Processes
    from eml.inference.any_model import AnyModel
    from eml.inference.embed_images import EmbeddedImages
    from eml.inference.embedding_store import EmbeddingStore
    from eml.inference.embeddings_output import EmbeddingsOutput
    from eml.inference.image_list import ImageList
    from eml.models.fingerprint import Fingerprint
    from eml.progress import Report


_OWN = {
    "overwrite",
    "workers",
    "batch_size",
    "upload_to",
    "shards",
    "shard",
}  # which mean something else to an index, or are as well left alone
MOST_WORKERS = 16  # that are started unasked


class EmbedConfig(ShardedConfig):
    """Compute the embeddings of images and write them to a file, with what is known of each image.

    Images that cannot be read are listed beside it, in X_errors.csv, and do not end the work. What is computed is kept:
    after a stop the same command goes on from there, and images that are in the file already, unchanged and of the
    same model, are not computed again.
    """

    checkpoint: Annotated[
        PathText,
        Field(
            description="A run folder (its best checkpoint), a checkpoint folder, timm:NAME or "
            "open_clip:ARCH/PRETRAINED for a pretrained network without training, or a file of eml export."
        ),
    ]
    images: Images
    out: Annotated[
        PathField,
        Field(
            description="The file to write: .parquet (for pandas, DuckDB and vector databases), .npz, or .npy with a "
            "CSV of the same name beside it."
        ),
    ]
    root: Annotated[
        PathField | None,
        Field(
            description="The folder that file names are relative to. Default: a single folder itself; of a table, as "
            "it says; else the current folder, or the one that holds all images."
        ),
    ] = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    class_level: Annotated[
        ClassLevelField,
        Field(
            description="Which folder of an image's path is its label: 1, the first, 2, …, or last, the one that it "
            "lies in. Default: of images in folders, the first; files and patterns give no label."
        ),
    ] = None
    weights: Weights = "pretrained"
    image_size: ImageSize = None
    precision: Precision = "float32"
    tta: Views = None
    fold: Fold = None
    batch_size: BatchSize = 64
    workers: Annotated[
        int | None,
        Field(
            ge=0,
            description="Processes that decode images, at most 4 for each core; 0: the command's own. Default: 0 on a "
            "CPU, which computes meanwhile; beside a GPU one for each core, at most 16.",
        ),
    ] = None
    device: Device = "auto"
    overwrite: Overwrite = False
    upload_to: UploadTo = None
    shards: Shards = None
    shard: ShardNumber = None
    executor: Executor = None
    executor_options: ExecutorOptions = ()
    address: Address = None
    plugins: Plugins = ()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class EmbedResult(CommandResult):
    """Embeddings in a file.

    Attributes:
        out: The file.
        images: Rows of the file: images, or boxes of them.
        computed: Images that the network computed.
        reused: Rows whose embedding was there before.
        errors: `file_name, reason, detail` of each image that could not be read.
        size: The embedding size.
        rate: Images computed per second; None where none was.
        fingerprint: The fingerprint of the model.
    """

    out: Path
    images: int
    computed: int
    reused: int
    errors: pd.DataFrame
    size: int
    rate: float | None
    fingerprint: Fingerprint

    def summary(self) -> str:
        """Return the counts in a line."""
        return f"{self.out}: {self.images:,} × {self.size:,}, {len(self.errors):,} unreadable"

    def summary_table(self) -> SummaryTable:
        """Return one row of counts."""
        rate = None if self.rate is None else f"{self.rate:,.0f}" if self.rate >= 10 else f"{self.rate:.1f}"
        columns = ["images", "computed now", "before", "unreadable", "numbers each"]
        row: list[Cell] = [self.images, self.computed, self.reused, len(self.errors), self.size]
        return ([*columns, "images/s"], [[*row, rate]]) if rate else (columns, [row])

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, the reasons of the errors, and the model's fingerprint."""
        return {
            "out": str(self.out),
            "images": self.images,
            "computed": self.computed,
            "reused": self.reused,
            "unreadable": len(self.errors),
            "reasons": {str(reason): int(count) for reason, count in self.errors["reason"].value_counts().items()},
            "size": self.size,
            "images_per_second": self.rate,
            "fingerprint": self.fingerprint.model_dump(mode="json"),
        }


@command(EmbedConfig, arguments=("checkpoint", "images"))
@sharded("embed")
def embed(config: EmbedConfig, caller: Caller) -> EmbedResult:
    """Embed the images and write the file."""
    from eml.distributed.processes import Processes
    from eml.inference.embeddings_output import EmbeddingsOutput

    output = EmbeddingsOutput(config.out)
    with caller.checks():
        output.check(overwrite=config.overwrite)  # before the processes meet
        here = Processes.of_environment()
        if here.world > 1:
            here.device(config.device)
    if here.first:
        note_workers(config.workers, caller)
    with caller.join(config.device, here) as processes:
        images = processes.from_first(partial(list_named_images, config, output, caller.note))
        model = load_for_embedding(config, str(processes.device(config.device)))
        for note in model.notes if processes.first else ():
            caller.note(note)
        with _kept(output, model, processes, caller) as store:
            embedded = _compute(config, model, images, processes, store, caller)
            return processes.from_first(partial(finish_embedding, config, output, images, embedded, caller))


def list_named_images(config: EmbedConfig, output: EmbeddingsOutput, report: Report) -> ImageList:
    """List the images, and refuse to write over the table that lists them."""
    from eml.inference.image_list import list_images

    images = list_images(
        config.images,
        root=config.root,
        columns=column_map(config),
        class_level=class_level_of(config.class_level),
        report=report,
    )
    if images.table is not None:
        output.check(overwrite=config.overwrite, inputs=images.table.inputs)
    return images


def load_for_embedding(config: EmbedConfig, device: str | None = None) -> AnyModel:
    """Load the model. device: None for that of the config."""
    from eml.inference.any_model import load

    return load(
        run_of_fold(config.checkpoint, config.fold),
        weights=config.weights,
        image_size=config.image_size,
        device=device or config.device,
        precision=config.precision,
        tta=config.tta,
    )


@contextmanager
def _kept(
    output: EmbeddingsOutput, model: AnyModel, processes: Processes, caller: Caller
) -> Iterator[EmbeddingStore | None]:
    """Yield the embeddings that are there, to which new ones are added on the disk; None in other processes."""
    from eml.errors import Interrupted

    if not processes.first:
        yield None
        return
    store = output.earlier(model.fingerprint, caller.note)
    with store.kept_in(output.partial, caller.note):
        try:
            yield store
        except KeyboardInterrupt as error:
            text = f"interrupted. {len(store):,} embeddings are kept: the same command goes on from there"
            raise Interrupted(text) from error


def _compute(
    config: EmbedConfig,
    model: AnyModel,
    images: ImageList,
    processes: Processes,
    store: EmbeddingStore | None,
    caller: Caller,
) -> EmbeddedImages:
    from eml.inference.embed import Batching
    from eml.inference.embed_images import embed_images

    return embed_images(
        model,
        images,
        batching=Batching(config.batch_size, _workers(config, model, processes), processes),
        reuse=store,
        progress=caller.progress,
        report=caller.note,
    )


def _workers(config: EmbedConfig, model: AnyModel, processes: Processes) -> int:
    """Return the worker processes of each process: as set, else as many as help."""
    from eml.threads import cores

    if config.workers is not None or model.device.type == "cpu":
        return config.workers or 0
    return min(MOST_WORKERS, max(1, cores() // processes.local_world))


def finish_embedding(
    config: EmbedConfig, output: EmbeddingsOutput, images: ImageList, embedded: EmbeddedImages, caller: Caller
) -> EmbedResult:
    """Write the files, and return what there is to tell."""
    embedded.refuse_none(images)
    written, replaced, removed = output.write(
        embedded, images, command=caller.command or "eml embed", overwrite=config.overwrite, warn=caller.warn
    )
    if embedded.reused:
        caller.note(f"{embedded.reused:,} of {len(embedded):,} images were embedded before")
    if count := len(embedded.errors):
        text = (
            "1 file cannot be read as an image and is"
            if count == 1
            else f"{count:,} files cannot be read as images and are"
        )
        caller.warn(f"{text} left out; see {output.errors}")
    return EmbedResult(
        out=output.path,
        images=len(embedded),
        computed=embedded.computed,
        reused=embedded.reused,
        errors=embedded.errors,
        size=int(embedded.embeddings.shape[1]),
        rate=embedded.rate,
        fingerprint=embedded.fingerprint,
        written=tuple(written),
        replaced=tuple(replaced),
        removed_files=tuple(removed),
        next_command=_next_command(output, embedded),
        later_commands=_index_commands(config),
    )


def _index_commands(config: EmbedConfig) -> tuple[str, ...]:
    """Return the command that makes an index of the same images; none for a list on stdin, which is read up."""
    from eml.commands.index_build import BuildIndexConfig, build_index

    if Path("-") in config.images:
        return ()
    shared = BuildIndexConfig.model_fields.keys() & type(config).model_fields.keys() - _OWN
    values = {name: getattr(config, name) for name in shared}
    index = BuildIndexConfig(index=config.out.with_suffix(".index"), **values)
    return (command_text(build_index.command, index, build_index.arguments),)


def _next_command(output: EmbeddingsOutput, embedded: EmbeddedImages) -> str | None:
    """Return the command that measures how well the embeddings tell the labels apart, where there are enough."""
    labels = embedded.frame["label"]
    counts = labels.value_counts()
    if (labels == "").any() or len(counts) < 2 or counts.max() < 2:
        return None
    results = output.path.with_name(f"{output.path.stem}_evaluation")
    table = ["--data", str(output.table)] if output.table else []
    return shlex.join(["eml", "evaluate", str(output.path), *table, "--out", str(results)])
