"""The page of a proof: one HTML file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eml.dataset.columns import BOX
from eml.evaluation.outputs import refuse_page
from eml.exporting.proof.agreement import Agreement
from eml.exporting.proof.checks import cosine, proof_checks
from eml.exporting.proof.images import ProofImages
from eml.exporting.proof.prove import ProofRun
from eml.files import whole_file
from eml.images.thumbnails import Thumbnail, thumbnail
from eml.progress import Progress, no_progress
from eml.reports.rendering import render_page

HERE = Path(__file__).parent
SIDE = 200  # pixels of the longer side of a thumbnail
MOST_MOVED, MOST_CHANGED = 8, 12
LEAST_DECADE, MOST_DECADE = -8, 0


@dataclass(frozen=True)
class ChangedAnswer:
    """A query whose nearest image is another one with the exported model; rows of the images."""

    query: int
    before: int
    after: int
    verdict: str


@dataclass(frozen=True)
class DecadeCount:
    """The number of images that move by less than a power of ten, and by no less than the one below."""

    text: str
    images: int


def write_proof_page(
    proved: ProofRun,
    path: Path,
    *,
    model: Path,
    summary: str,
    calibration: str = "",
    command: str = "",
    progress: Progress = no_progress,
) -> None:
    """Write the page. Reads the images that it shows; only a page that eml wrote is replaced.

    Args:
        proved: The proof.
        path: The HTML file to write.
        model: The exported file, as it is named.
        summary: The exported file in a sentence.
        calibration: What became of the calibration, in a sentence; empty: nothing is said.
        command: The command line that exported it.
        progress: Shows the images that are read.

    Raises:
        OutputError: The file is not a page that eml wrote, or it cannot be written.
    """
    refuse_page(path)
    agreement, images = proved.agreement, proved.images
    moved = [] if agreement is None else moved_most(agreement)
    changed = [] if agreement is None else changed_answers(agreement, images)
    rows = [*moved, *(row for answer in changed for row in (answer.query, answer.before, answer.after))]
    html = render_page(
        HERE,
        filters={"cosine": cosine, "distance": length},
        model=model.name,
        proof=proved.proof,
        summary=summary,
        checks=proof_checks(proved.proof),
        decades=[] if agreement is None else count_decades(agreement),
        agreement=agreement,
        moved=moved,
        changed=changed[:MOST_CHANGED],
        changed_count=len(changed),
        names=images.frame["file_name"].tolist(),
        labels=images.frame["label"].tolist(),
        small=_thumbnails(images, rows[: MOST_MOVED + 3 * MOST_CHANGED], progress),
        calibration=calibration,
        command=command,
    )
    with whole_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def moved_most(agreement: Agreement, count: int = MOST_MOVED) -> list[int]:
    """Return the rows of the images whose embedding moves most, the first one most."""
    order: list[int] = np.argsort(-agreement.difference, kind="stable").tolist()
    return order[:count]


def changed_answers(agreement: Agreement, images: ProofImages) -> list[ChangedAnswer]:
    """Return the queries whose nearest image is another one, those that became wrong first."""
    labels = images.frame["label"].to_numpy(str)
    before, after = (summary.answers.nearest for summary in agreement.summaries)
    order = {"became wrong": 0, "became right": 1, "wrong with both": 2, "right with both": 3}
    words = {(True, False): "became wrong", (False, True): "became right", (False, False): "wrong with both"}
    answers = []
    for row in np.flatnonzero(before != after).tolist():
        was, now = int(before[row]), int(after[row])
        right = (bool(labels[was] == labels[row]), bool(labels[now] == labels[row]))
        answers.append(ChangedAnswer(row, was, now, words.get(right, "right with both")))
    return sorted(answers, key=lambda answer: order[answer.verdict])


def count_decades(agreement: Agreement) -> list[DecadeCount]:
    """Return how many images move by how much, by powers of ten."""
    with np.errstate(divide="ignore"):
        decades = np.floor(np.log10(agreement.difference))
    decades = np.clip(decades, LEAST_DECADE - 1, MOST_DECADE).astype(np.int64)
    return list(_decades(decades.tolist()))


def _decades(decades: Sequence[int]) -> Iterator[DecadeCount]:
    for decade in range(max(decades), min(decades) - 1, -1):
        if decade < LEAST_DECADE:
            text = f"below {length(10.0**LEAST_DECADE)}"
        elif decade == MOST_DECADE:
            text = "1 and more"
        else:
            text = f"{length(10.0**decade)} to {length(10.0 ** (decade + 1))}"
        yield DecadeCount(text, decades.count(decade))


def length(value: float) -> str:
    """Format the length of a difference: `0.032`, `3e-06`."""
    return f"{value:.2g}" if value >= 1e-3 else f"{value:.0e}"


def _thumbnails(images: ProofImages, rows: Sequence[int], progress: Progress) -> dict[int, Thumbnail]:
    frame, small = images.frame, {}
    has_boxes = set(BOX) <= set(frame.columns)
    unique = list(dict.fromkeys(rows))
    with progress("thumbnails", len(unique)) as advance:
        for row in unique:
            values = frame.iloc[row][list(BOX)] if has_boxes else None
            box = None if values is None or values.isna().any() else tuple(int(value) for value in values)
            small[row] = thumbnail(images.table.root, str(frame["file_name"].iloc[row]), box, SIDE)  # type: ignore[arg-type]
            advance(1)
    return small
