"""Duplicates in the real images of ../shared/data: found where labels say so, and only there."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from eml.dataset.duplicates.chance_collisions import estimate_collisions
from eml.dataset.duplicates.dedup import DedupRules
from eml.dataset.duplicates.duplicates import hash_values
from eml.dataset.duplicates.hamming import near_pairs
from eml.dataset.duplicates.label_conflicts import exact_conflicts
from eml.dataset.duplicates.same_images import same_images
from eml.dataset.filter import FilterRules, filter_table
from eml.dataset.scanning.scan import scan_folder
from eml.dataset.table import Table
from tests.dataset.archives import unpacked
from tests.dataset.dirty_truth import copies, images

pytestmark = pytest.mark.wide

Pairs = set[tuple[str, str]]


def scanned(name: str, inside: str, folder: Path) -> Table:
    unpacked(name, folder)
    scan = scan_folder(folder / inside)
    return Table(scan.table, scan.root)


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return scanned("dirty", "dirty", tmp_path_factory.mktemp("dirty"))


def near(table: Table, threshold: int) -> Pairs:
    names = table.frame["file_name"].tolist()
    pairs = near_pairs(hash_values(table), threshold)
    return {(names[i], names[j]) for block in pairs for i, j in zip(block[0], block[1], strict=True)}


def verified(table: Table, threshold: int) -> Pairs:
    """With identical files, which are one to `same_images`."""
    same = same_images(table, threshold, "all")
    rows = pd.Series(table.frame["file_name"].to_numpy()).groupby(same.files.of_row).agg(list)
    pairs = {tuple(sorted((a, b))) for i, j in zip(same.i, same.j, strict=True) for a in rows[i] for b in rows[j]}
    return pairs | {(a, b) for names in rows for a in names for b in names if a < b}  # type: ignore[return-value]


def test_every_copy_in_dirty_is_found_and_nothing_else(dirty: Table) -> None:
    with (dirty.root / "labels.csv").open(newline="", encoding="utf-8") as file:
        shown = images(csv.DictReader(file))
    right = copies(shown, dirty.frame["file_name"])
    assert len(right) > 300
    print("\nbits  hash: recall precision  verified: recall precision")
    for threshold in range(0, 17, 2):
        line = f"{threshold:4d}"
        for result in (near(dirty, threshold), verified(dirty, threshold)):
            known = {tuple(sorted(pair)) for pair in result if pair[0] in shown and pair[1] in shown}
            recall, precision = len(known & right) / len(right), len(known & right) / len(known)
            line += f"  {recall:.3f} {precision:.3f}"
            if threshold == 10:
                assert (recall, precision) == (1, 1)
        print(line)


def test_exif_copies_are_one_image_to_filter(dirty: Table) -> None:
    kept = filter_table(dirty, FilterRules(dedup=DedupRules())).kept["file_name"]
    assert kept.str.contains("exif_orientation/Landscape_").sum() == 1
    assert kept.str.contains("exif_orientation/Portrait_").sum() == 1


def test_identical_files_of_emoji_are_conflicts(tmp_path: Path) -> None:
    emoji = scanned("emoji", "emoji/images", tmp_path)
    exact = exact_conflicts(emoji)
    assert exact["group"].nunique() == 38
    near_too = filter_table(emoji, FilterRules(dedup=DedupRules(scope="dataset"))).conflicts
    assert set(exact["file_name"]) <= set(near_too["file_name"])


def test_near_hashes_over_classes_of_groceries_are_chance(tmp_path: Path) -> None:
    groceries = scanned("grocery160", "grocery160/images", tmp_path)
    filtered = filter_table(groceries, FilterRules(dedup=DedupRules(scope="dataset")))
    labels = pd.factorize(groceries.frame["label"])[0]
    expected = estimate_collisions(hash_values(groceries), labels, 14)
    chance = expected.near_expected_by_chance
    print(f"\ngrocery160, up to 14 bits over classes: {expected.near} pairs, {chance:.0f} expected by chance")
    pairs = filtered.counts.pairs_across_classes
    assert pairs is not None
    assert pairs.near > 12
    assert pairs.same_image == 0
    assert filtered.conflicts.empty
    assert 0.5 < chance / expected.near < 1.5
