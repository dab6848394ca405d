"""Check what the blocks of some pages leave behind, beyond that they run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.docs.blocks import Block


def of_hub(block: Block, names: dict[str, Any]) -> None:
    """Every library gives the embeddings that eml gives."""
    import eml

    if "embeddings" in block.text:
        expected = eml.load("shoes", device="cpu").embed(["a.jpg", "b.jpg"])[: len(names["embeddings"])]
        np.testing.assert_allclose(np.asarray(names["embeddings"]), expected, rtol=0, atol=1e-5)
    elif block.language == "python":
        assert names["network"].num_classes == 256


def of_sampling(block: Block, names: dict[str, Any]) -> None:
    """An epoch has the batches that the comment says."""
    if block.language == "python":
        assert names["rows"].shape == (15, 8)


def of_tables(block: Block, names: dict[str, Any]) -> None:
    """The tables that the commands write have the labels that the page speaks of."""
    from eml.dataset.table import read_table

    if "eml merge" in block.text:
        merged = read_table(Path("both/dataset_merged.csv"), check_files=True)
        assert sorted(set(merged.frame["label"])) == ["boxes:mug", "boxes:tea", "mine:007", "mine:boot"]
    elif "eml split oml" in block.text:
        assert set(read_table(Path("oml/dataset_test.csv")).frame["label"]) == {"3", "4"}


EXPECTATIONS: dict[str, Callable[[Block, dict[str, Any]], None]] = {
    "hub.md": of_hub,
    "sampling.md": of_sampling,
    "tables.md": of_tables,
}
"""Page → what is checked after each of its blocks of shell and Python."""
