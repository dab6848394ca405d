"""Write the table of tested image towers into docs/backbones.md: `python docs/tools/backbones_table.py docs`."""

import sys
from pathlib import Path

from eml.files import write_text
from eml.images.image_size import size_text
from eml.models.catalog import TESTED, facts_of, known_backbones

BEGIN, END = "<!-- tested image towers: written by make docs -->", "<!-- end of the tested image towers -->"
SECTION = """## Tested image towers of timm

Each of these image towers of CLIP, SigLIP 2, DINOv2, DINOv3 and PE (Perception Encoder) is built by a test at another
size than its own and takes a training step; the large ones are built without memory. The features are those before the
projection into the space of texts: for texts take `open_clip:…`.

{table}

- **size**: side of the images of its weights (pixels). `image.size` may be any multiple of **step**: position
  embeddings are resampled. `eml init` fits the size to it, and `eml train` refuses a size that would cut pixels off,
  with the nearest ones that the network takes.
- **pooling**: from the last features to one vector with `model.pooling: default`; token: the class token; map:
  attention; avg: the mean.
- **licence**: of the weights, as timm states it.

`eml backbones` prints this list with the usual networks, `eml backbones PATTERN` all that match, and
`eml backbones PATTERN --measure` their images per second on your machine.
"""


def table() -> str:
    """Return the table, a row for each image tower."""
    lines = ["| kind | `model.backbone` | parameters | size | step | features | pooling | licence |"]
    lines.append("|---|---|--:|--:|--:|--:|---|---|")
    for kind, names in TESTED.items():
        for own in known_backbones(names):
            facts = facts_of(own.name)
            cells = [kind, f"`{own.name}`", f"{facts.parameters / 1e6:.3g} M", size_text(facts.size), facts.step]
            cells += [f"{facts.embedding_size:,}", facts.pooling, own.licence or "not stated"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(before: str) -> str:
    """Return the page with the section of today between its two comments."""
    head, _, rest = before.partition(f"{BEGIN}\n")
    after = rest.partition(f"{END}\n")[2]
    return f"{head}{BEGIN}\n{SECTION.format(table=table())}{END}\n{after}"


if __name__ == "__main__":
    target = Path(sys.argv[1]) / "backbones.md"
    write_text(target, page(target.read_text(encoding="utf-8")))
