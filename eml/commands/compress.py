"""`eml compress`: smaller embeddings of a checkpoint."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, PathField, SummaryTable, command, option
from eml.commands.options import (
    COLUMN_MAP,
    BatchSize,
    Device,
    FileColumn,
    LabelColumn,
    LeaveOutSame,
    MatchNames,
    PathPrefix,
    PathSuffix,
    Plugins,
    StripPrefix,
    UnknownLabel,
    Within,
    Workers,
    column_map,
    note_workers,
)

if TYPE_CHECKING:
    from eml.evaluation.compress import CompressionResult
    from eml.evaluation.compression import MeasuredChoice


Sizes = Annotated[tuple[int, ...], BeforeValidator(lambda value: (value,) if isinstance(value, int) else value)]


class CompressConfig(CommandConfig):
    """Show how small the embeddings of a checkpoint may be, and keep a choice in a new checkpoint.

    Measures MAP@R with its interval, bytes per image and ms per query of projections (truncation, principal
    components, whitening) stored as float16, int8 or bits. Components are learnt from the training images, not from
    those measured. Every command obeys the kept choice; a calibration has to be made again.
    """

    checkpoint: Annotated[PathField, Field(description="A run folder (its best checkpoint) or a checkpoint folder.")]
    data: Annotated[PathField, Field(description="Table or folder of classes that were not trained on.")]
    fit: Annotated[
        PathField | None,
        Field(description="Table or folder to learn components from. Default: the table that the run was trained on."),
    ] = None
    sizes: Sizes = option((), "Embedding size to project to. Repeatable. Default: powers of 2.", name="size")
    keep: str | None = Field(
        None,
        description="The way to keep, by its name in the table; smallest: the one of the fewest bytes that loses no "
        "more than `most_loss`.",
    )
    most_loss: float = Field(
        0.01, ge=0, le=1, description="MAP@R that the smallest may lose, by the lower end of the interval."
    )
    out: Annotated[PathField | None, Field(description="Folder of the new checkpoint, with `keep`.")] = None
    plot: Annotated[
        PathField | None, Field(description="Draw MAP@R against bytes per image and ms per query, a PNG.")
    ] = None
    show_all: bool = Field(False, description="Show the ways too that a smaller one equals in MAP@R.")
    root: Annotated[PathField | None, Field(description="Folder that the table's file names start from.")] = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    leave_out_same: LeaveOutSame = None
    within: Within = None
    unknown_label: UnknownLabel = None
    batch_size: BatchSize = 64
    workers: Workers = 0
    device: Device = "auto"
    overwrite: bool = Field(False, description="Replace an existing checkpoint in `out`, and a plot that is not eml's.")
    plugins: Plugins = ()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CompressResult(CommandResult):
    """Ways to compress a checkpoint's embeddings, and the one that was kept."""

    result: CompressionResult
    show_all: bool = False

    @property
    def measured(self) -> list[MeasuredChoice]:
        """Every way, the embeddings as they are first."""
        return self.result.measured

    def summary(self) -> str:
        """Return the smallest way that loses little, and what was kept."""
        way = self.result.kept or self.result.smallest
        verb = "kept" if self.result.kept else "smallest:"
        return f"{verb} {way.choice.name}, {way.choice.bytes_per_image:,} bytes per image, MAP@R {way.value:.3f}"

    def summary_table(self) -> SummaryTable:
        """Return a row for each way."""
        rows: list[list[Cell]] = [
            [way.choice.name, way.choice.bytes_per_image, f"{way.value:.3f}", f"{way.difference.value:+.3f}"]
            for way in self.measured
        ]
        return ["", "bytes per image", "MAP@R", "change"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return every way with its figures."""
        result = self.result
        return {
            "checkpoint": result.evaluation.name,
            "table": str(result.evaluation.table.path or result.evaluation.table.root),
            "fit": {"table": str(result.fit[0]), "images": result.fit[1], "images_of_this_table": result.shared},
            "trained_on": result.overlap.facts(),
            "choices": [way.facts() for way in self.measured],
            "smallest": result.smallest.choice.name,
            "kept": result.kept.choice.name if result.kept else None,
            "folder": str(result.folder) if result.folder else None,
        }


@command(CompressConfig, arguments=("checkpoint",))
def compress(config: CompressConfig, caller: Caller) -> CompressResult:
    """Measure ways to compress a checkpoint's embeddings."""
    from eml.evaluation.compress import CompressOptions, compress_checkpoint
    from eml.reports.compression import draw_compression, refuse_plot

    own = {"plot", "show_all", "fit", "plugins", *COLUMN_MAP}
    fields = {name: getattr(config, name) for name in type(config).model_fields if name not in own}
    fit = config.fit or _training_table(config.checkpoint)
    options = CompressOptions(
        **fields | {"checkpoint": str(config.checkpoint), "fit": fit, "columns": column_map(config)}
    )
    note_workers(config.workers, caller)
    if config.plot is not None:
        refuse_plot(config.plot, overwrite=config.overwrite)
    replaced = [config.plot] if config.plot is not None and config.plot.exists() else []
    result = compress_checkpoint(options, report=caller.note, progress=caller.progress)
    written = [result.folder] if result.folder else []
    replaced += [result.folder] if result.folder and result.replaced else []
    if config.plot is not None:
        written.append(draw_compression(result.measured, config.plot))
    return CompressResult(
        result=result,
        show_all=config.show_all,
        written=tuple(written),
        replaced=tuple(replaced),
        next_command=_next_command(config, result),
    )


def _training_table(checkpoint: Path) -> Path:
    """Return the table that the run of a checkpoint was trained on."""
    from eml.errors import ConfigError
    from eml.models.pointers import find_checkpoint, is_run_folder
    from eml.training.moved_run import CONFIG_NAME, load_run_data

    folder = find_checkpoint(checkpoint)
    run = next((place for place in (folder, *folder.parents[:2]) if is_run_folder(place)), None)
    reason = "it is in no run folder"
    if run is not None:
        table = load_run_data(run / CONFIG_NAME)[0].table
        if isinstance(table, Path) and table.exists():
            return table
        reason = "the run was trained on several tables" if isinstance(table, list) else f"{table} does not exist"
    text = f"{checkpoint}: its training images are not known ({reason}); give a table of images to learn from as `fit`"
    raise ConfigError(text, code="missing-key", parameter="fit")


def _next_command(config: CompressConfig, result: CompressionResult) -> str | None:
    """Return the command that keeps the smallest way, or that measures the kept one."""
    from eml.commands.base import command_text

    if result.folder is not None:
        words = ["eml", "evaluate", str(result.folder), "--data", str(config.data)]
        return shlex.join([*words, "--out", f"{result.folder}_evaluations"])
    folder = config.checkpoint.with_name(f"{config.checkpoint.name}_{result.smallest.choice.name}")
    if result.smallest.choice.name == "float32" or folder.exists():
        return None
    kept = config.model_copy(update={"keep": result.smallest.choice.name, "out": folder, "plot": None})
    return command_text("compress", kept, ("checkpoint",))
