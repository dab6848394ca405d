"""Templates: their embeddings equal a plain loop's, and a file's mistakes are told with their lines."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eml.errors import DataError
from eml.retrieval.verification.templates import (
    is_template_pairs,
    join_templates,
    read_template_pairs,
    verify_templates,
)


def test_a_template_is_the_weighted_sum_over_its_media_of_the_means_of_their_images() -> None:
    random = np.random.default_rng(0)
    embeddings = torch.from_numpy(random.standard_normal((40, 6)).astype(np.float32) * 3)
    template, media = random.integers(0, 7, 40), random.integers(0, 4, 40)
    template[:7] = np.arange(7)
    weight = random.random(40)
    joined = join_templates(embeddings, template, media, weight)
    for number in range(7):
        total = np.zeros(6)
        for medium in sorted(set(media[template == number])):
            rows = np.flatnonzero((template == number) & (media == medium))
            unit = [embeddings[row].numpy() / np.linalg.norm(embeddings[row].numpy()) * weight[row] for row in rows]
            total += np.mean(unit, axis=0)
        np.testing.assert_allclose(joined[number].numpy(), total, rtol=1e-5, atol=1e-6)


def test_pairs_of_templates_are_verified(tmp_path: Path) -> None:
    source = tmp_path / "pairs.csv"
    source.write_text("template_1,template_2,same\na,b,1\na,c,0\nb,c,0\n")
    assert is_template_pairs(source)
    frame = pd.DataFrame({"file_name": list("1234"), "template": ["a", "a", "b", "c"], "media": ["x", "x", "x", "x"]})
    embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [1.0, 0.1], [0.0, 1.0]])
    rates, accepted = verify_templates(embeddings, frame, source)
    assert rates["auc"] == 1
    assert (rates["same_pairs"], rates["different_pairs"]) == (1, 2)
    mean = np.array([0.9, 0.3])
    first = np.array([1.0, 0.1])
    cosine = mean @ first / np.linalg.norm(mean) / np.linalg.norm(first)
    assert accepted.threshold[0] == pytest.approx(cosine, abs=1e-6)


def test_mistakes_of_a_file_are_told_with_their_lines(tmp_path: Path) -> None:
    source = tmp_path / "pairs.csv"
    source.write_text("template_1,template_2,same\na,b,true\na,z,0\nb,b,1\na,b,2\n")
    with pytest.raises(DataError) as caught:
        read_template_pairs(source, ["a", "b"])
    assert [problem.partition(": ")[2] for problem in caught.value.problems] == [
        "template_2 is of no template of the images, got 'z'",
        "same must be 0 or 1, got '2'",
        "template b is paired with itself",
    ]
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        f"{source}:{line}" for line in (3, 5, 4)
    ]
    frame = pd.DataFrame({"file_name": ["1"]})
    with pytest.raises(DataError, match="the images have no column 'template'"):
        verify_templates(torch.ones(1, 2), frame, source)
    frame = pd.DataFrame({"file_name": ["1", "2"], "template": ["a", "b"], "weight": ["1", "-1"]})
    with pytest.raises(DataError, match="the weight of 2 must be a number of at least 0"):
        verify_templates(torch.ones(2, 2), frame, source)
    source.write_text("template_1,template_2,same\n")
    with pytest.raises(DataError, match="holds no pairs"):
        read_template_pairs(source, ["a"])
    source.write_text("file_name_1,file_name_2,same\n")
    assert not is_template_pairs(source)
