"""What the page shows of a report, and how it says it."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from eml.reports.charts import bar_chart, curve
from eml.reports.data.facts import DataReport
from eml.reports.data.near import Clash, Group
from eml.reports.rendering import render_page, share
from eml.reports.thumbnails import Thumbnail

HERE = Path(__file__).parent
GROUPS, MEMBERS, CLASHES = 24, 7, 48  # shown; the others are counted. 24 × 8 + 48 × 2 thumbnails are about 2 MB

REASONS = {
    "truncated": "The file ends before the image does: an interrupted copy or download. Fetch it again.",
    "not_an_image": "The bytes are of no known image format, whatever the name says.",
    "unsupported": "A format that is not read, such as HEIC, SVG or PDF. Convert it to PNG or JPEG.",
    "unreadable": "The data are broken, or the file may not be read.",
    "too_large": "More pixels or bytes than are decoded; a decompression bomb, or an image to be scaled down.",
    "empty": "0 bytes.",
    "missing": "A link to nothing, or a file that went away while it was read.",
    "not_in_a_class": "The file lies beside the class folders, so it has no class.",
    "outside_dataset": "A link that leads out of the dataset; such links are not followed.",
    "linked_folder": "A link to a folder that is read in its own place.",
    "unusable_name": "The name is not valid UTF-8, or reads like a path out of the dataset.",
}
VAGUE = {"pictures", "image", "img", "imgs", "data", "dataset", "images", "photos", "train", "test"}
STATES = {
    "current": "current",
    "stale": "out of date",
    "edited": "edited since",
    "foreign": "not by eml",
}


def shown_groups(report: DataReport) -> list[Group]:
    """The groups that the page shows, the largest."""
    return report.near.groups[:GROUPS] if report.near else []


def shown_clashes(report: DataReport) -> list[Clash]:
    """The conflicts that the page shows, the surest."""
    return report.near.clashes[:CLASHES] if report.near else []


def shown_names(report: DataReport) -> list[str]:
    """The file names of the images that the page shows."""
    rows = [row for clash in shown_clashes(report) for row in clash.rows]
    for group in shown_groups(report):
        rows += [group.kept, *(member.row for member in group.others[:MEMBERS])]
    return sorted(set(report.table.frame["file_name"].iloc[rows]))


def render(report: DataReport, thumbnails: dict[str, Thumbnail]) -> str:
    """The page's HTML."""
    facts = report.facts
    names = report.table.frame["file_name"].tolist()
    return render_page(
        HERE,
        filters={"megabytes": _megabytes, "expected": _expected},
        facts=facts,
        near=report.near,
        name=title(report.table.root),
        charts=_charts(facts),
        groups=shown_groups(report),
        clashes=shown_clashes(report),
        members=MEMBERS,
        names=names,
        thumbnails=thumbnails,
        reasons=REASONS,
        states=STATES,
    )


def _charts(facts: dict[str, Any]) -> dict[str, Markup]:
    sizes, sides = facts["class_sizes"], facts["sizes"]
    tenth = sizes["largest_tenth"]
    charts = {
        "classes": bar_chart(
            sizes["histogram"],
            horizontal="images in the class",
            vertical="classes",
            label="How large the classes are",
        ),
        "tail": curve(
            sizes["cumulative"],
            (tenth["classes"] / facts["classes"], tenth["share"], share(tenth["share"])),
            label="Share of the images in the largest classes",
            even="dashed: all classes equal",
        ),
    }
    for side in ("short_side", "long_side") if sides else ():
        charts[side] = bar_chart(
            sides[side]["histogram"],
            horizontal=f"{'shorter' if side == 'short_side' else 'longer'} side (px)",
            vertical="images",
            label=f"Images by their {'shorter' if side == 'short_side' else 'longer'} side in pixels",
        )
    return charts


def title(root: Path) -> str:
    """The folder's name, with the one above where it says little."""
    parts = root.resolve().parts
    return "/".join(parts[-2:] if parts[-1].lower() in VAGUE else parts[-1:])


def _expected(pairs: float) -> str:
    """An expected count: whole when large, with the digits that count when small."""
    return f"{pairs:,.0f}" if pairs >= 9.5 else f"{pairs:.1f}" if pairs >= 0.1 else "less than 0.1"


def _megabytes(value: int) -> str:
    return f"{value / 1e9:,.1f} GB" if value >= 1e10 else f"{value / 1e6:,.1f} MB"
