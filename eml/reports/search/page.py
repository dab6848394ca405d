"""The page of a search: one HTML file."""

from pathlib import Path

from eml.evaluation.outputs import refuse_page
from eml.files import whole_file
from eml.indexing.answers import SearchAnswers
from eml.indexing.notebook import percent
from eml.progress import Progress
from eml.reports.answer_thumbnails import place_thumbnails
from eml.reports.rendering import render_page

HERE = Path(__file__).parent
MOST = 500  # queries on a page


def write_search_page(
    answers: SearchAnswers,
    path: Path,
    *,
    index: Path,
    images: int,
    calibrated: bool,
    condition: str | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> None:
    """Write the page; only a page that eml wrote is replaced.

    Args:
        answers: The queries with their neighbours; the first 500 are shown.
        path: The HTML file to write.
        index: The index's folder.
        images: The number of its images.
        calibrated: Whether the probabilities are known.
        condition: The condition on the images that are searched.
        command: The command that writes the page again.
        progress: Shows the images that are read.

    Raises:
        OutputError: The file is not a page that eml wrote, or it cannot be written.
    """
    refuse_page(path)
    shown = answers.queries[:MOST]
    places = [answer.place for answer in shown] + [image.place for answer in shown for image in answer]
    html = render_page(
        HERE,
        filters={"percent": percent},
        title=index.absolute().name,
        queries=shown,
        all_queries=len(answers),
        images=images,
        calibrated=calibrated,
        has_images=any(not answer.is_text for answer in answers),
        condition=condition,
        command=command,
        small=place_thumbnails(places, progress),
    )
    with whole_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
