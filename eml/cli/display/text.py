"""`eml text` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.text import TextResult, text

SHOWN = 5  # pairs and groups
BESIDE = 14  # columns of a terminal that the cosines take
LONGEST = 120  # characters of a class with its text


def show(result: TextResult) -> None:
    """Print the counts, the classes whose texts are nearest, and those whose texts are equal."""
    from eml.cli.display import console

    console.table("", *result.summary_table())
    similar = result.similarities
    if similar is None:
        return
    if similar.nearest:
        drawn = f", of {similar.compared:,} that were drawn" if similar.compared < len(result.vectors.labels) else ""
        title, nearest = f"Classes with the nearest texts{drawn}", similar.nearest[:SHOWN]
        if result.own_texts:  # which are too long to stand beside each other
            longest = min(console.width() - BESIDE, LONGEST)
            rows = [
                [cosine, _name(result, label, longest)]
                for pair in nearest
                for cosine, label in ((f"{pair.cosine:.2f}", pair.first), ("", pair.second))
            ]
            console.table(title, ["cosine", "class: text"], rows)
        else:
            rows = [[f"{pair.cosine:.2f}", pair.first, pair.second] for pair in nearest]
            console.table(title, ["cosine", "class", "class"], rows)
    if similar.equal:
        classes = sum(map(len, similar.equal))
        groups = "; ".join(", ".join(group[:SHOWN]) for group in similar.equal[:SHOWN])
        more = " …" if len(similar.equal) > SHOWN or any(len(group) > SHOWN for group in similar.equal) else ""
        console.warn(f"{classes:,} classes have the same texts as others, which do not tell them apart: {groups}{more}")


def _name(result: TextResult, label: str, longest: int) -> str:
    """Return the class with its text, cut where it is longer."""
    name = f"{label}: {result.vectors.texts[result.vectors.labels.index(label)][0]}"
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


terminal = Terminal(text, show, short={}, metavars={"names": "FILE", "out": "FILE"})
