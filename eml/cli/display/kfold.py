"""`eml kfold` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.kfold import KFoldResult, kfold


def show(result: KFoldResult) -> None:
    """Print a row for each fold, and what is uneven."""
    from eml.cli.display import console

    balance = result.balance
    console.table("", *result.summary_table())
    if balance.worst_class and balance.worst_class[1] != balance.worst_class[2]:
        label, held, even = balance.worst_class
        console.show(f"the class furthest from even: {label}, {held:,} in one fold, where {even:.1f} would be even")
    if balance.groups:
        images = f"{balance.grouped:,} of {len(result.frame):,} images"
        groups = console.count(balance.groups, "group", "groups")
        console.show(f"{groups} of several hold {images}; the largest has {balance.largest:,}")
    _warn(result)


def _warn(result: KFoldResult) -> None:
    from eml.cli.display import console

    balance = result.balance
    if balance.largest > balance.even:
        size = f"the largest group has {balance.largest:,} images, more than an even fold ({balance.even:,.0f})"
        console.warn(f"{size}; eml filter --dedup thins groups, and a lower --threshold makes them smaller")
    mixed = " (but for images in a group with other classes)" if balance.groups else ""
    if balance.small:
        classes = console.some(balance.small, "class", "classes")
        console.warn(f"fewer than {result.k} images, so always trained on{mixed}: {classes}")
    if balance.one_group:
        classes = console.some(balance.one_group, "class", "classes")
        console.warn(f"one single group, so always trained on{mixed}: {classes}")
    if balance.one_fold:
        classes = console.some(balance.one_fold, "class", "classes")
        console.warn(f"wholly in one fold, so not trained on while it is held out, and no use as queries: {classes}")
    if balance.joined:
        classes = console.count(balance.joined, "class shares", "classes share")
        console.warn(
            f"{classes} groups with others and went to folds with them; eml filter --scope dataset shows which"
        )
    if balance.taken:
        images = console.count(balance.taken, "image is", "images are")
        console.warn(f"{images} in a group with images of fold -2, and got it too: never trained on")


terminal = Terminal(kfold, show, metavars={"group_by": "COLUMN"})
