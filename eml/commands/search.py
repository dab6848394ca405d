"""`eml search`: the images of an index that are most similar to a query."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, Names, PathField, SummaryTable, command
from eml.commands.indexing import (
    EngineChoice,
    ImagesRoot,
    IndexFolder,
    QueryModel,
    Where,
    batching_of,
    listed_images,
    tell_of_model,
)
from eml.commands.options import (
    BatchSize,
    Device,
    FileColumn,
    Images,
    LabelColumn,
    MatchNames,
    Overwrite,
    PathPrefix,
    PathSuffix,
    Plugins,
    StripPrefix,
    Workers,
)

if TYPE_CHECKING:
    from eml.indexing.answers import SearchAnswers
    from eml.indexing.index import Index
    from eml.indexing.queries import Queries


def not_calibrated(index: Path) -> str:
    """Return a warning that an index gives no probabilities, and the commands by which it does."""
    return (
        "the index has no calibration, so there are no probabilities. Calibrate its model, "
        f"eml calibrate {shlex.quote(str(index))} --data TABLE --far 0.05, "
        f"then take that over, eml index calibrate {shlex.quote(str(index))}"
    )


class SearchConfig(CommandConfig):
    """Show the images of an index that are most similar to each query, an image or a text.

    With the cosine, and where the index is calibrated the probability that two images show the same class. Exact by
    default: the same neighbours in the same order as eml evaluate finds. An image of the index finds itself first.
    """

    index: IndexFolder
    images: Images = ()
    text: Names = Field(
        (),
        description='A query in words, such as "a red mug", for an index whose model has a text tower. Repeatable.',
    )
    k: int = Field(5, ge=1, le=10_000, description="Neighbours of each query.")
    per_class: bool = Field(False, description="Only the nearest image of each class.")
    where: Where = None
    engine: EngineChoice = "exact"
    query_expansion: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Average each query with so many of its nearest images, then search again; gives no probabilities.",
    )
    csv: Annotated[PathField | None, Field(description="Write the neighbours as a table.")] = None
    html: Annotated[PathField | None, Field(description="Write a page with queries and neighbours as thumbnails.")] = (
        None
    )
    thumbnails: bool = Field(
        True, description="Show thumbnails in a terminal that can (kitty, iTerm2, sixel; extra terminal-images)."
    )
    model: QueryModel = None
    root: ImagesRoot = None
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


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SearchResult(CommandResult):
    """The neighbours of each query.

    Attributes:
        index: The index's folder.
        answers: The queries with their neighbours.
        calibrated: Whether the probabilities are known.
        thumbnails: Whether a terminal may show images.
    """

    index: Path
    answers: SearchAnswers
    calibrated: bool
    thumbnails: bool

    def summary(self) -> str:
        """Return the number of queries, and the first neighbour of a single one."""
        if len(self.answers) == 1 and len(self.answers[0]):
            first = self.answers[0][0]
            return f"{self.answers[0].query}: {first.label or first.file_name}, cosine {first.cosine:.3f}"
        return f"{len(self.answers):,} queries in {self.index}"

    def summary_table(self) -> SummaryTable:
        """Return a row for each neighbour."""
        rows: list[list[Cell]] = []
        for answer in self.answers:
            for image in answer:
                probability = None if image.probability is None else f"{image.probability:.3f}"
                rows.append(
                    [answer.query, image.rank, image.label, f"{image.cosine:.4f}", probability, image.file_name]
                )
        return ["query", "rank", "label", "cosine", "probability", "image"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the queries with their neighbours."""
        results = [answer.to_dict() for answer in self.answers]
        return {"index": str(self.index), "calibrated": self.calibrated, "results": results}

    def _repr_html_(self) -> str:
        """Return the queries and neighbours as thumbnails."""
        return self.answers._repr_html_()


@command(SearchConfig, arguments=("index", "images"))
def search(config: SearchConfig, caller: Caller) -> SearchResult:
    """Search the index for every image."""
    from eml.dataset.table import check_outputs, write_tables
    from eml.evaluation.outputs import refuse_page
    from eml.indexing.answers import SearchAnswers
    from eml.indexing.index import Index
    from eml.indexing.searching import condition_of, find_neighbours
    from eml.reports.search import write_search_page

    _refuse_no_query(config)
    replaced = [] if config.csv is None else check_outputs([config.csv], overwrite=config.overwrite)
    if config.html is not None:
        refuse_page(config.html)
        replaced += [config.html] if config.html.exists() else []
    with Index.open(config.index, model=config.model, device=config.device) as index:
        condition_of(index.store, config.where)
        queries, root = _queries(config, index, caller)
        parts = [
            find_neighbours(
                index.store,
                part,
                config.k,
                per_class=config.per_class,
                where=config.where,
                engine=config.engine,
                calibration=index.calibration,
                query_expansion=config.query_expansion,
            )
            for part in queries
        ]
        answers = SearchAnswers(tuple(answer for part in parts for answer in part))
        tell_of_model(index, caller)
        has_calibration, size = index.calibration is not None, len(index)
    calibrated = has_calibration and config.query_expansion is None and bool(config.images)
    _tell_of_probabilities(config, caller, has_calibration=has_calibration)
    line = caller.command or "eml search"
    written = []
    if config.csv is not None:
        write_tables({config.csv: answers.to_pandas()}, command=line, root=root, overwrite=config.overwrite)
        written.append(config.csv)
    if config.html is not None:
        write_search_page(
            answers,
            config.html,
            index=config.index,
            images=size,
            calibrated=calibrated,
            condition=config.where,
            command=line,
            progress=caller.progress,
        )
        written.append(config.html)
    return SearchResult(
        index=config.index,
        answers=answers,
        calibrated=calibrated,
        thumbnails=config.thumbnails,
        written=tuple(written),
        replaced=tuple(replaced),
    )


def _refuse_no_query(config: SearchConfig) -> None:
    if not config.images and not config.text:
        from eml.errors import ConfigError

        raise ConfigError("`images` or a query as `text` is needed", code="missing-key", parameter="images")


def _queries(config: SearchConfig, index: Index, caller: Caller) -> tuple[list[Queries], Path]:
    """Return the images, then the texts that are searched for, and the folder of the images' names."""
    from eml.indexing.queries import embed_list, embed_texts
    from eml.inference.model import Model
    from eml.texts.encoders.base import cut_note

    queries, root = [], config.index
    if config.images:
        images = listed_images(config, config.images, caller)
        queries.append(embed_list(index.model, images, batching_of(config, caller), progress=caller.progress))
        queries[0].refuse_none()
        root = images.root
    if config.text:
        queries.append(embed_texts(index.model, config.text))
        tower = index.model.embedder.text if isinstance(index.model, Model) else None
        if tower is not None and (note := cut_note(tower.too_long(config.text), len(config.text))):
            caller.warn(note)
    return queries, root


def _tell_of_probabilities(config: SearchConfig, caller: Caller, *, has_calibration: bool) -> None:
    """Tell why answers have no probabilities."""
    if not has_calibration and config.images:
        caller.warn(not_calibrated(config.index))
    elif has_calibration and config.query_expansion is not None:
        caller.note("with `query_expansion` there are no probabilities: the calibration is about plain cosines")
    elif has_calibration and config.text:
        caller.note("a text has no probabilities: the calibration is about two images")
