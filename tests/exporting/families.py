"""Export one model of each family of timm that has a `test_*` model, and write docs/export_families.md of it."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image

import eml
from eml.errors import EmlError

PAGE = Path(__file__).parents[2] / "docs/export_families.md"
REAL = "mobilenetv2_100"
HEAD = """# Families that can be exported

After this page you know which of timm's families `eml export` was tried on: a small network of each family \
that has one (`test_*`, random weights), and mobilenetv2_100 with ImageNet's weights. Each was written as \
ONNX, proved on images of 8 classes (`eml export`, the usual limits for float32), loaded again by onnxruntime, \
and compared in batches of 1, 2 and 7. The largest difference is that of a number of an embedding of unit \
length.

A wide test makes this table (`python tests/exporting/families.py WEIGHTS`).

| network | family | pixels | numbers | proof | least cosine | largest difference |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class FamilyRow:
    """A network: what became of its export.

    Attributes:
        network: timm's name.
        family: The module in timm that defines it.
        facts: Cells of its row: pixels, numbers, proof, least cosine, largest difference.
        reason: Why it failed; empty: it passed.
    """

    network: str
    family: str
    facts: tuple[str, ...]
    reason: str = ""


def networks() -> list[str]:
    """Return one network of each family that has a `test_*` model, by name."""
    own: dict[str, str] = {}
    for name in timm.list_models("test_*"):
        own.setdefault(family_of(name), name)
    return sorted(own.values())


def family_of(name: str) -> str:
    """Return the module of timm that defines a network."""
    return timm.model_entrypoint(name).__module__.rpartition(".")[2]


def images_of_classes(folder: Path) -> Path:
    """Make 8 classes of 3 images: a pattern of each, with noise."""
    random = np.random.default_rng(0)
    for label in range(8):
        pattern = random.integers(0, 200, (6, 6, 3), np.uint8).repeat(40, 0).repeat(40, 1)
        (folder / f"{label}").mkdir(parents=True)
        for number in range(3):
            noisy = pattern + random.integers(0, 56, pattern.shape, np.uint8)
            Image.fromarray(noisy).save(folder / f"{label}/{number}.png")
    return folder


def export_row(name: str, data: Path, folder: Path, weights: str = "none") -> FamilyRow:
    """Export a network, load it again and compare."""
    out = folder / f"{name}.onnx"
    family = family_of(name)
    try:
        result = eml.export(f"timm:{name}", out, weights=weights, prove_on=data, prove_images=24, overwrite=True)
    except EmlError as error:
        return FamilyRow(name, family, ("", "", "not written", "", ""), str(error.problems[0]))
    proof = result.proof
    assert proof is not None
    if not result.passed:
        return FamilyRow(name, family, ("", "", "failed", f"{proof.least_cosine}", ""), "; ".join(proof.problems))
    model, exported = eml.load(f"timm:{name}", weights=weights), eml.load(out)
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for count in (1, 2, 7):
        shape = (count, 3, *model.preprocess.shape)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        difference = (exported.embed_pixels(pixels) - model.embed_pixels(pixels)).abs().max()
        largest = max(largest, float(difference))
    size = "{}×{}".format(*model.preprocess.shape)
    facts = (size, f"{model.size:,}", "passed", f"{proof.least_cosine:.7f}", f"{largest:.1e}")
    return FamilyRow(name, family, facts)


def page(rows: Sequence[FamilyRow]) -> str:
    """Return the page of documentation."""
    lines = [f"| {row.network} | {row.family} | {' | '.join(row.facts)} |" for row in rows]
    failed = [f"- {row.network}: {row.reason}" for row in rows if row.reason]
    tail = "\nEvery network passed.\n" if not failed else "\nThese failed:\n\n" + "\n".join(failed) + "\n"
    return HEAD + "\n".join(lines) + "\n" + tail


def main(weights: str) -> None:
    """Write the page; weights: those of mobilenetv2_100."""
    with tempfile.TemporaryDirectory() as place:
        data = images_of_classes(Path(place) / "images")
        names = networks()
        rows = []
        for name in [*names, REAL]:
            rows.append(export_row(name, data, Path(place), weights if name == REAL else "none"))
            print(rows[-1], flush=True)
    PAGE.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
