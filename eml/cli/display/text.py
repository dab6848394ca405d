"""`eml text` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.text import TextResult, text

SHOWN = 5  # pairs and groups
LONGEST = 40  # characters of a text


def show(result: TextResult) -> None:
    """Print the counts, the classes whose texts are nearest, and those whose texts are equal."""
    from eml.cli.display import console

    console.table("", *result.summary_table())
    similar = result.similarities
    if similar is None:
        return
    if similar.nearest:
        rows = [
            [f"{pair.cosine:.2f}", _name(result, pair.first), _name(result, pair.second)]
            for pair in similar.nearest[:SHOWN]
        ]
        drawn = f", of {similar.compared:,} that were drawn" if similar.compared < len(result.vectors.labels) else ""
        console.table(f"Classes with the nearest texts{drawn}", ["cosine", "class", "class"], rows)
    if similar.equal:
        classes = sum(map(len, similar.equal))
        groups = "; ".join(", ".join(group[:SHOWN]) for group in similar.equal[:SHOWN])
        more = " …" if len(similar.equal) > SHOWN or any(len(group) > SHOWN for group in similar.equal) else ""
        console.warn(f"{classes:,} classes have the same texts as others, which do not tell them apart: {groups}{more}")


def _name(result: TextResult, label: str) -> str:
    """Return the class, with its text where that is another."""
    if not result.own_texts:
        return label
    own = result.vectors.texts[result.vectors.labels.index(label)][0]
    return f"{label}: {own if len(own) <= LONGEST else own[: LONGEST - 1] + '…'}"


terminal = Terminal(text, show, short={}, metavars={"names": "FILE", "out": "FILE"})
