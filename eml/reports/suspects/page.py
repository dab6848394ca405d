"""The page of probable label errors: one HTML file."""

import shlex
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eml.dataset.sidecar import write_sidecar
from eml.files import whole_file
from eml.images.thumbnails import LARGE, Thumbnail, thumbnails
from eml.progress import Progress
from eml.reports.rendering import dataset_title, render_page
from eml.retrieval.label_errors import Suspects, describe_neighbours

HERE = Path(__file__).parent
BESIDE = 3  # images of each of the two labels
PAIRS, PART = 12, 4  # classes shown; images of a class, or of its part
AMBIGUOUS = 24


@dataclass(frozen=True)
class Strip:
    """Images of one label; `rows` are positions in the embeddings."""

    label: str
    rows: list[int]


@dataclass(frozen=True)
class Suspect:
    """An image with images of its own label and of the suggested one."""

    row: int
    score: float
    reason: str
    own: Strip
    suggested: Strip


@dataclass(frozen=True)
class ClassPair:
    """Two classes to look at, and images of them: of both, or of two parts of the first and of the second."""

    finding: str
    strips: list[Strip]


@dataclass(frozen=True)
class SuspectsPage:
    """The content of the page."""

    wrong: list[Suspect]
    pairs: list[ClassPair]
    ambiguous: list[int]
    """All ambiguous rows, in order; the page shows the first."""

    def rows(self) -> list[int]:
        """Return the rows of all images that the page shows."""
        strips = [strip for suspect in self.wrong for strip in (suspect.own, suspect.suggested)]
        strips += [strip for pair in self.pairs for strip in pair.strips]
        shown = [suspect.row for suspect in self.wrong] + self.ambiguous[:AMBIGUOUS]
        return shown + [row for strip in strips for row in strip.rows]


def write_page(
    suspects: Suspects,
    root: Path,
    path: Path,
    *,
    top: int,
    command: str,
    filter_command: str,
    table: Path,
    caution: str = "",
    progress: Progress | None = None,
) -> None:
    """Write the page and its sidecar. Reads the images that the page shows.

    Args:
        suspects: The label errors to show.
        root: The folder of the images.
        path: The HTML file to write.
        top: How many probable label errors to show, each with six other images: about 100 kB.
        command: The command line that the sidecar records.
        filter_command: The command that a list to exclude is given to.
        table: suspects.csv, which the page's command names.
        caution: What to know of the network that judges; nothing is shown where it is empty.
        progress: Reports the progress of the thumbnails.
    """
    outliers = suspects.outliers.tolist()
    page = SuspectsPage(
        wrong=[_suspect(suspects, int(row)) for row in suspects.wrong[:top]],
        pairs=[*_indistinguishable_pairs(suspects), *_mixed_classes(suspects)],
        ambiguous=[*outliers, *(row for row in suspects.between.tolist() if row not in set(outliers))],
    )
    file_names = suspects.images.file_names
    names = sorted({str(file_names[row]) for row in page.rows()})
    with progress("thumbnails", len(names)) if progress and names else nullcontext() as advance:
        images = thumbnails(root, names, advance, LARGE)
    html = _render(suspects, page, root, images, caution, (filter_command, str(table.absolute())))
    with whole_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
        write_sidecar(path, temporary, command=command, root=root, inputs=[], notes=None)


def _render(
    suspects: Suspects,
    page: SuspectsPage,
    root: Path,
    images: dict[str, Thumbnail],
    caution: str,
    commands: tuple[str, str],
) -> str:
    def suggested(row: int) -> str | None:
        label = suspects.errors.suggested[row]
        return str(suspects.names[label]) if label >= 0 else None

    return render_page(
        HERE,
        title=dataset_title(root),
        wrong=page.wrong,
        wrong_count=len(suspects.wrong),
        min_score=suspects.min_score,
        one_class_count=len(suspects.same),
        mixed_count=len(suspects.mixed),
        unjudged=suspects.unjudged,
        pairs=page.pairs,
        more_pairs=len(suspects.same) + len(suspects.mixed) - len(page.pairs),
        between=page.ambiguous[:AMBIGUOUS],
        ambiguous=len(page.ambiguous),
        names=suspects.images.file_names.tolist(),
        labels=suspects.images.labels.tolist(),
        suggested=suggested,
        scores=[f"{score:.4f}" for score in suspects.errors.score],
        filter_command=commands[0],
        suspects_table=shlex.quote(commands[1]),
        outliers=set(suspects.outliers.tolist()),
        thumbnails=images,
        caution=caution,
    )


def _suspect(suspects: Suspects, row: int) -> Suspect:
    own, suggested = int(suspects.votes.labels[row]), int(suspects.errors.suggested[row])
    own_rows, suggested_rows = (suspects.beside(row, label, BESIDE).tolist() for label in (own, suggested))
    return Suspect(
        row=row,
        score=float(suspects.errors.score[row]),
        reason=describe_neighbours(suspects, row),
        own=Strip(str(suspects.names[own]), own_rows),
        suggested=Strip(str(suspects.names[suggested]), suggested_rows),
    )


def _indistinguishable_pairs(suspects: Suspects) -> list[ClassPair]:
    pairs = []
    for pair in suspects.same[:PAIRS]:
        labels = (pair.label, pair.other_label)
        strips = [Strip(str(suspects.names[label]), _members(suspects, label)[:PART]) for label in labels]
        finding = f"indistinguishable: mixed {100 * pair.mixing:.0f} % as much as by chance"
        pairs.append(ClassPair(finding, strips))
    return pairs


def _mixed_classes(suspects: Suspects) -> list[ClassPair]:
    pairs = []
    for mixed in suspects.mixed[:PAIRS]:
        rest = [row for row in _members(suspects, mixed.label) if row not in set(mixed.rows.tolist())]
        first = int(mixed.rows[0])
        label, second = suspects.names[mixed.label], suspects.names[mixed.other_label]
        strips = [
            Strip(f"{label}: this part", mixed.rows[:PART].tolist()),
            *([Strip(f"{label}: the rest", rest[:PART])] if rest else []),
            Strip(str(second), suspects.beside(first, mixed.other_label, PART).tolist()),
        ]
        size = len(rest) + len(mixed.rows)
        finding = f"{len(mixed.rows)} of {size} images of {label} are nearer to {second} than to the rest of {label}"
        if not rest:
            finding = f"all {size} images of {label} are near {second}"
        pairs.append(ClassPair(finding, strips))
    return pairs


def _members(suspects: Suspects, label: int) -> list[int]:
    return np.flatnonzero(suspects.votes.labels == label).tolist()
