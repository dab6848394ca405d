"""The page: one HTML file that needs nothing else. Whatever the template prints is escaped by Jinja."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eml.dataset.sidecar import write_sidecar
from eml.files import whole_file
from eml.progress import Progress
from eml.reports.data.page import title
from eml.reports.rendering import render_page
from eml.reports.thumbnails import Thumbnail, thumbnails
from eml.retrieval.label_errors import Suspects, describe_neighbours

HERE = Path(__file__).parent
BESIDE = 3  # images of each of the two labels
PAIRS, PART = 12, 4  # classes shown; images of a class, or of its part
AMBIGUOUS = 24
SIDE = 112  # pixels of a thumbnail: seven are in a row


@dataclass(frozen=True)
class Strip:
    """Images of one label. rows: of the embeddings."""

    label: str
    rows: list[int]


@dataclass(frozen=True)
class Suspect:
    """An image between those of its own label and of the suggested one."""

    row: int
    score: float
    told: str
    own: Strip
    suggested: Strip


@dataclass(frozen=True)
class ClassPair:
    """Strips of two labels; of a label of which a part is nearer to another, of the rest of it between the two."""

    told: str
    strips: list[Strip]


def write_page(
    found: Suspects, root: Path, path: Path, *, top: int, command: str, progress: Progress | None = None
) -> None:
    """Writes the page whole, its sidecar beside it. Reads the images that it shows, under root.

    top: probable label errors shown, each with six others: about 25 kB.
    """
    wrong = [_suspect(found, int(row)) for row in found.wrong[:top]]
    outside = found.outliers.tolist()
    between = [*outside, *(row for row in found.between.tolist() if row not in set(outside))]
    pairs = [*_one_classes(found), *_mixed_classes(found)]
    shown = [row for each in wrong for row in (each.row, *each.own.rows, *each.suggested.rows)]
    shown += [row for pair in pairs for strip in pair.strips for row in strip.rows] + between[:AMBIGUOUS]
    names = found.images.file_names
    wanted = sorted({str(names[row]) for row in shown})
    with progress("thumbnails", len(wanted)) if progress and wanted else nullcontext() as advance:
        small = thumbnails(root, wanted, advance, SIDE)
    html = _render(found, root, wrong, pairs, between, small)
    with whole_file(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
        write_sidecar(path, temporary, command=command, root=root, inputs=[], notes=None)


def _render(
    found: Suspects,
    root: Path,
    wrong: list[Suspect],
    pairs: list[ClassPair],
    between: list[int],
    small: dict[str, Thumbnail],
) -> str:
    return render_page(
        HERE,
        found=found,
        title=title(root),
        wrong=wrong,
        pairs=pairs,
        more_pairs=len(found.same) + len(found.mixed) - len(pairs),
        between=between[:AMBIGUOUS],
        ambiguous=len(between),
        names=found.images.file_names.tolist(),
        labels=found.images.labels.tolist(),
        told=lambda row: describe_neighbours(found, row),
        suggested=lambda row: found.names[found.errors.suggested[row]] if found.errors.suggested[row] >= 0 else None,
        outliers=set(found.outliers.tolist()),
        thumbnails=small,
    )


def _suspect(found: Suspects, row: int) -> Suspect:
    own, suggested = int(found.votes.labels[row]), int(found.errors.suggested[row])
    own_rows, suggested_rows = (found.beside(row, label, BESIDE).tolist() for label in (own, suggested))
    return Suspect(
        row=row,
        score=float(found.errors.score[row]),
        told=describe_neighbours(found, row),
        own=Strip(str(found.names[own]), own_rows),
        suggested=Strip(str(found.names[suggested]), suggested_rows),
    )


def _one_classes(found: Suspects) -> list[ClassPair]:
    made = []
    for pair in found.same[:PAIRS]:
        labels = (pair.label, pair.other_label)
        strips = [Strip(str(found.names[label]), _members(found, label)[:PART]) for label in labels]
        text = f"cannot be told apart: mixed {100 * pair.mixing:.0f} % as much as by chance"
        made.append(ClassPair(text, strips))
    return made


def _mixed_classes(found: Suspects) -> list[ClassPair]:
    made = []
    for mixed in found.mixed[:PAIRS]:
        rest = [row for row in _members(found, mixed.label) if row not in set(mixed.rows.tolist())]
        first = int(mixed.rows[0])
        label, other = found.names[mixed.label], found.names[mixed.other_label]
        strips = [
            Strip(f"{label}: this part", mixed.rows[:PART].tolist()),
            Strip(f"{label}: the rest", rest[:PART]),
            Strip(str(other), found.beside(first, mixed.other_label, PART).tolist()),
        ]
        text = f"{len(mixed.rows)} of {len(rest) + len(mixed.rows)} {label} are nearer to {other} than to the rest"
        made.append(ClassPair(text, strips))
    return made


def _members(found: Suspects, label: int) -> list[int]:
    return np.flatnonzero(found.votes.labels == label).tolist()
