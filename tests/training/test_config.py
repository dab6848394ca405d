"""The config of a run."""

from pathlib import Path

import pytest

from eml.config import load
from eml.errors import ConfigError
from eml.training.config import RunConfig


def test_a_batch_that_the_sampler_cannot_fill_is_an_error_of_the_config_with_its_line(tmp_path: Path) -> None:
    head = "output: run\ndata: {table: folds.csv}\n"
    for text, line, told in (
        (
            "batch_size: 30\nsampler: {type: per_class}\n",
            3,
            r"multiple of sampler\.per_class 4, .*, got 30; set it to 28 or 32",
        ),
        ("sampler: {type: per_class}\nbatch_size: 4\n", 4, r"multiple .* at least two of them, got 4; set it to 8"),
        (
            "batch_size: 36\nsampler: {type: per_category, categories: 2}\n",
            3,
            r"multiple of 8, sampler\.per_class 4 × categories 2, .* got 36; set it to 32 or 40",
        ),
    ):
        (tmp_path / "run.yaml").write_text(head + text)
        with pytest.raises(ConfigError, match=rf"run\.yaml:{line}: batch_size must be a {told}"):
            load(RunConfig, tmp_path / "run.yaml")
    (tmp_path / "run.yaml").write_text(head + "sampler: {type: per_clas}\n")
    with pytest.raises(ConfigError, match=r"unknown sampler 'per_clas' .did you mean 'per_class'"):
        load(RunConfig, tmp_path / "run.yaml")
