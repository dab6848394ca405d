"""`eml push` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.push import PushResult, push


def show(result: PushResult) -> None:
    """Print the files and where they are."""
    from eml.cli.display import console

    pushed = result.pushed
    columns, rows = result.summary_table()
    console.table(pushed.repository, columns, [[file, f"{size:,}"] for file, size in rows])
    if "eml/labels.json" in pushed.files:
        console.show("eml/labels.json holds the names of the classes that the model was trained on.")
    if pushed.removed:
        console.show(f"Removed from the repository: {', '.join(pushed.removed)}, of an earlier upload.")
    if pushed.url and pushed.private and result.public:
        console.warn(f"{pushed.repository} was there before and is private; change that on the hub")
    console.show(result.summary())


terminal = Terminal(push, show)
