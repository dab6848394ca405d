"""`eml merge` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.merge import MergeResult, merge


def show(result: MergeResult) -> None:
    """Print the size of each dataset, and what they share."""
    from eml.cli.display import console

    console.table("", *result.summary_table())
    if unknown := int(result.merged.table.is_unknown.sum()):
        console.show(console.unknown(unknown, result.merged.table.unknown_label))
    for note in result.merged.notes:
        console.warn(note)
    console.show(f"file names start from {result.merged.table.root}")


terminal = Terminal(merge, show, metavars={"datasets": "DATASET", "root": "NAME=FOLDER"})
