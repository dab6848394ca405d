"""The table of a sweep as CSV, Markdown and LaTeX, and its plot."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from eml.files import whole_file, write_text
from eml.reports import own_plots

MADE_BY = "eml sweep"
Cells = Sequence[str | int | float | None]
_LATEX = str.maketrans(
    {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "±": "$\\pm$", "−": "$-$", "–": "--", "→": "$\\to$"}
)


def refuse_plot(path: Path, *, overwrite: bool) -> None:
    """Check before the work that the plot can be written; OutputError if not."""
    own_plots.refuse_plot(path, MADE_BY, "plot", overwrite=overwrite)


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Cells]) -> Path:
    """Write the table as CSV and return the path."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    write_text(path, buffer.getvalue())
    return path


def write_markdown(path: Path, columns: Sequence[str], rows: Sequence[Cells]) -> Path:
    """Write the table as Markdown and return the path."""
    cells = [[_text(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    write_text(path, "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    return path


def write_latex(path: Path, columns: Sequence[str], rows: Sequence[Cells]) -> Path:
    """Write the table as a LaTeX tabular with the rules of booktabs and return the path."""
    lines = [[_text(cell).replace("\\", "").translate(_LATEX) for cell in row] for row in (columns, *rows)]
    first, *rest = [" & ".join(line) + r" \\" for line in lines]
    form = "l" + "r" * (len(columns) - 1)
    body = "\n".join([rf"\begin{{tabular}}{{{form}}}", r"\toprule", first, r"\midrule", *rest])
    write_text(path, f"% needs \\usepackage{{booktabs}}\n{body}\n\\bottomrule\n\\end{{tabular}}\n")
    return path


def _text(cell: object) -> str:
    return "" if cell is None else str(cell)


def draw_sweep(
    path: Path,
    metric: str,
    question: str,
    settings: Sequence[tuple[str, Sequence[float]]],
    before: Sequence[float],
) -> Path:
    """Draw each setting's runs as points with mean and standard deviation; a line where the untrained network stands.

    Args:
        path: The PNG.
        metric: Its name on the axis.
        question: What was measured.
        settings: Name and values of each setting's runs, in the order of the table.
        before: Of the untrained network in each run.
    """
    import numpy as np
    from matplotlib.figure import Figure

    names = [name for name, _ in settings]
    longest = max(map(len, names), default=0)
    figure = Figure(figsize=(7 + 0.06 * longest, 1.4 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    for place, (_, values) in enumerate(settings):
        if not values:
            continue
        axes.plot(values, [place] * len(values), "o", color="#56b4e9", markersize=5, alpha=0.7, zorder=2)
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        axes.errorbar(
            float(np.mean(values)),
            place,
            xerr=spread or None,
            fmt="D",
            color="#222222",
            markersize=5,
            capsize=4,
            zorder=3,
        )
    if before:
        axes.axvline(float(np.mean(before)), color="#999999", linewidth=1, linestyle=":", zorder=1)
        axes.text(
            float(np.mean(before)), -0.7, "before training ", color="#777777", fontsize=8, ha="right", va="center"
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -1.0)
    axes.set_xlabel(f"{metric} on {question}: runs, mean and standard deviation")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata=own_plots.signature(MADE_BY))
    return path
