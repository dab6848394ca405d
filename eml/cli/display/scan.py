"""`eml scan` in a terminal."""

from eml.cli.adapter import Terminal, in_options
from eml.commands.scan import ScanResult, scan


def show(result: ScanResult) -> None:
    """Print the counts, the ranges and the files that cannot be used."""
    from eml.cli.display import console

    facts, scanned = result.facts, result.scan
    formats = ", ".join(f"{name} {count:,}" for name, count in facts.formats.items())
    classes = console.count(facts.classes, "class", "classes")
    console.show(f"{facts.images:,} images in {classes}, {facts.bytes / 1e6:,.1f} MB: {formats}")
    if facts.unknown_images:
        console.show(console.unknown(facts.unknown_images, result.table.unknown_label))
    console.table("", *result.summary_table())
    if len(scanned.errors):
        first = scanned.errors.drop_duplicates("reason").set_index("reason")["file_name"]
        rows = [[reason, count, first[reason]] for reason, count in facts.errors.items()]
        console.table("files that cannot be used", ["reason", "files", "the first"], rows)
    for line in scanned.warnings:
        console.warn(in_options(line, terminal))


terminal = Terminal(scan, show, metavars={"class_level": "N|last"})
