"""`eml kfold` in a terminal."""

from eml.cli.adapter import Terminal, in_plain
from eml.commands.kfold import KFoldResult, kfold


def show(result: KFoldResult) -> None:
    """Print a row for each fold, and what is uneven."""
    from eml.cli.display import console

    balance = result.balance
    if result.reason:
        console.show(in_plain(result.reason))
    console.table("", *result.summary_table())
    if unknown := sum(fold.unknown for fold in balance.folds):
        console.show(f"besides, over the folds: {console.unknown(unknown, result.table.unknown_label)}")
    worst, groups = balance.worst_class, balance.groups
    if worst and worst.images != worst.even:
        text = f"{worst.label}, {worst.images:,} in one fold, where {worst.even:.1f} would be even"
        console.show(f"the class furthest from even: {text}")
    if groups.of_several:
        images = f"{groups.images:,} of {len(result.frame):,} images"
        count = console.count(groups.of_several, "group", "groups")
        console.show(f"{count} of several hold {images}; the largest has {groups.largest:,}")
    _warn(result)


def _warn(result: KFoldResult) -> None:
    from eml.cli.display import console

    balance, groups = result.balance, result.balance.groups
    if groups.largest > balance.even:
        size = f"the largest group has {groups.largest:,} images, more than an even fold ({balance.even:,.0f})"
        console.warn(f"{size}; eml filter --dedup thins groups, and a lower --threshold makes them smaller")
    mixed = " (but for images in a group with other classes)" if groups.of_several else ""
    if groups.classes_too_small:
        classes = console.some(groups.classes_too_small, "class", "classes")
        console.warn(f"fewer than {result.k} images, so always trained on{mixed}: {classes}")
    if groups.classes_of_one_group:
        classes = console.some(groups.classes_of_one_group, "class", "classes")
        console.warn(f"one single group, so always trained on{mixed}: {classes}")
    if groups.classes_in_one_fold:
        classes = console.some(groups.classes_in_one_fold, "class", "classes")
        console.warn(f"wholly in one fold, so not trained on while it is held out, and no use as queries: {classes}")
    if groups.classes_joined:
        classes = console.count(groups.classes_joined, "class shares", "classes share")
        console.warn(
            f"{classes} groups with others and went to folds with them; eml filter --scope dataset shows which"
        )
    if groups.taken_to_test:
        images = console.count(groups.taken_to_test, "image is", "images are")
        console.warn(f"{images} in a group with images of fold -2, and got it too: never trained on")


terminal = Terminal(kfold, show, metavars={"class_level": "N|last", "group_by": "COLUMN"})
