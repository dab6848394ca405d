"""`eml cache`: images decoded once, for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from eml.commands.base import (
    Caller,
    Cell,
    CommandResult,
    Names,
    PathField,
    SummaryTable,
    command,
    option,
)
from eml.commands.options import (
    COLUMN_MAP,
    Address,
    Executor,
    ExecutorOptions,
    FileColumn,
    LabelColumn,
    MatchNames,
    PathPrefix,
    PathSuffix,
    Plugins,
    Root,
    ShardNumber,
    Shards,
    StripPrefix,
    column_map,
)
from eml.commands.sharded import ShardedConfig, sharded
from eml.errors import DataError
from eml.images.image_size import ImageSize

if TYPE_CHECKING:
    from eml.images.cache import FillResult
    from eml.training.caches import TableCache

CONFIG_SUFFIXES = (".yaml", ".yml")
OF_TABLE = ("side", "format", "quality", "interpolation", "folder", "root", *COLUMN_MAP)
"""Parameters for a table, which a training config says itself."""


class FillCacheConfig(ShardedConfig):
    """Keep images decoded and made smaller, so that a training reads them many times faster.

    For a training config: what its data.cache asks for (raw where it says nothing), as eml train does at its start.
    What is there and unchanged stays, so that a stopped one continues; an image counts as changed when its size or
    time, and then its bytes, differ.
    """

    source: Annotated[PathField, Field(description="The config of a run (YAML), or a table or folder of images.")]
    overrides: Names = option(
        (), "With a config: override a key, such as data.cache.format=jpeg. Repeatable.", name="set"
    )
    root: Root = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    side: ImageSize | None = Field(
        None,
        description="Needed with a table: the longest that a shorter side is kept (pixels), or 306x153, the least "
        "height x width that is kept; a run reads the cache whose data.cache.side is the same, or follows from its "
        "image.size and crop.",
    )
    format: Literal["raw", "jpeg"] | None = Field(None, description="With a table: raw or jpeg. Default: raw.")
    quality: int | None = Field(None, ge=50, le=100, description="With a table: quality of jpeg. Default: 95.")
    interpolation: Literal["bilinear", "bicubic", "lanczos"] | None = Field(
        None, description="With a table: the run's image.interpolation. Default: bicubic."
    )
    folder: Annotated[
        PathField | None,
        Field(description="With a table: the folder of caches. Default: .eml_cache beside the images."),
    ] = None
    check: bool = Field(
        False, description="Compare all that is kept with its checksums; what is damaged is made again."
    )
    prune: bool = Field(False, description="Afterwards, remove the other caches in the same folders.")
    clear: bool = Field(False, description="Make nothing, and remove all caches in the folders.")
    shards: Shards = None
    shard: ShardNumber = None
    executor: Executor = None
    executor_options: ExecutorOptions = ()
    address: Address = None
    plugins: Plugins = ()

    @property
    def is_of_run(self) -> bool:
        """Whether the source is a training config."""
        return self.source.suffix in CONFIG_SUFFIXES

    @model_validator(mode="after")
    def _options_of_the_source(self) -> Self:
        names = [f"`{name}`" for name in OF_TABLE if getattr(self, name) not in (None, False)]
        if self.is_of_run and names:
            raise ValueError(f"{', '.join(names)}: only for a table; for a config set data.cache with `overrides`")
        if not self.is_of_run and self.overrides:
            others = ", ".join(f"`{name}`" for name in OF_TABLE if name not in ("root", *COLUMN_MAP))
            raise ValueError(f"`overrides`: only for a config; for a table set {others}")
        if self.shards is not None and self.clear:
            raise ValueError("`clear`: removes whole caches; leave out `shards`")
        if self.quality is not None and self.format != "jpeg":
            raise ValueError('`quality` goes with `format="jpeg"`')
        return self


@dataclass(frozen=True)
class FilledCache:
    """A cache that is complete. added: that were not there or had changed."""

    use: str
    settings: str
    folder: str
    images: int
    added: int
    bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class FillCacheResult(CommandResult):
    """Caches that were filled, and folders of caches that were removed."""

    caches: tuple[FilledCache, ...]
    removed: tuple[str, ...]

    def summary(self) -> str:
        """Return the images of each cache."""
        parts = [f"{cache.images:,} images for {cache.use}" for cache in self.caches]
        return ", ".join([*parts, *([f"{len(self.removed)} removed"] if self.removed else [])]) or "nothing"

    def summary_table(self) -> SummaryTable:
        """Return a row for each cache."""
        rows: list[list[Cell]] = [
            [cache.use, cache.images, cache.added, f"{cache.bytes / 2**20:,.1f}"] for cache in self.caches
        ]
        return ["cache for", "images", "made now", "MiB"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the caches."""
        return {"caches": [asdict(cache) for cache in self.caches], "removed": list(self.removed)}


@command(FillCacheConfig, arguments=("source",), name="cache")
@sharded("cache")
def fill_cache(config: FillCacheConfig, caller: Caller) -> FillCacheResult:
    """Fill the caches of a run or of a table, or remove them."""
    requests = requested_caches(config, caller)
    if config.clear:
        removed = remove_caches(requests, caller, keep=False)
        if not removed:
            caller.note(f"no cache in {', '.join(map(str, {request.folder: None for request in requests}))}")
        return FillCacheResult(caches=(), removed=removed)
    filled = tuple(_fill(request, caller, check=config.check) for request in requests)
    return FillCacheResult(caches=filled, removed=remove_caches(requests, caller, keep=True) if config.prune else ())


def requested_caches(config: FillCacheConfig, caller: Caller) -> list[TableCache]:
    """Return the caches that a config asks for."""
    return _of_run(config, caller) if config.is_of_run else [_of_table(config, caller)]


def _of_run(config: FillCacheConfig, caller: Caller) -> list[TableCache]:
    from eml.training.moved_run import load_run_config

    run = load_run_config(config.source, config.overrides, override_name="`overrides`", plugins=config.plugins)

    from eml.training.caches import caches_of_run
    from eml.training.data import table_to_train_on

    if run.data.cache is None and not config.clear:
        caller.warn(
            f"{config.source} has no data.cache, so a run of it reads the files; to read this cache, set "
            "data.cache: raw"
        )
    return caches_of_run(run, table_to_train_on(run.data, caller.note, caller.progress, task=run.task))


def _of_table(config: FillCacheConfig, caller: Caller) -> TableCache:
    if config.side is None and not config.clear:
        raise DataError(
            f"{config.source}: a table needs `side`, the shorter side (pixels) that a run needs: "
            "image.size / √(1 − crop), such as 192 for 160 and a crop of 0.3, or 306x153 for 256x128. Or give the "
            "config: eml cache CONFIG",
            code="missing-key",
            parameter="side",
        )

    from eml.dataset.boxes import check_boxes
    from eml.dataset.pipeline import resolve
    from eml.inference.images import cache_folder
    from eml.training.caches import TableCache, images_settings

    table = resolve(
        config.source, "train", config.root, columns=column_map(config), report=caller.note, progress=caller.progress
    )
    check_boxes(table, caller.progress)
    settings = images_settings(
        config.side or 8, config.interpolation or "bicubic", config.format or "raw", config.quality or 95
    )
    return TableCache("images", table, table.frame, config.folder or cache_folder(table), settings)


def _fill(request: TableCache, caller: Caller, *, check: bool) -> FilledCache:
    with shown_advance(caller, f"cache for {request.use}") as show:
        filled = request.fill(caller.note, show, check=check)
    return filled_cache(request, filled)


@contextmanager
def shown_advance(caller: Caller, description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what shows a bar while images are made, and no longer: lines would be written into it."""
    with ExitStack() as bar:
        done = 0
        advance: Callable[[int], None] | None = None

        def show(now: int, total: int) -> None:
            nonlocal done, advance
            advance = advance or bar.enter_context(caller.progress(description, total))
            advance(now - done)
            done = now
            if now == total:
                bar.close()

        yield show


def filled_cache(request: TableCache, filled: FillResult) -> FilledCache:
    """Return the facts of a cache that is complete."""
    return FilledCache(
        use=request.use,
        settings=str(request.settings),
        folder=str(request.path),
        images=len(request.frame),
        added=filled.added,
        bytes=filled.bytes,
        seconds=round(filled.seconds, 2),
    )


def remove_caches(requests: Sequence[TableCache], caller: Caller, *, keep: bool) -> tuple[str, ...]:
    """Remove the caches in the folders; keep: all but those of the requests."""
    from eml.images.cache import caches
    from eml.images.cache.store import remove
    from eml.texts.vector_cache import remove_vector_caches

    kept = {request.path for request in requests} if keep else set()
    removed = []
    for folder in {request.folder: None for request in requests}:
        for path, (content, size) in caches(folder).items():
            if path not in kept:
                remove(path)
                caller.note(f"removed {path} ({content}; {size / 2**20:,.1f} MiB)")
                removed.append(str(path))
        for path, size in ({} if keep else remove_vector_caches(folder)).items():
            caller.note(f"removed {path} (text vectors; {size / 2**20:,.1f} MiB)")
            removed.append(str(path))
    return tuple(removed)
