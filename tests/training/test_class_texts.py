"""The text vectors of a run's classes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eml.dataset.table import Table
from eml.errors import ConfigError, DataError
from eml.texts.vectors import write_text_vectors
from eml.training.class_texts import check_class_texts, training_texts
from eml.training.config import RunConfig
from tests.texts.words import Words

CLASSES = ["b", "a"]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    rows = {"label": ["a", "b", "c"], "file_name": ["1", "2", "3"], "text": ["a mug", "a bowl", ""]}
    return Table(pd.DataFrame(rows), tmp_path)


def config(table: Table, **class_texts: object) -> RunConfig:
    data = {"table": table.root / "t.csv"}
    return RunConfig.model_validate({"output": "run", "data": data, "class_texts": class_texts})


def test_they_are_of_the_classes_in_their_order_and_are_cached_beside_the_images(table: Table) -> None:
    run = config(table, column="text", encoder="words:a", template="the {label}")
    vectors = training_texts(run, table, CLASSES)
    assert vectors.labels == ("b", "a")
    assert vectors.texts == (("the a bowl",), ("the a mug",))
    assert list((table.root / ".eml_cache").glob("texts-*.safetensors"))
    Words.encoded.clear()
    np.testing.assert_array_equal(training_texts(run, table, CLASSES).vectors, vectors.vectors)
    assert not Words.encoded
    with pytest.raises(DataError, match="class 'c' has no image with a text in 'text'"):
        training_texts(run, table, ["a", "c"])


def test_a_file_of_vectors_takes_the_place_of_an_encoder(table: Table) -> None:
    vectors = training_texts(config(table, encoder="words:a"), table, CLASSES)
    path = table.root / "v.safetensors"
    write_text_vectors(path, vectors)
    assert training_texts(config(table, vectors=path), table, ["a"]).labels == ("a",)
    with pytest.raises(DataError, match="no vector for class 'c'"):
        training_texts(config(table, vectors=path), table, ["a", "c"])


def test_without_an_encoder_and_a_text_tower_the_error_says_what_to_give(table: Table) -> None:
    with pytest.raises(ConfigError, match=r"class_texts.encoder: .* has no text tower, so name what embeds") as error:
        training_texts(config(table), table, CLASSES)
    assert error.value.code == "no-text-tower"


def test_an_unknown_encoder_is_reported_before_anything_is_loaded(table: Table) -> None:
    with pytest.raises(ConfigError, match=r"`class_texts.encoder`: 'nothing:a' is no text encoder"):
        check_class_texts(config(table, encoder="nothing:a"))
    check_class_texts(config(table, encoder="nothing:a"), resume=True)  # the state has what the run needs
