"""`eml backbones` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.backbones import BackboneRow, BackbonesResult, backbones
from eml.images.image_size import size_text


def show(result: BackbonesResult) -> None:
    """Print a row for each backbone, where that is too wide two lines, and how many more there are."""
    from eml.cli.display import console

    columns, rows = result.summary_table()
    if console.fits(columns, rows):
        console.table("", columns, rows, plain=True)
        console.say("size: of the images of the weights (pixels); multiple: other sides are multiples of it")
    else:
        for row in result.rows:
            console.show(row.listed.name)
            console.show(f"  {_text(row)}")
    for row in result.rows:
        if row.problem:
            console.warn(f"{row.listed.name}: {row.problem}")
    if result.is_choice:
        console.say("a choice of usual and tested ones; a pattern searches all, such as eml backbones convnext")
    elif result.matching > len(result.rows):
        console.say(f"{result.matching - len(result.rows):,} more: give a narrower pattern, or a larger --limit")
    for line in _measurements(result):
        console.say(line)


def _text(row: BackboneRow) -> str:
    """Return what is known of a backbone in a line."""
    parts = []
    if (facts := row.facts) is not None:
        sizes = {None: "alone", 1: "or any other"}.get(facts.multiple, f"or ×{facts.multiple}")
        parts = [f"{facts.parameters / 1e6:.3g} M", f"{size_text(facts.size)} px {sizes}"]
        parts += [f"{facts.embedding_size:,} features" if facts.embedding_size else "", facts.pooling]
    parts += [row.licence, f"{row.speed.images_per_second:.3g} images/s" if row.speed else ""]
    return ", ".join(filter(None, parts))


def _measurements(result: BackbonesResult) -> list[str]:
    """Return where and when the speeds were measured, a line each."""
    speeds = [row.speed for row in result.rows if row.speed is not None]
    return [
        f"images/s: measured on {machine}, {device}, {threads} thread{'s' if threads > 1 else ''}, {date}"
        for machine, device, threads, date in sorted(
            {(speed.machine, speed.device, speed.threads, speed.date) for speed in speeds}
        )
    ]


terminal = Terminal(backbones, show)
