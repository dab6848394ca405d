"""The protocol of a validation."""

import re
from pathlib import Path

import pytest

from eml.dataset.table import Table
from eml.errors import DataError
from eml.evaluation.positives import positive_counts
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.data import training_data
from eml.training.validation_changes import set_digests
from tests.training.runs import by, by_class


def test_the_best_epoch_goes_by_the_protocol_of_the_config(config: RunConfig, table: Table, tmp_path: Path) -> None:
    numbers = range(len(table.frame))
    table = by_class(table, tmp_path, camera=[n % 2 for n in numbers], shop=[n // 2 % 3 for n in numbers])
    parts = build_parts(by(config, table, leave_out_same="camera"), table)
    images = parts.validation.sets[""][1]
    assert images.protocol == "leave-one-out, without the same camera"
    assert positive_counts(images).tolist() == [3] * 18
    within = build_parts(by(config, table, within="shop", leave_out_same="camera"), table).validation
    assert positive_counts(within.sets[""][1]).tolist() == [1] * 18
    assert within.questions[""].queries == 18
    assert set_digests(within) != set_digests(parts.validation)
    for key, column, told in [
        ("leave_out_same", "cam", "has no column 'cam', which validation.leave_out_same names"),
        ("within", "file_name", "within each value of file_name, no query's class has another image. Leave out "
         "validation.within"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=re.escape(told)) as error:
            build_parts(by(config, table, **{key: column}), table)
        assert error.value.parameter == f"validation.{key}"


def test_queries_and_gallery_of_the_table_are_those_of_the_validation(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    number = table.frame.groupby("label").cumcount()
    flags = {"is_query": number == 0, "is_gallery": number > 1}
    images = build_parts(by(config, by_class(table, tmp_path, **flags)), by_class(table, tmp_path, **flags)).validation
    assert (len(images.sets[""][1].queries), len(images.sets[""][1].gallery)) == (3, 12)
    by_images = Table(table.frame.assign(**flags), table.root)
    own = training_data(by_images, 0).validation
    assert own is not None
    assert own.protocol == "held-out images, query/gallery"
    assert (len(own.queries), len(own.gallery)) == (5, 15)
    with pytest.raises(DataError, match=r"10 held-out images are queries \(is_query\), and 0 images are their gallery"):
        training_data(Table(table.frame.assign(is_query=True, is_gallery=False), table.root), 0)


def test_training_images_may_be_distractors_where_whole_classes_are_held_out(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    by_classes = by_class(table, tmp_path)
    validation = build_parts(by(config, by_classes, distractors=5), by_classes).validation
    images = validation.sets[""][1]
    assert (len(images.queries), len(images.gallery), images.num_classes) == (18, 23, 5)
    assert images.protocol == "leave-one-out, with 5 training images in the gallery"
    assert len(validation.parts[""].images.frame) == 18, "they are in the gallery before training and of the best epoch"
    with pytest.raises(DataError, match="hold out whole classes"):
        build_parts(by(config, table, distractors=5), table)
