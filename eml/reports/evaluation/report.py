"""An evaluation → report.html."""

from contextlib import nullcontext
from pathlib import Path

from eml.evaluation.analysis import EvaluationAnalysis
from eml.evaluation.outputs import refuse_page
from eml.files import whole_file
from eml.progress import Progress
from eml.reports.evaluation.page import SMALL, choose_contents, load_thumbnails, render
from eml.reports.evaluation.projections import ProjectionName


def write_report(
    analysis: EvaluationAnalysis,
    path: Path,
    *,
    command: str,
    projection: ProjectionName = "pca",
    progress: Progress | None = None,
) -> None:
    """Write the report of an evaluation, whole or not at all.

    Only the images that it shows are read. One that cannot be read is shown as such.

    Args:
        analysis: The evaluation, with its embeddings. What was not computed is not shown.
        path: The file to write. Only a page that eml wrote is replaced.
        command: The command that reproduces the evaluation.
        projection: How the map of the embeddings is made: pca, tsne or umap.
        progress: Reports the images that are read.

    Raises:
        OutputError: The file is not a page that eml wrote, or it cannot be written.
    """
    refuse_page(path)
    contents = choose_contents(analysis, projection)
    rows, small_rows = contents.rows(), contents.small_rows()
    with progress("thumbnails", len(rows) + len(small_rows)) if progress else nullcontext() as advance:
        large = load_thumbnails(analysis.evaluation, rows, progress=advance)
        small = load_thumbnails(analysis.evaluation, small_rows, SMALL, progress=advance)
    text = render(analysis, contents, large, small, command=command)
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
