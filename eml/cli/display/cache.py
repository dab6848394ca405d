"""`eml cache` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.cache import FillCacheResult, fill_cache


def show(result: FillCacheResult) -> None:
    """Print a row for each cache."""
    from eml.cli.display import console

    if result.caches:
        console.table("", *result.summary_table())


terminal = Terminal(
    fill_cache,
    show,
    short={"overrides": "-s"},
    metavars={"source": "SOURCE", "overrides": "KEY=VALUE", "side": "PIXELS"},
)
