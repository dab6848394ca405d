"""`eml search`: the images of an index that are most similar to a query."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, PathField, SummaryTable, command
from eml.commands.indexing import (
    EngineChoice,
    ImagesRoot,
    IndexFolder,
    IndexModel,
    Where,
    batching_of,
    listed_images,
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
    StripPrefix,
    Workers,
)

if TYPE_CHECKING:
    from eml.indexing.answers import SearchAnswers

NOT_CALIBRATED = (
    "the index has no calibration, so there are no probabilities. Calibrate its checkpoint (eml calibrate), then take "
    "that over (eml index calibrate)"
)


class SearchConfig(CommandConfig):
    """Show the images of an index that are most similar to each query.

    With the cosine, and where the index is calibrated the probability that both show the same class. Exact by default:
    the same neighbours in the same order as eml evaluate finds. An image of the index finds itself first.
    """

    index: IndexFolder
    images: Images
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
    model: IndexModel = None
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
    from eml.indexing.index import Index
    from eml.indexing.queries import embed_list
    from eml.indexing.searching import condition_of, find_neighbours
    from eml.reports.search import write_search_page

    replaced = [] if config.csv is None else check_outputs([config.csv], overwrite=config.overwrite)
    if config.html is not None:
        refuse_page(config.html)
        replaced += [config.html] if config.html.exists() else []
    with Index.open(config.index, model=config.model, device=config.device) as index:
        condition_of(index.store, config.where)
        images = listed_images(config, config.images, caller)
        queries = embed_list(index.model, images, batching_of(config, caller), progress=caller.progress)
        queries.refuse_none()
        answers = find_neighbours(
            index.store,
            queries,
            config.k,
            per_class=config.per_class,
            where=config.where,
            engine=config.engine,
            calibration=index.calibration,
            query_expansion=config.query_expansion,
        )
        has_calibration, size = index.calibration is not None, len(index)
    calibrated = has_calibration and config.query_expansion is None
    if not has_calibration:
        caller.warn(NOT_CALIBRATED)
    elif not calibrated:
        caller.note("with `query_expansion` there are no probabilities: the calibration is about plain cosines")
    line = caller.command or "eml search"
    written = []
    if config.csv is not None:
        write_tables({config.csv: answers.to_pandas()}, command=line, root=images.root, overwrite=config.overwrite)
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
