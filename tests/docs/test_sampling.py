"""docs/sampling.md: its notes are real, and it has every sampler."""

import re

import numpy as np

from eml.images.samplers import Classes, Sampler
from eml.images.samplers.per_class import PerClass
from tests.docs.blocks import PAGES, read_page


def test_the_pages_notes_are_real_and_it_has_every_sampler() -> None:
    sizes = [300, *[6] * 30, 2]
    told = PerClass(per_class=3).notes(Classes(np.repeat(np.arange(32), sizes)), 12, [str(size) for size in sizes])
    (notes,) = (block for block in read_page("sampling.md").blocks if block.language == "")
    for line in notes.text.splitlines():
        assert any(note.startswith(line.removesuffix(" …")) for note in told), line
    text = PAGES["sampling.md"].read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)`", text, flags=re.MULTILINE)) - {"type"} == set(Sampler.members())
