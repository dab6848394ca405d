from pathlib import Path

import pandas as pd
import pytest

from eml.dataset.table import Table
from eml.errors import EmlError
from eml.exporting.precision.images import _spread, _without, load_images
from eml.exporting.proof.images import ProofImages
from eml.models.necks.identity import Identity
from tests.exporting.conftest import tiny_model


def frame(names: list[str], labels: list[str], content: list[str] | None = None) -> pd.DataFrame:
    columns = {"label": labels, "file_name": names}
    return pd.DataFrame(columns if content is None else columns | {"content": content})


def test_images_of_the_proof_calibrate_nothing_by_path_or_content(tmp_path: Path) -> None:
    table = Table(frame(["a/1", "a/2", "a/3", "b/1"], ["a", "a", "a", "b"], ["w", "x", "y", "z"]), tmp_path)
    proof = Table(frame(["1", "2"], ["q", "q"], ["w", "y"]), tmp_path / "a")
    rows = _without(table, ProofImages(proof, proof.frame, "proof"))
    assert list(rows["file_name"]) == ["b/1"]


def test_calibration_images_are_spread_over_classes() -> None:
    names = [f"{number}" for number in range(60)]
    rows = _spread(frame(names, ["much"] * 50 + [str(number) for number in range(10)]), 15)
    assert len(rows) == 15
    assert rows["label"].nunique() == 11
    again = _spread(frame(names[::-1], [str(number) for number in range(9, -1, -1)] + ["much"] * 50), 15)
    assert set(again["file_name"]) == set(rows["file_name"])


def test_without_images_the_problem_names_the_parameter(tmp_path: Path) -> None:
    proof = Table(frame(["1", "2"], ["q", "q"]), tmp_path)
    images = ProofImages(proof, proof.frame, "proof")
    with pytest.raises(EmlError) as error:
        load_images(tiny_model(Identity()), "timm:x", None, images)
    assert (error.value.code, error.value.parameter) == ("missing-key", "calibrate_on")
