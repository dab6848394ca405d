"""`eml classify`: the class of each image, with its probability, or unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from eml.commands.base import (
    Caller,
    Cell,
    CommandConfig,
    CommandResult,
    PathField,
    SummaryTable,
    command,
    option,
    table_html,
)
from eml.commands.indexing import ImagesRoot, QueryModel, batching_of, index_or_model, listed_images, tell_of_model
from eml.commands.options import (
    BatchSize,
    ClassLevelField,
    Device,
    FileColumn,
    Images,
    ImageSize,
    LabelColumn,
    MatchNames,
    NamesFile,
    Overwrite,
    PathPrefix,
    PathSuffix,
    Plugins,
    Precision,
    StripPrefix,
    Template,
    Weights,
    Workers,
)
from eml.commands.search import not_calibrated
from eml.commands.zero_shot import class_source, zero_shot_warning

if TYPE_CHECKING:
    import pandas as pd

    from eml.indexing.answers import ClassifiedImage, ClassifiedImages
    from eml.indexing.index import Index
    from eml.indexing.sorting import Sorting
    from eml.indexing.truth import TruthFigures
    from eml.indexing.zero_shot import ZeroShotClassifier
    from eml.inference.image_list import ImageList


class ClassifyConfig(CommandConfig):
    """Say which class of an index each image shows, with the probability that this is right, or that it is unknown.

    With `names`, a file of class names, no index and no training is needed: the first argument is then a model that
    takes texts, such as open_clip:ViT-B-32/openai, and each image gets the class whose name is nearest (zero-shot).
    A class's size does not decide. `out` gets a row for each image: file_name, label, probability, runner_up,
    runner_up_probability, margin, cosine, unknown, reason; label has the best class also where the image is unknown.
    Images that cannot be read are rows with the reason. Without a calibration there is no probability, and no image
    counts as unknown. `move` or `copy` sorts the images into a folder per class; nothing is overwritten.
    """

    index: Annotated[
        Path,
        BeforeValidator(index_or_model),
        Field(
            description="The index's folder. With `names`: a run, a checkpoint or open_clip:ARCH/PRETRAINED, or an "
            "index whose model takes texts."
        ),
    ]
    images: Images
    names: NamesFile = None
    template: Template = ()
    out: Annotated[PathField | None, Field(description="Write the answers as a table: .csv or .parquet.")] = None
    html: Annotated[PathField | None, Field(description="Write a page, the most doubtful answers first.")] = None
    truth: str | None = Field(
        None,
        description="Compare with the true classes: a column of the table, label for the names of the folders, or a "
        "table with file_name and label.",
    )
    unknown_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="The share of the images that you expect to be of no class of the index, for the probabilities. "
        "Default: as the calibration says.",
    )
    move: Annotated[PathField | None, Field(description="Move the images into a folder per class in this folder.")] = (
        None
    )
    copy_to: PathField | None = option(None, "Copy the images into a folder per class in this folder.", name="copy")
    model: QueryModel = None
    weights: Weights = "pretrained"
    image_size: ImageSize = None
    precision: Precision = "float32"
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
    overwrite: Overwrite = False
    plugins: Plugins = ()

    @model_validator(mode="after")
    def _one_way_to_sort(self) -> Self:
        if self.move is not None and self.copy_to is not None:
            raise ValueError("`move` and `copy_to` exclude each other: give one of them")
        return self

    @model_validator(mode="after")
    def _options_of_names(self) -> Self:
        if self.names is None and self.template:
            raise ValueError("`template` goes with `names`")
        if self.names is None and (name := next(iter(self.loading), None)):
            raise ValueError(f"`{name}` is for a model, with `names`: an index embeds as it was built")
        if self.names is not None and self.unknown_share is not None:
            raise ValueError("`unknown_share` has no effect with `names`: no image counts as unknown")
        return self

    @property
    def loading(self) -> dict[str, Any]:
        """Return the arguments of `eml.load` that differ from its defaults."""
        usual = {name: ClassifyConfig.model_fields[name].default for name in ("weights", "image_size", "precision")}
        return {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}

    @property
    def sort_into(self) -> Path | None:
        """The folder that images are sorted into."""
        return self.move or self.copy_to


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ClassifyResult(CommandResult):
    """The classes of images.

    Attributes:
        index: The index's folder.
        images: The answers; None where they were written to `out` instead.
        total: All images.
        accepted: Class → its images that do not count as unknown.
        unknown: Images that count as unknown; None without a calibration.
        unreadable: Images without an answer.
        problems: The first of these, with the reason.
        truth: The comparison with the true classes, if there was one.
        sorting: What was moved or copied, if anything.
        zero_shot: The number of class names that the images were compared with; None with an index.
    """

    index: Path
    images: ClassifiedImages | None
    total: int
    accepted: Counter[str]
    unknown: int | None
    unreadable: int
    problems: tuple[tuple[str, str], ...]
    truth: TruthFigures | None
    sorting: Sorting | None
    zero_shot: int | None = None

    def summary(self) -> str:
        """Return the counts."""
        names = f" of the {self.zero_shot:,} names" if self.zero_shot is not None else " classes"
        parts = [f"{self.total:,} images", f"{self.accepted.total():,} of {len(self.accepted):,}{names}"]
        parts += [f"{self.unknown:,} unknown"] if self.unknown is not None else ["not calibrated"]
        parts += [f"{self.unreadable:,} unreadable"] if self.unreadable else []
        return ", ".join(parts)

    def summary_table(self) -> SummaryTable:
        """Return the counts."""
        accepted = "accepted" if self.unknown is not None else "classified"
        names = f" of the {self.zero_shot:,} names" if self.zero_shot is not None else " classes"
        rows: list[list[Cell]] = [[f"{accepted}, of {len(self.accepted):,}{names}", self.accepted.total()]]
        rows += [["unknown", self.unknown]] if self.unknown is not None else []
        rows += [["cannot be read", self.unreadable]] if self.unreadable else []
        return ["", "images"], [*rows, ["all", self.total]]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, and the answers where they were not written to a file."""
        sorting = self.sorting
        return {
            "index": str(self.index),
            "images": self.total,
            "accepted": self.accepted.total(),
            "classes": dict(self.accepted.most_common()),
            "unknown": self.unknown,
            "unreadable": self.unreadable,
            "calibrated": self.unknown is not None,
            "zero_shot": self.zero_shot is not None,
            "truth": None if self.truth is None else self.truth.to_dict(),
            "sorted": None if sorting is None else {"list": str(sorting.path), "placed": sorting.placed},
            "answers": None if self.images is None else [image.to_dict() for image in self.images],
        }

    def _repr_html_(self) -> str:
        """Return the counts, the comparison with the true classes, and the images as thumbnails."""
        truth = "" if self.truth is None else table_html(["", "", "95 % interval"], self.truth.rows())
        return super()._repr_html_() + truth + ("" if self.images is None else self.images._repr_html_())


@command(ClassifyConfig, arguments=("index", "images"))
def classify(config: ClassifyConfig, caller: Caller) -> ClassifyResult:
    """Classify every image."""
    replaced = _check_outputs(config)
    if config.sort_into is not None:
        _finish_earlier(config.sort_into, caller)
    with class_source(
        config.index,
        config.names,
        config.template,
        model=config.model,
        device=config.device,
        loading=config.loading,
        warn=caller.warn,
    ) as source:
        images = listed_images(config, config.images, caller)
        _refuse_boxes(config, images)
        answers = _classify_all(config, caller, source, images)
        tell_of_model(source, caller)
        if source.calibration is None:
            caller.warn(not_calibrated(config.index) if config.names is None else zero_shot_warning(len(source.labels)))
            if config.sort_into is not None:
                caller.warn(
                    "so no image counts as unknown: each is sorted to its most similar class, whatever it shows"
                )
        zero_shot = None if config.names is None else len(source.labels)
    written = _write(config, caller, images, answers, zero_shot)
    sorting = None if config.sort_into is None else _sort(config, caller, images, answers)
    if sorting is not None and sorting.path.exists():
        written.append(sorting.path)
    order = answers.order
    return ClassifyResult(
        index=config.index,
        images=answers.kept_images(),
        total=order.total,
        accepted=order.classes,
        unknown=order.counts["unknown"] if answers.calibrated else None,
        unreadable=order.counts["unreadable"],
        problems=tuple((image.file_name, image.reason) for image in order.unreadable),
        truth=answers.truth.figures() if answers.truth is not None else None,
        sorting=sorting,
        zero_shot=zero_shot,
        written=tuple(written),
        replaced=tuple(replaced),
    )


def _check_outputs(config: ClassifyConfig) -> list[Path]:
    """Return the files that will be replaced; raise an OutputError for what may not be, before the work."""
    from eml.dataset.table import SUFFIXES, check_outputs
    from eml.errors import OutputError
    from eml.evaluation.outputs import refuse_page
    from eml.indexing.sorting import check_sorting

    replaced: list[Path] = []
    if config.out is not None:
        if config.out.suffix not in SUFFIXES:
            text = f"`out` must end in {' or '.join(SUFFIXES)}, got {config.out}"
            raise OutputError(text, code="wrong-suffix", parameter="out")
        replaced += check_outputs([config.out], overwrite=config.overwrite)
    if config.html is not None:
        refuse_page(config.html)
        replaced += [config.html] if config.html.exists() else []
    if config.sort_into is not None:
        check_sorting(config.sort_into)
    return replaced


def _refuse_boxes(config: ClassifyConfig, images: ImageList) -> None:
    """Raise a DataError where an image is to be sorted by several boxes of it."""
    from eml.errors import DataError

    repeated = images.frame["file_name"][images.frame["file_name"].duplicated()]
    if config.sort_into is not None and len(repeated):
        parameter = "move" if config.move is not None else "copy_to"
        text = f"{images.name}: {repeated.iloc[0]} has several boxes; `{parameter}` sorts whole images"
        raise DataError(text, code="several-boxes", parameter=parameter)


def _finish_earlier(folder: Path, caller: Caller) -> None:
    """Finish what a classify that was killed had begun to sort, before the images are listed."""
    from eml.indexing.sorting import finish_sorting

    earlier = finish_sorting(folder)
    if earlier.placed:
        caller.note(f"{folder}: finished the sorting of {earlier.placed:,} images that an earlier call had begun")
    for line in earlier.problems:
        caller.warn(line)


class _Answers:
    """Takes the answers part by part, and keeps what the table, the page and the sorting need of them."""

    def __init__(self, config: ClassifyConfig, source: Index | ZeroShotClassifier, images: ImageList) -> None:
        from eml.indexing.truth import AMONG_NAMES, IN_INDEX, TruthCounter, true_labels
        from eml.reports.classify import DoubtOrder

        self.calibrated = source.calibration is not None
        self.order = DoubtOrder()
        place = IN_INDEX if config.names is None else AMONG_NAMES
        self.truth = None if config.truth is None else TruthCounter(source.labels, place)
        self._labels = [] if config.truth is None else true_labels(images, config.truth)
        self._labels += [""] * len(images.unusable) if config.truth is not None else []
        self._rows: list[tuple[Any, ...]] = []
        self._images: list[ClassifiedImage] | None = [] if config.out is None else None

    def take(self, images: list[ClassifiedImage]) -> None:
        """Take some answers."""
        from eml.indexing.answers import COLUMNS

        labels = self._labels[self.order.total : self.order.total + len(images)]
        if self.truth is not None:
            self.truth.take(images, labels)
        self.order.take(images, labels)
        self._rows += [tuple(getattr(image, name) for name in COLUMNS) for image in images]
        if self._images is not None:
            self._images += images

    def kept_images(self) -> ClassifiedImages | None:
        """Return the answers; None where they are written to a file."""
        from eml.indexing.answers import ClassifiedImages

        return None if self._images is None else ClassifiedImages(tuple(self._images))

    def sortable(self) -> Iterator[tuple[str, str, bool | None]]:
        """Yield file name, best class and whether it counts as unknown, of each image with an answer."""
        for name, label, *_, unknown, _ in self._rows:
            if label is not None:
                yield name, label, unknown

    def frame(self) -> pd.DataFrame:
        """Return the table of the answers."""
        from eml.indexing.answers import answers_frame

        return answers_frame(self._rows)


def _classify_all(
    config: ClassifyConfig, caller: Caller, source: Index | ZeroShotClassifier, images: ImageList
) -> _Answers:
    """Return the answers to all images, with one bar for all of them."""
    answers = _Answers(config, source, images)
    batching = batching_of(config, caller)
    total = len(images) + len(images.unusable)
    with caller.progress("classifying", total) as advance:
        parts = source.classify_list(images, batching=batching, unknown_share=config.unknown_share, advance=advance)
        for part in parts:
            answers.take(part)
    return answers


def _write(
    config: ClassifyConfig, caller: Caller, images: ImageList, answers: _Answers, zero_shot: int | None
) -> list[Path]:
    """Write the table and the page, and return them. zero_shot: the number of class names; None with an index."""
    from eml.dataset.table import write_tables
    from eml.reports.classify import write_classify_page

    written = []
    line = caller.command or "eml classify"
    if config.out is not None:
        write_tables(
            {config.out: answers.frame()}, command=line, root=images.root, overwrite=config.overwrite, warn=caller.warn
        )
        written.append(config.out)
    if config.html is not None:
        write_classify_page(
            answers.order,
            config.html,
            name=images.name,
            index=config.index,
            calibrated=answers.calibrated,
            names=zero_shot,
            truth=answers.truth.figures().rows() if answers.truth is not None else (),
            command=line,
            progress=caller.progress,
        )
        written.append(config.html)
    return written


def _sort(config: ClassifyConfig, caller: Caller, images: ImageList, answers: _Answers) -> Sorting:
    """Move or copy the images into a folder per class."""
    from eml.indexing.sorting import ImageToSort, sort_images

    assert config.sort_into is not None
    to_sort = [ImageToSort(images.root / name, label, unknown) for name, label, unknown in answers.sortable()]
    with caller.progress("sorting", len(to_sort)) as advance:
        sorting = sort_images(config.sort_into, to_sort, "move" if config.move else "copy", advance)
    for line in sorting.problems:
        caller.warn(line)
    return sorting
