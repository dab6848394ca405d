"""`eml filter` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.filter import FilterResult, filter


def show(result: FilterResult) -> None:
    """Print what stays, what left and why, and images with two labels."""
    from eml.cli.display import console

    counts = result.filtered.counts
    console.table("", *result.summary_table())
    if counts.unknown_images:
        console.show(console.unknown(counts.unknown_images, result.table.unknown_label))
    if across := counts.pairs_across_classes:
        expected = across.near_expected_by_chance
        console.show(f"pairs with different labels within {result.threshold} bits: {across.near:,}")
        console.show(f"  expected by chance: about {expected:,.0f}" if expected >= 1 else "  expected by chance: none")
        console.show(f"  the same image when compared: {across.same_image:,}")
    if lost := counts.classes_lost:
        console.warn(f"no image is left of {console.some(lost, 'class', 'classes')}")
    if groups := counts.conflict_groups:
        images = f"{counts.conflict_images:,} images in {console.count(groups, 'group', 'groups')}"
        outcome = "were kept" if result.conflicts_kept else "were removed"
        console.warn(f"{images} are there with another label too and {outcome}: see label_conflicts.csv")
        if result.scope == "class":
            console.say("  these are identical files; --scope dataset finds near-duplicates too")


terminal = Terminal(filter, show, metavars={"class_level": "N|last", "exclude": "TABLE"})
