"""`eml pack` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.pack import PackResult, pack

MOST_ROWS = 12


def show(result: PackResult) -> None:
    """Print the packed files, of many the first."""
    from eml.cli.display import console

    columns, rows = result.summary_table()
    shown = (
        rows
        if len(rows) <= MOST_ROWS
        else [*rows[: MOST_ROWS - 1], (f"and {len(rows) - MOST_ROWS + 1:,} more", "", "")]
    )
    console.table("", columns, shown)
    classes = console.count(result.classes, "class", "classes")
    size = sum(shard.bytes for shard in result.shards) / 1e6
    console.show(
        f"{result.images:,} images of {classes} in {console.count(len(result.shards), 'file', 'files')}, {size:,.1f} MB"
    )


terminal = Terminal(pack, show, metavars={"class_level": "N|last", "shard_size": "BYTES"})
