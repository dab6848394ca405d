"""Part of a retrieval set, for a validation that costs little."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eml.evaluation.positives import positive_counts
from eml.evaluation.retrieval_set import RetrievalSet, build_retrieval_set, label_codes
from eml.evaluation.thinning import thin


def images(sizes: list[int], unknown: int = 0) -> RetrievalSet:
    labels = [f"c{number:02d}" for number, size in enumerate(sizes) for _ in range(size)] + ["new"] * unknown
    frame = pd.DataFrame({"label": labels, "file_name": [f"{number}.jpg" for number in range(len(labels))]})
    frame["camera"] = [number % 4 for number in range(len(labels))]
    return build_retrieval_set(frame, "t.csv", unknown_label="new" if unknown else None)


@pytest.mark.parametrize("most", [200, 100, 41, 40, 39, 20, 4])
def test_a_part_has_at_most_so_many_images_and_two_of_each_class_where_it_can(most: int) -> None:
    whole = images([2, 5, 8, 30, 55] * 4)
    part = thin(whole, most, seed=3)
    assert part is not None
    sizes = part.images.frame["label"].value_counts()
    assert most - 1 <= len(part.rows) <= most
    assert sizes.min() >= 2
    assert len(sizes) == min(20, most // 2)
    assert part.images.frame["file_name"].tolist() == whole.frame["file_name"].iloc[part.rows].tolist()
    assert (part.images.labels == label_codes(part.images.frame)).all()
    assert (positive_counts(part.images) > 0).all()


def test_classes_keep_their_share_and_the_seed_decides_which_images() -> None:
    whole = images([10, 20, 70])
    part, again, other = (thin(whole, 50, seed) for seed in (1, 1, 2))
    assert part is not None
    assert again is not None
    assert other is not None
    assert part.images.frame["label"].value_counts().tolist() == [35, 10, 5]
    assert part.rows.tolist() == again.rows.tolist() != other.rows.tolist()
    assert thin(whole, 100, 1) is None
    assert thin(images([2, 2]), 1, 1) is None, "one image measures nothing"


def test_queries_and_gallery_are_both_thinned_and_both_stay() -> None:
    whole = images([40] * 5)
    queries, gallery = np.flatnonzero(np.arange(200) % 4 == 0), np.flatnonzero(np.arange(200) % 4 > 0)
    part = thin(replace(whole, queries=queries, gallery=gallery), 40, 0)
    assert part is not None
    assert (len(part.images.queries), len(part.images.gallery)) == (10, 30)
    assert set(part.rows[part.images.queries]) <= set(queries)
    few = thin(replace(whole, queries=queries, gallery=gallery), 12, 0)
    assert few is not None
    assert np.bincount(few.images.labels[few.images.queries]).tolist() == [2, 2, 2]
    assert (positive_counts(few.images) == 2).all()


def test_distractors_are_thinned_by_the_same_share() -> None:
    whole = images([20] * 5 + [1] * 50, unknown=50)
    part = thin(whole, 100, 0)
    assert part is not None
    assert part.images.known.sum() + len(part.images.unknown_queries) == 100
    assert part.images.frame["label"].str.match("c0[0-4]").sum() == 50


def test_images_of_other_cameras_stay_so_that_queries_keep_their_positives() -> None:
    frame = images([40] * 6).frame
    for columns in ({"leave_out_same": "camera"}, {"within": "camera"}):
        whole = build_retrieval_set(frame, "t.csv", **columns)
        part = thin(whole, 48 if "within" in columns else 12, 0)
        assert part is not None
        assert (positive_counts(part.images) > 0).all()
