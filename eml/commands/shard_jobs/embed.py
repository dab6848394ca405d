"""`eml embed` in shards: each embeds its blocks of images, merging puts them in the order of the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from eml.commands.base import Caller, CommandFunction
from eml.commands.embed import EmbedConfig, EmbedResult, embed, finish_embedding, list_named_images, load_for_embedding
from eml.commands.options import run_of_fold
from eml.commands.shard_jobs.base import CommandJob
from eml.errors import ConfigError, DataError
from eml.inference.embeddings_output import EmbeddingsOutput
from eml.inference.image_list import STDIN, ImageList
from eml.sharding.block_file import BlockStore
from eml.sharding.blocks import RowBlock, blocks_of, cut_blocks, empty_shards_line
from eml.sharding.embedded_blocks import BlockEmbedder, BlockImages, embed_blocks, rows_of
from eml.sharding.embedding_rows import gathered
from eml.sharding.file_states import ListedFiles, listed_files
from eml.sharding.folder import ShardFolder
from eml.sharding.jobs import FinishedShard, ShardContent, ShardFiles, ShardWork, one_shard_line
from eml.sharding.kept_model import kept_model
from eml.sharding.model_files import computing_versions, model_inputs
from eml.sharding.one_model import refuse_several_models
from eml.sharding.shard import WorkShard


@dataclass
class EmbedWork(ShardWork[Caller]):
    """An embedding, whose images are listed."""

    options: EmbedConfig
    output: EmbeddingsOutput
    images: ImageList
    line: str
    config: dict[str, Any]
    command: str = "embed"
    settings: dict[str, Any] = field(default_factory=computing_versions)

    def __post_init__(self) -> None:
        self.target = self.output.path
        table = self.images.table
        tables = {} if table is None else {path.name: digest for path, digest in table.inputs.items()}
        checkpoint = run_of_fold(self.options.checkpoint, self.options.fold)
        self.inputs = tables | model_inputs("checkpoint", checkpoint, self.options.weights)
        self.names = self.images.frame["file_name"].tolist()
        files = self.images.files()
        self.boxes = [files.box(row) for row in range(len(files))]

    @cached_property
    def blocks(self) -> list[RowBlock]:
        """The rows of all shards in blocks."""
        return cut_blocks(self.names, self.boxes)

    def most_shards(self) -> int:
        """Return the number of blocks: one shard embeds a whole block."""
        return len(self.blocks)

    def caution(self, count: int) -> str | None:
        """Return how many blocks there are, where shards have none."""
        return empty_shards_line(self.blocks, count)

    def files(self, shard: WorkShard) -> ListedFiles:
        """Return the names, boxes, sizes and times of the images of a shard."""
        rows = rows_of(blocks_of(shard, self.blocks))
        return listed_files(self.images.root, [self.names[row] for row in rows], [self.boxes[row] for row in rows])

    def make(self, files: ShardFiles, caller: Caller) -> ShardContent:
        """Embed the blocks of a shard, those that an earlier one has unchanged left out."""
        blocks = blocks_of(files.shard, self.blocks)
        model = kept_model(f"{self.options!r} {self.inputs}", partial(load_for_embedding, self.options))
        for note in model.notes:
            caller.note(note)
        store = BlockStore(self.settings)
        store.open_file(files.result)
        images = BlockImages("", self.images.files(model.preprocess.background))
        embedder = BlockEmbedder(model, images, self.options.batch_size)
        rows = sum(len(block.rows) for block in blocks)
        with store.added_to(files.partial) as writer, caller.progress(f"embedding {files.shard}", rows) as advance:
            threads = self.options.workers or None
            computed = embed_blocks(embedder, blocks, store, writer, threads=threads, advance=advance)
        if computed < rows:
            caller.note(f"{rows - computed:,} of {rows:,} images were embedded before")
        store.write(files.result, [block.name for block in blocks])
        files.partial.unlink()
        return ShardContent(rows, {"fingerprint": model.fingerprint.model_dump(mode="json")})

    def merge(self, shards: Sequence[FinishedShard], caller: Caller) -> EmbedResult:
        """Write the file of all embeddings."""
        fingerprint = refuse_several_models(shards, self.line)
        store = BlockStore(self.settings)
        for shard in shards:
            store.open_file(shard.result)
        try:
            embedded = gathered(self.images, self.blocks, store, fingerprint, caller.progress)
        except (KeyError, ValueError) as error:
            raise DataError(f"{ShardFolder.of(self.target).path}: {error}", code="damaged-file") from error
        recorded = replace(caller, command=one_shard_line(self.line))
        return finish_embedding(self.options, self.output, self.images, embedded, recorded)


class EmbedJob(CommandJob):
    """`eml embed`."""

    command = "embed"
    path_texts = ("checkpoint", "weights")

    @property
    def function(self) -> CommandFunction[Any]:
        """The command."""
        return embed

    def open(self, config: EmbedConfig, caller: Caller, *, line: str | None = None) -> EmbedWork:
        """Check what embed checks, and list the images."""
        if Path(STDIN) in config.images:
            text = "`images`: a list on stdin is read up by the first shard; write it to a table, or name folders"
            raise ConfigError(text, code="conflicting-settings", parameter="images")
        output = EmbeddingsOutput(config.out)
        output.check(overwrite=config.overwrite)
        images = list_named_images(config, output, caller.note)
        return EmbedWork(config, output, images, line or self.line(config), self.facts(config, config.out.parent))


job = EmbedJob()
