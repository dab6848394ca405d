"""Write the table of tested image towers into docs/backbones.md, and the facts of backbones that eml ships.

python docs/tools/backbones_table.py docs
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from eml.commands.backbones import choice_of_backbones
from eml.files import write_text
from eml.images.image_size import size_text
from eml.models.catalog import TESTED, facts_of, known_backbones
from eml.models.catalog_cache import SHIPPED, catalog_key

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


def facts_text() -> str:
    """Return eml/models/catalog_facts.json as the installed timm says: one backbone a line."""
    facts = {catalog_key(own.name): facts_of(own.name) for own in choice_of_backbones()}
    lines = [f"  {json.dumps(key)}: {json.dumps(asdict(facts[key]))}" for key in sorted(filter(None, facts))]
    return '{\n "facts": {\n' + ",\n".join(lines) + "\n }\n}\n"


if __name__ == "__main__":
    write_text(SHIPPED, facts_text())
    target = Path(sys.argv[1]) / "backbones.md"
    write_text(target, page(target.read_text(encoding="utf-8")))
