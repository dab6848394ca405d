"""`data.cache` of a config: which caches a run reads, and where they lie."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.evaluation.retrieval_set import RetrievalSet
from eml.files import MIB
from eml.images.augment import Augmenter
from eml.images.cache import CacheSettings, FillResult, StoredFormat, caches, fill
from eml.images.cache.fill import Advance
from eml.images.preprocess import Interpolation, Preprocess
from eml.inference.images import table_files
from eml.models.embedder import preprocess_of
from eml.progress import Report
from eml.training.config import CacheConfig, RunConfig
from eml.training.data import TrainingSets, training_sets, validation_sets
from eml.training.recipe import resolved

FOLDER = ".eml_cache"
_WHOLE = 1.5
"""What is kept of images that an augmentation wants whole, relative to the network's side: a JPEG's average too."""


@dataclass(frozen=True)
class Wanted:
    """One cache of one table's images. use: what for; of a validation table with its name."""

    use: str
    table: Table
    frame: pd.DataFrame
    folder: Path
    settings: CacheSettings

    @property
    def path(self) -> Path:
        """Of the cache itself."""
        return self.folder / self.settings.name

    def fill(self, report: Report, advance: Advance = lambda done, total: None, *, check: bool = False) -> FillResult:
        """Makes what is missing, and tells what it took."""
        before = caches(self.folder)
        filled = fill(
            self.folder, self.settings, table_files(self.table, self.frame), report=report, advance=advance, check=check
        )
        report(f"cache: {self.use}: {told(filled, len(self.frame))}")
        if filled.added and self.path not in before:
            others = {path: of for path, of in before.items() if path.name.startswith(self.settings.kind)}
            for path, (holds, size) in others.items():
                report(f"cache: {path} is another ({holds}; {size / MIB:,.1f} MiB); eml cache --prune removes it")
        return filled


def told(filled: FillResult, count: int) -> str:
    """What making the cache of `count` images took."""
    if not filled.added and not filled.renewed:
        return f"{count:,} images are there, unchanged"
    parts = [f"made {filled.added:,} of {count:,} images, {filled.bytes / MIB:,.1f} MiB"] if filled.added else []
    parts += [f"{filled.renewed:,} files have another time and the same content"] if filled.renewed else []
    return f"{'; '.join(parts)}, in {filled.seconds:,.1f} s"


def training_settings(config: CacheConfig, preprocess: Preprocess, augmenter: Augmenter) -> CacheSettings:
    """Of the images that are trained on. Raises ConfigError for a side below the network's."""
    size = preprocess.size
    if config.side is not None and config.side < size:
        raise ConfigError(
            f"data.cache.side must be at least image.size, {size}, else every image is enlarged; got {config.side}"
        )
    cut = augmenter.crop.cut if augmenter.crop else 0.0
    needed = math.ceil((_WHOLE if augmenter.before_resize else 1) * size / math.sqrt(1 - cut))
    return images_settings(config.side or needed, preprocess.interpolation, config.format, config.quality)


def images_settings(side: int, interpolation: Interpolation, format_: StoredFormat, quality: int) -> CacheSettings:
    """Of images whose shorter side is at most `side`."""
    return CacheSettings("images", side, interpolation, format_, quality if format_ == "jpeg" else None)


def wanted_caches(
    config: CacheConfig,
    table: Table,
    sets: TrainingSets,
    validated: Mapping[str, tuple[Table, RetrievalSet]],
    preprocess: Preprocess,
    augmenter: Augmenter,
) -> Iterator[tuple[str | None, Wanted]]:
    """(None, of the training images), then (name of a validation set, of its images) each."""
    settings = training_settings(config, preprocess, augmenter)
    yield None, Wanted("training", table, sets.frame, _folder(config, table), settings)
    squares = CacheSettings("squares", preprocess.size, preprocess.interpolation, fit=preprocess.fit)
    for name, (own, wanted) in validated.items() if config.validation else ():
        use = f"validation on {name}" if name else "validation"
        yield name, Wanted(use, own, wanted.frame, _folder(config, own), squares)


def caches_of_run(config: RunConfig, table: Table) -> list[Wanted]:
    """Those that a run would make at its start; raw ones where the config has none."""
    config, _ = resolved(config, table)
    sets = training_sets(table, config.data.fold)
    preprocess = preprocess_of(config.model.backbone, **dict(config.image))
    validated = dict(validation_sets(config.validation, table, sets))
    augmenter = config.augment.build(preprocess)
    cache = config.data.cache or CacheConfig()
    return [wanted for _, wanted in wanted_caches(cache, table, sets, validated, preprocess, augmenter)]


def _folder(config: CacheConfig, table: Table) -> Path:
    return config.folder or table.root / FOLDER
