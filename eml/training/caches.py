"""The image caches that a run reads, as `data.cache` of its config says."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.evaluation.retrieval_set import RetrievalSet
from eml.images.augment import Augmenter
from eml.images.cache import CacheSettings, FillResult, StoredFormat, caches, fill
from eml.images.cache.fill import Advance
from eml.images.image_size import Size, height_width, one_form, size_text
from eml.images.preprocess import Interpolation, Preprocess
from eml.inference.images import cache_folder, table_files
from eml.models.backbones import preprocess_of
from eml.progress import Report
from eml.training.config import CacheConfig, RunConfig
from eml.training.data import TrainingData, training_data
from eml.training.recipe import apply_recipe
from eml.training.validation_sets import validation_sets
from eml.units import MIB

_WHOLE = 1.5
"""Shorter side kept for augmentations of whole images, relative to the network's side; also the average of JPEG."""


@dataclass(frozen=True)
class TableCache:
    """A cache of one table's images.

    Attributes:
        use: "training", "validation", or "validation on NAME" for another table.
        table: The images' table.
        frame: Rows of the cached images.
        folder: The folder of caches.
        settings: Size and format of the cached images.
    """

    use: str
    table: Table
    frame: pd.DataFrame
    folder: Path
    settings: CacheSettings

    @property
    def path(self) -> Path:
        """The folder of this cache."""
        return self.folder / self.settings.name

    def fill(self, report: Report, advance: Advance = lambda done, total: None, *, check: bool = False) -> FillResult:
        """Cache the images that are missing, and report how many and how long it took."""
        before = caches(self.folder)
        files = table_files(self.table, self.frame, self.settings.background)
        filled = fill(self.folder, self.settings, files, report=report, advance=advance, check=check)
        report(f"cache: {self.use}: {fill_summary(filled, len(self.frame))}")
        if filled.added and self.path not in before:
            for path, (contents, size) in before.items():
                if path.name.startswith(self.settings.kind):
                    report(
                        f"cache: {path} has other settings ({contents}; {size / MIB:,.1f} MiB); eml cache --prune "
                        "removes it"
                    )
        return filled


def fill_summary(filled: FillResult, count: int) -> str:
    """Return a line about filling a cache of `count` images."""
    if not filled.added and not filled.renewed:
        return f"{count:,} images are cached, unchanged"
    parts = [f"added {filled.added:,} of {count:,} images, {filled.bytes / MIB:,.1f} MiB"] if filled.added else []
    parts += [f"{filled.renewed:,} files have a new time and the same content"] if filled.renewed else []
    return f"{'; '.join(parts)}, in {filled.seconds:,.1f} s"


def training_settings(config: CacheConfig, preprocess: Preprocess, augmenter: Augmenter) -> CacheSettings:
    """Return the settings of the training images' cache.

    Raises:
        ConfigError: `data.cache.side` is below the network's size.
    """
    size = preprocess.shape
    if config.side is not None and any(own < least for own, least in zip(height_width(config.side), size, strict=True)):
        raise ConfigError(
            f"data.cache.side must be at least image.size, {size_text(preprocess.size)}, else every image is enlarged; "
            f"got {size_text(config.side)}",
            code="out-of-range",
            parameter="data.cache.side",
        )
    cut = augmenter.crop.cut if augmenter.crop else 0.0
    height, width = (math.ceil((_WHOLE if augmenter.before_resize else 1) * own / math.sqrt(1 - cut)) for own in size)
    needed = one_form((height, width))
    settings = images_settings(config.side or needed, preprocess.interpolation, config.format, config.quality)
    return replace(settings, background=preprocess.background, resize=preprocess.resize)


def images_settings(side: Size, interpolation: Interpolation, format_: StoredFormat, quality: int) -> CacheSettings:
    """Return the settings of a cache of images whose shorter side is at most `side`, or that cover (height, width)."""
    return CacheSettings("images", side, interpolation, format_, quality if format_ == "jpeg" else None)


def planned_caches(
    config: CacheConfig,
    table: Table,
    data: TrainingData,
    validation: Mapping[str, tuple[Table, RetrievalSet]],
    preprocess: Preprocess,
    augmenter: Augmenter,
) -> Iterator[tuple[str | None, TableCache]]:
    """Yield (None, cache of the training images), then (name, cache) for each validation set."""
    settings = training_settings(config, preprocess, augmenter)
    yield None, TableCache("training", table, data.frame, _folder(config, table), settings)
    squares = CacheSettings(
        "squares",
        preprocess.size,
        preprocess.interpolation,
        fit=preprocess.fit,
        background=preprocess.background,
        resize=preprocess.resize,
    )
    for name, (validation_table, images) in validation.items() if config.validation else ():
        use = f"validation on {name}" if name else "validation"
        yield name, TableCache(use, validation_table, images.frame, _folder(config, validation_table), squares)


def caches_of_run(config: RunConfig, table: Table) -> list[TableCache]:
    """Return the caches that a run fills at its start; raw ones where the config has none."""
    config, _ = apply_recipe(config, table)
    data = training_data(table, config.data.fold)
    preprocess = preprocess_of(config.model, **dict(config.image))
    columns, seed = config.data.columns, config.seed
    validation = dict(validation_sets(config.validation, table, data, columns=columns, seed=seed))
    augmenter = config.augment.build(preprocess)
    cache = config.data.cache or CacheConfig()
    return [planned for _, planned in planned_caches(cache, table, data, validation, preprocess, augmenter)]


def _folder(config: CacheConfig, table: Table) -> Path:
    return config.folder or cache_folder(table)
