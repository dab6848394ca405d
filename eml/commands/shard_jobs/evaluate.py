"""`eml evaluate` in shards: each embeds its blocks of the images, merging measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from eml.commands.base import Caller, CommandFunction
from eml.commands.evaluate import EvaluateConfig, EvaluateResult, evaluate, evaluation_options, measure
from eml.commands.shard_jobs.base import CommandJob
from eml.distributed.processes import SINGLE_PROCESS
from eml.errors import ConfigError, DataError
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.outputs import result_folders
from eml.evaluation.runs import load_for_evaluation, names_of, read_tables, set_to_embed
from eml.inference.any_model import AnyModel
from eml.inference.embeddings_file import is_embeddings_file
from eml.inference.images import table_files
from eml.sharding.block_file import BlockStore, BlockWriter
from eml.sharding.blocks import RowBlock, blocks_of, empty_shards_line
from eml.sharding.embedded_blocks import BlockEmbedder, BlockImages, embed_blocks, rows_of
from eml.sharding.file_states import ListedFiles, listed_files, together
from eml.sharding.folder import ShardFolder
from eml.sharding.jobs import FinishedShard, ShardContent, ShardFiles, ShardWork, one_shard_line
from eml.sharding.kept_model import kept_model
from eml.sharding.model_files import computing_versions, model_inputs
from eml.sharding.one_model import FINGERPRINT, refuse_several_models
from eml.sharding.shard import WorkShard
from eml.sharding.stored_embeddings import ImageSet, StoredEmbeddings


@dataclass
class EvaluateWork(ShardWork[Caller]):
    """An evaluation, whose sets of images are listed."""

    settled: EvaluateConfig
    options: EvaluationOptions
    sets: list[ImageSet]
    names: list[str]
    line: str
    config: dict[str, Any]
    command: str = "evaluate"
    settings: dict[str, Any] = field(default_factory=computing_versions)

    def __post_init__(self) -> None:
        self.target = result_folders(self.options)[0] / self.names[0]
        self.checkpoints = list(dict.fromkeys(images.checkpoint for images in self.sets))
        tables = {name: images.table for name, images in zip(self.names, self.sets, strict=False)}
        self.inputs = {
            f"{name}/{path.name}": value for name, table in tables.items() for path, value in table.inputs.items()
        }
        for number, checkpoint in enumerate(self.checkpoints):
            self.inputs |= model_inputs(f"checkpoint {number}", checkpoint, self.options.weights)

    @cached_property
    def blocks(self) -> list[RowBlock]:
        """The blocks of all sets."""
        return [block for images in self.sets for block in images.blocks]

    def most_shards(self) -> int:
        """Return the number of blocks: one shard embeds a whole block."""
        return len(self.blocks)

    def caution(self, count: int) -> str | None:
        """Return how many blocks there are, where shards have none."""
        return empty_shards_line(self.blocks, count)

    def files(self, shard: WorkShard) -> ListedFiles:
        """Return the names, boxes, sizes and times of the images of a shard."""
        parts = []
        for images in self.sets:
            rows = rows_of(blocks_of(shard, images.blocks))
            names, boxes = [images.names[row] for row in rows], [images.boxes[row] for row in rows]
            parts.append(listed_files(images.table.root, names, boxes))
        return together(parts)

    def make(self, files: ShardFiles, caller: Caller) -> ShardContent:
        """Embed the blocks of a shard, model by model."""
        store, written, fingerprints = BlockStore(self.settings), list[str](), dict[str, Any]()
        store.open_file(files.result)
        with store.added_to(files.partial) as writer:
            for number, checkpoint in enumerate(self.checkpoints):
                load = partial(load_for_evaluation, checkpoint, self.options, self.options.device)
                model = kept_model(f"{checkpoint} {self.options!r} {self.inputs}", load)
                for note in model.notes:
                    caller.note(note)
                fingerprints[f"{FINGERPRINT} {number}"] = model.fingerprint.model_dump(mode="json")
                for images in self.sets:
                    if images.checkpoint == checkpoint:
                        blocks = blocks_of(files.shard, images.blocks)
                        self._embed_set(model, images, blocks, store, writer, caller)
                        written += [f"{images.name}:{block.name}" for block in blocks]
        store.write(files.result, written)
        files.partial.unlink()
        rows = sum(len(block.rows) for images in self.sets for block in blocks_of(files.shard, images.blocks))
        return ShardContent(rows, fingerprints)

    def _embed_set(
        self,
        model: AnyModel,
        images: ImageSet,
        blocks: Sequence[RowBlock],
        store: BlockStore,
        writer: BlockWriter,
        caller: Caller,
    ) -> None:
        source = table_files(images.table, images.frame, model.preprocess.background)
        embedder = BlockEmbedder(model, BlockImages(images.name, source, strict=True), self.options.batch_size)
        count = sum(len(block.rows) for block in blocks)
        threads = self.options.workers or None
        with caller.progress(f"embedding {images.table.name}", count) as advance:
            embed_blocks(embedder, blocks, store, writer, threads=threads, advance=advance)

    def merge(self, shards: Sequence[FinishedShard], caller: Caller) -> EvaluateResult:
        """Measure, with the embeddings of all shards."""
        fingerprints = {
            checkpoint: refuse_several_models(shards, self.line, f"{FINGERPRINT} {number}")
            for number, checkpoint in enumerate(self.checkpoints)
        }
        store = BlockStore(self.settings)
        for shard in shards:
            store.open_file(shard.result)
        recorded = replace(caller, command=one_shard_line(self.line))
        try:
            return measure(self.settled, recorded, StoredEmbeddings(self.sets, store, fingerprints))
        except KeyError as error:
            text = (
                f"{ShardFolder.of(self.target).path}: a result lacks the block {error}; remove it, and run the shards"
            )
            raise DataError(text, code="damaged-file") from error


class EvaluateJob(CommandJob):
    """`eml evaluate`."""

    command = "evaluate"
    path_texts = ("checkpoints", "weights", "against", "gallery_model")
    without = ("workers",)

    @property
    def function(self) -> CommandFunction[Any]:
        """The command."""
        return evaluate

    def open(self, config: EvaluateConfig, caller: Caller, *, line: str | None = None) -> EvaluateWork:
        """Check the options, and list the images of all sets."""
        options = evaluation_options(config)
        options.check()
        models = [name for name in dict.fromkeys(options.models) if not is_embeddings_file(name)]
        if not models:
            text = "`shards` embed images, and embeddings files need none; leave it out"
            raise ConfigError(text, code="conflicting-settings", parameter="shards")
        tables, own = read_tables(options, SINGLE_PROCESS, caller.note, caller.progress)
        frames = [set_to_embed(table, of_table).frame for table, of_table in zip(tables, own, strict=True)]
        sets = [
            ImageSet(f"{number}-{place}", checkpoint, table, frame)
            for number, checkpoint in enumerate(models)
            for place, (table, frame) in enumerate(zip(tables, frames, strict=True))
        ]
        names = names_of(tables)
        work = EvaluateWork(config, options, sets, names, line or self.line(config), {})
        work.config = self.facts(config, work.target.parent)
        return work


job = EvaluateJob()
