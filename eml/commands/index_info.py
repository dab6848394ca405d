"""`eml index info`: what an index holds, its model and calibration, and how well its engines do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, ImagePaths, SummaryTable, command
from eml.commands.indexing import IndexFolder, QueryModel, batching_of, tell_of_model
from eml.commands.options import BatchSize, Device, Workers

if TYPE_CHECKING:
    from eml.indexing.facts import IndexFacts
    from eml.indexing.index import Index
    from eml.indexing.measure import EngineMeasure
    from eml.retrieval.answers.drift import Drift


class IndexInfoConfig(CommandConfig):
    """Say what an index holds: images, classes, columns, model, calibration, sizes.

    `measure` compares the engines with exact search on the index's own embeddings: recall@10 and milliseconds per
    query, and what float16 storage would cost. `drift` compares new images with those of the calibration, and says
    when to calibrate again.
    """

    index: IndexFolder
    measure: bool = Field(False, description="Measure the search engines that are installed.")
    drift: ImagePaths = Field(
        (), description="Images (a folder, a table, files) to compare with the calibration. Repeatable."
    )
    model: QueryModel = None
    batch_size: BatchSize = 64
    workers: Workers = 0
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class IndexInfoResult(CommandResult):
    """The facts about an index.

    Attributes:
        facts: What it holds.
        engines: What was measured of each engine; None where nothing was.
        float16_recall: The recall@10 of float16 storage; None where it was not measured, or the index has it.
        drift: The comparison of new images with those of the calibration; None where there was none.
    """

    facts: IndexFacts
    engines: tuple[EngineMeasure, ...] | None = None
    float16_recall: float | None = None
    drift: Drift | None = None

    def summary(self) -> str:
        """Return images and classes."""
        return f"{self.facts.images:,} images of {self.facts.classes:,} classes in {self.facts.folder}"

    def summary_table(self) -> SummaryTable:
        """Return a line for each fact."""
        rows: list[list[Cell]] = [[name, value] for name, value in self.facts.lines()]
        return ["", ""], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the facts."""
        engines = None if self.engines is None else [asdict(engine) for engine in self.engines]
        drift = None if self.drift is None else asdict(self.drift) | {"is_large": self.drift.is_large}
        measured = {"engines": engines, "float16_recall": self.float16_recall, "drift": drift}
        return self.facts.to_dict() | measured


@command(IndexInfoConfig, arguments=("index",), name="index info")
def index_info(config: IndexInfoConfig, caller: Caller) -> IndexInfoResult:
    """Gather the facts."""
    from eml.indexing.facts import gather_facts
    from eml.indexing.index import Index
    from eml.indexing.measure import measure_engines, measure_float16

    with Index.open(config.index, model=config.model, device=config.device) as index:
        return IndexInfoResult(
            facts=replace(gather_facts(index.store), folder=str(config.index)),
            engines=tuple(measure_engines(index.store)) if config.measure else None,
            float16_recall=measure_float16(index.store) if config.measure else None,
            drift=_drift(config, index, caller) if config.drift else None,
        )


def _drift(config: IndexInfoConfig, index: Index, caller: Caller) -> Drift:
    """Compare images with those of the calibration."""
    from eml.errors import DataError
    from eml.indexing.queries import embed_list
    from eml.inference.image_list import list_images
    from eml.retrieval.answers.drift import measure_drift

    if (calibration := index.calibration) is None:
        text = f"{config.index}: has no calibration to compare with: eml calibrate and eml index calibrate give it one"
        raise DataError(text, code="not-calibrated", parameter="drift")
    images = list_images(config.drift, report=caller.note)
    queries = embed_list(index.model, images, batching_of(config, caller), progress=caller.progress)
    tell_of_model(index, caller)
    return measure_drift(calibration, index.classifier().answer(queries.embeddings))
