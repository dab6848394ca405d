"""`eml split` in a terminal."""

import shlex

from eml.cli.adapter import Terminal
from eml.commands.split import SplitResult, split


def show(result: SplitResult) -> None:
    """Print the size of both sides, and what stands on both."""
    from eml.cli.display import console

    console.table("", *result.summary_table())
    test = result.counts["test"]
    for side, counts in result.counts.items():
        if counts.unknown_images:
            console.show(f"{side}: {console.unknown(counts.unknown_images, result.table.unknown_label)}")
    if test.classes_of_one:
        classes = console.count(test.classes, "test class has", "test classes have")
        console.warn(
            f"{test.classes_of_one:,} of {classes} one image: nothing else of the class can be found, so they are "
            "left out as queries"
        )
    if result.counts["train"].classes < 2:
        console.warn("there is one class to train on; training needs two")
    if result.on_both_sides.groups:
        _show_shared(result)
    if result.protocol is not None:
        _show_protocol(result)


def _show_shared(result: SplitResult) -> None:
    from eml.cli.display import console

    shared = result.on_both_sides
    relation = "look alike or share a value of --group-by" if result.grouped_by_column else "look alike"
    images = f"{shared.train_images:,} images to train on and {shared.test_images:,} of the test {relation}"
    classes = console.some(shared.test_classes, "test class", "test classes")
    console.warn(f"{images} ({console.count(shared.groups, 'group', 'groups')}, {classes})")
    console.say("  --by ratio keeps their classes on one side; this leaves out images that look alike:")
    console.say(f"  {shlex.join(['eml', 'filter', str(result.table.source), '--dedup', '--scope', 'dataset'])}")


def _show_protocol(result: SplitResult) -> None:
    from eml.cli.display import console

    assert result.protocol is not None
    protocol = result.protocol
    rest = f", {protocol.neither:,} neither (they look like a query)" if protocol.neither else ""
    console.show(f"test: {protocol.queries:,} queries, {protocol.gallery:,} gallery{rest}")
    if protocol.classes_without_query:
        classes = console.some(
            protocol.classes_without_query, "test class of one group", "test classes of one group each"
        )
        console.warn(f"no query, gallery only: {classes}")


terminal = Terminal(split, show, metavars={"class_level": "N|last", "group_by": "COLUMN"})
