"""`eml compress` in a terminal."""

import shlex

from eml.cli.adapter import Terminal
from eml.commands.compress import CompressResult, compress


def show(result: CompressResult) -> None:
    """Print the ways that no smaller one equals, and what was kept."""
    from eml.cli.display import console
    from eml.evaluation.compression import SHARE_LISTED, SHORTLIST, unbeaten
    from eml.retrieval.confidence import metric_text

    compression = result.result
    ways = result.measured if result.show_all else unbeaten(result.measured)
    rows = [
        [
            way.choice.name,
            f"{way.choice.bytes_per_image:,}" + (f" + {way.choice.bytes_beside:,}" if way.choice.bytes_beside else ""),
            metric_text(way.value, way.interval),
            f"{way.difference.value:+.3f}",
            f"{way.milliseconds:.2g}" if way.milliseconds < 10 else f"{way.milliseconds:.0f}",
        ]
        for way in ways
    ]
    name = compression.evaluation.table.name
    console.table(f"{compression.evaluation.name} on {name}", ["", "bytes", "MAP@R", "change", "ms"], rows)
    console.show("bytes: per image; ms: a query compared with each of 100,000 images, on one thread here.")
    if any(way.choice.reranked for way in ways):
        console.show(
            f"reranked: the {SHORTLIST} nearest by bits (at most 1 in {SHARE_LISTED} images) are compared again by the "
            "float16 numbers, which lie beside."
        )
    if left_out := len(result.measured) - len(ways):
        console.show(f"{left_out} more ways are no better than a smaller one; --show-all shows them.")
    learnt = f"Learnt from {compression.fit[1]:,} images of {compression.fit[0]}"
    if compression.shared:
        console.warn(f"{learnt}, of which {compression.shared:,} are measured here: this flatters what is learnt")
    else:
        console.show(f"{learnt}; none of them is measured here.")
    for line in compression.overlap.lines(name) if compression.overlap.is_recorded else []:
        console.warn(line)
    _show_choice(result)


def _show_choice(result: CompressResult) -> None:
    from eml.cli.display import console

    compression = result.result
    if compression.kept is None:
        way = compression.smallest.choice
        console.show(f"The smallest that surely loses little: {way.name}, {way.bytes_per_image:,} bytes per image.")
        return
    kept, folder = compression.kept.choice, compression.folder
    facts = kept.compression.facts
    console.show(f"{folder} gives the embeddings of {facts.name}: {facts.size:,} numbers, rounded to {facts.storage}.")
    if facts.storage in ("int8", "binary"):
        console.show(
            f"Files and indexes of eml hold them as float32 or float16; {kept.bytes_per_image:,} bytes per image is "
            "what a database takes that stores whole numbers or bits."
        )
    if compression.was_calibrated:
        command = shlex.join(["eml", "calibrate", str(folder), "--data", "TABLE"])
        console.warn(f"the calibration is not that of the new checkpoint; run: {command}")


terminal = Terminal(
    compress,
    show,
    short={"data": "-d"},
    metavars={
        "fit": "TABLE",
        "sizes": "D",
        "keep": "NAME",
        "most_loss": "LOSS",
        "plot": "FILE",
        "leave_out_same": "COLUMN",
        "within": "COLUMN",
    },
)
