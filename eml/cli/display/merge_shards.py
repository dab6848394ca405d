"""`eml merge-shards` in a terminal."""

from eml.cli.adapter import Terminal, terminal_of
from eml.commands.merge_shards import MergeShardsResult, merge_shards


def show(result: MergeShardsResult) -> None:
    """Print what was joined, and each result as its command does."""
    from eml.cli.display import console

    for part in result.merged:
        console.show(part.text())
        if part.caution is not None:
            console.warn(part.caution)
        terminal_of(part.command).show(part.result)


terminal = Terminal(merge_shards, show, metavars={"outs": "OUT"})
