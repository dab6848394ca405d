"""`eml probe` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.probe import ProbeResult, probe


def show(result: ProbeResult) -> None:
    """Print a row for each network, how the figures were got, and the pick."""
    from eml.cli.display import console

    columns, rows = result.summary_table()
    measured = [cells for cells, row in zip(rows, result.rows, strict=True) if row.measured]
    console.table(f"{result.images:,} images of {result.classes:,} classes", columns, measured)
    for row in result.rows:
        if row.measured is None:
            console.warn(f"{row.candidate.name}: {row.problem}")
    figures = next(row.measured for row in result.rows if row.measured)
    if result.folds is None:
        console.warn("too few classes to learn the linear stage on some and judge on others: ranked untouched")
    else:
        console.show(
            f"MAP@R of each image among the classes of its fold, {result.folds} folds of whole classes; linear stage: "
            "within-class whitening learnt on the classes of the other folds. In parentheses: 95 % intervals over "
            "classes."
        )
    threads = "1 thread" if figures.speed.threads == 1 else f"{figures.speed.threads} threads"
    console.show(
        f"ms: for an image, in batches of {figures.speed.batch_size} on {figures.speed.device}, {threads}, without "
        "reading it."
    )
    interval = figures.interval(figures.judged)
    if interval.few:
        classes = console.count(interval.classes, "class", "classes")
        console.warn(f"only {classes} judge, so the intervals are rough: take the ranking as a hint")
    for row in result.rows:
        if row.measured and row.measured.trained_on.is_overlap:
            share = row.measured.trained_on.share()
            console.warn(f"{row.candidate.name}: {share}, which favours it here; the others saw none")
    if result.pick:
        console.show(f"pick: {result.pick.reason}")
    else:
        console.warn("all of these have random weights: there is none to take")


terminal = Terminal(
    probe,
    show,
    metavars={
        "class_level": "N|last",
        "backbones": "NAME[=FILE]",
        "cache": "FOLDER",
        "out": "FILE",
        "image_size": "PIXELS",
    },
)
