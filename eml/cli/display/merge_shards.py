"""`eml merge-shards` in a terminal."""

from eml.cli.adapter import Terminal, terminal_of
from eml.commands.merge_shards import MergeShardsResult, merge_shards


def show(result: MergeShardsResult) -> None:
    """Print each result as its command does."""
    for part in result.merged:
        terminal_of(part.command).show(part.result)


terminal = Terminal(merge_shards, show, metavars={"outs": "OUT"})
