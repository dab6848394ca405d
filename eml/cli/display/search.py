"""`eml search` in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.cli.adapter import Terminal
from eml.commands.search import SearchResult, search

if TYPE_CHECKING:
    from eml.indexing.answers import QueryAnswer


def show(result: SearchResult) -> None:
    """Print a table for each query, with thumbnails where the terminal shows images."""
    from eml.cli.display import console
    from eml.cli.display.terminal_images import image_rows

    for answer in result.answers:
        if answer.problem:
            console.warn(f"{answer.query}: {answer.problem}")
            continue
        if result.thumbnails:
            query = [] if answer.is_text else [answer.place]
            image_rows([*query, *(image.place for image in answer)], has_query=bool(query))
        console.table(answer.query, *_table(answer, calibrated=result.calibrated and not answer.is_text))


def _table(answer: QueryAnswer, *, calibrated: bool) -> tuple[list[str], list[list[str | int | None]]]:
    columns = ["", "label", *(["same class"] if calibrated else []), "cosine", "image"]
    rows: list[list[str | int | None]] = []
    for image in answer:
        probability = [] if image.probability is None else [f"{image.probability:.3f}"]
        rows.append([image.rank, image.label, *probability, f"{image.cosine:.4f}", image.file_name])
    return columns, rows


terminal = Terminal(search, show, metavars={"where": "CONDITION", "csv": "FILE", "html": "FILE", "model": "CHECKPOINT"})
