"""The page of a data report: one HTML file."""

from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path

from markupsafe import Markup

from eml.dataset.sidecar import write_sidecar
from eml.dataset.table import check_outputs
from eml.files import whole_file
from eml.images.thumbnails import LARGE, Thumbnail, thumbnails
from eml.progress import Progress
from eml.reports.charts import bar_chart, curve
from eml.reports.data.class_sheet import OPEN, ClassSheet, choose_sheet
from eml.reports.data.facts import DataFacts
from eml.reports.data.look_alikes import Clash, DuplicateGroup
from eml.reports.data.report import DataReport
from eml.reports.rendering import dataset_title, render_page, share

HERE = Path(__file__).parent
GROUPS, MEMBERS, CLASHES = (
    24,
    7,
    48,
)  # shown; the page counts the rest. 24 × 8 + 48 × 2 images of 320 pixels are about 4 MB
SMALL = 128  # side of the contact sheet's images (pixels): 960 of them are about 3 MB

REASONS = {
    "truncated": "The file ends before the image does: an interrupted copy or download. Fetch it again.",
    "not_an_image": "The bytes are not in a known image format, whatever the name says.",
    "unsupported": "eml does not read this format, such as HEIC, SVG or PDF. Convert it to PNG or JPEG.",
    "unreadable": "The data are broken, or you have no permission to read the file.",
    "too_large": "More pixels or bytes than eml decodes: a decompression bomb, or an image to scale down.",
    "empty": "0 bytes.",
    "missing": "The link has no target, or the file disappeared while it was read.",
    "not_in_a_class": "The file lies beside the class folders, so it has no class.",
    "outside_dataset": "The link leads out of the dataset; eml does not follow such links.",
    "linked_folder": "The link leads to a folder that is already part of the dataset.",
    "unusable_name": "The name is not valid UTF-8, or looks like a path out of the dataset.",
}
STATES = {
    "current": "current",
    "stale": "out of date",
    "edited": "edited since",
    "foreign": "not by eml",
}


def write_page(
    report: DataReport, path: Path, *, command: str, overwrite: bool = False, progress: Progress | None = None
) -> list[Path]:
    """Write the page and its sidecar. Reads the images that the page shows.

    Args:
        report: The report to show.
        path: The HTML file to write.
        command: The command line that the sidecar records.
        overwrite: Allow `path` to be any existing file.
        progress: Reports the progress of the thumbnails.

    Returns:
        [path] if it replaced an older page, else [].

    Raises:
        OutputError: By the rules of `check_outputs`.
    """
    table = report.table
    inputs: Collection[Path] = table.inputs or ([table.path] if table.path and table.path.is_file() else [])
    replaced = check_outputs([path], inputs=inputs, overwrite=overwrite)
    names, sheet = shown_names(report), choose_sheet(table.known.frame)
    small_names = sorted(set(sheet.names()))
    with progress("thumbnails", len(names) + len(small_names)) if progress else nullcontext() as advance:
        images = thumbnails(table.root, names, advance, LARGE)
        small = thumbnails(table.root, small_names, advance, SMALL)
    with whole_file(path) as temporary:
        temporary.write_text(render(report, images, sheet, small), encoding="utf-8")
        write_sidecar(path, temporary, command=command, root=table.root, inputs=inputs, notes=None)
    return replaced


def shown_groups(report: DataReport) -> list[DuplicateGroup]:
    """Return the largest groups, which the page shows."""
    return report.look_alikes.groups[:GROUPS] if report.look_alikes else []


def shown_clashes(report: DataReport) -> list[Clash]:
    """Return the surest label conflicts, which the page shows."""
    return report.look_alikes.clashes[:CLASHES] if report.look_alikes else []


def shown_names(report: DataReport) -> list[str]:
    """Return the file names of the look-alikes that the page shows."""
    rows = [row for clash in shown_clashes(report) for row in clash.rows]
    for group in shown_groups(report):
        rows += [group.kept, *(duplicate.row for duplicate in group.duplicates[:MEMBERS])]
    return sorted(set(report.table.frame["file_name"].iloc[rows]))


def render(
    report: DataReport, images: dict[str, Thumbnail], sheet: ClassSheet, sheet_images: dict[str, Thumbnail]
) -> str:
    """Return the HTML of the page, with thumbnails by file name: of look-alikes, and of the contact sheet."""
    return render_page(
        HERE,
        filters={"megabytes": _megabytes, "expected": _expected},
        facts=report.facts,
        suggestions=report.suggestions,
        name=dataset_title(report.table.root),
        charts=_charts(report.facts),
        groups=shown_groups(report),
        clashes=shown_clashes(report),
        members=MEMBERS,
        names=report.table.frame["file_name"].tolist(),
        thumbnails=images,
        sheet=sheet,
        sheet_images=sheet_images,
        open_classes=OPEN,
        reasons=REASONS,
        states=STATES,
    )


def _charts(facts: DataFacts) -> dict[str, Markup]:
    sizes, sides = facts.class_sizes, facts.sizes
    tenth = sizes.largest_tenth
    charts = {
        "classes": bar_chart(
            sizes.histogram,
            horizontal="images in the class",
            vertical="classes",
            label="Classes by their number of images",
        ),
        "tail": curve(
            sizes.cumulative,
            (tenth.classes / facts.classes, tenth.share, share(tenth.share)),
            label="Share of the images in the largest classes",
            even="dashed: all classes equal",
        ),
    }
    if sides:
        for key, name, lengths in (
            ("short_side", "shorter", sides.short_side),
            ("long_side", "longer", sides.long_side),
        ):
            charts[key] = bar_chart(
                lengths.histogram,
                horizontal=f"{name} side (px)",
                vertical="images",
                label=f"Images by their {name} side in pixels",
            )
    return charts


def _expected(pairs: float) -> str:
    """Format an expected count: whole when large, with one decimal when small."""
    return f"{pairs:,.0f}" if pairs >= 9.5 else f"{pairs:.1f}" if pairs >= 0.1 else "less than 0.1"


def _megabytes(value: int) -> str:
    return f"{value / 1e9:,.1f} GB" if value >= 1e10 else f"{value / 1e6:,.1f} MB"
