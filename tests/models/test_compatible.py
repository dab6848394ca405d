"""What a checkpoint declares of older models whose galleries its queries fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eml
from eml.models.checkpoint import (
    COMPATIBLE_FORMAT,
    FORMAT,
    declare_compatible,
    load_checkpoint,
    read_compatible,
)
from eml.models.compatible import CompatibleModel, RatesAtThreshold, declared

FIXTURES = Path(__file__).parents[1] / "fixtures"
OLD = "0123456789abcdef0123456789abcdef"


def compatible_model(crossed: float = 0.6, **fields: object) -> CompatibleModel:
    values = {"fingerprint": OLD, "own": "f" * 32, "name": "runs/old", "backbone": "test_resnet"}
    values |= {"measured_on": "the held-out fold", "queries": 90, "classes": 20, "old": 0.5, "new": 0.7}
    return CompatibleModel.model_validate(values | {"crossed": crossed} | fields)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of eml 0.1.0."""
    return Path(shutil.copytree(FIXTURES / "v0_1_0" / "run" / "checkpoints" / "epoch-020", tmp_path / "epoch-020"))


def test_a_declaration_changes_nothing_else_and_is_refused_by_an_eml_that_does_not_know_it(checkpoint: Path) -> None:
    before = load_checkpoint(checkpoint)
    declare_compatible(checkpoint, compatible_model())
    after = load_checkpoint(checkpoint)
    stored = json.loads((checkpoint / "config.json").read_text())
    assert stored["format"] == after.config.format == COMPATIBLE_FORMAT > FORMAT
    assert after.config.compatible_with == read_compatible(checkpoint) == (compatible_model(),)
    changed = {"format": before.config.format, "compatible_with": ()}
    assert after.config.model_copy(update=changed) == before.config
    assert not stored.keys() & {"members", "compression", "inference"}, "keys that say nothing are not written"


def test_a_second_measurement_of_a_model_replaces_the_first(checkpoint: Path) -> None:
    for model in (compatible_model(), compatible_model(fingerprint="e" * 32), compatible_model(0.65)):
        declare_compatible(checkpoint, model)
    assert [(model.fingerprint[0], model.crossed) for model in read_compatible(checkpoint)] == [("e", 0.6), ("0", 0.65)]


def test_a_worse_gallery_is_never_declared(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="is below its own"):
        declare_compatible(checkpoint, compatible_model(0.4999))
    assert read_compatible(checkpoint) == ()


def test_a_declaration_is_of_one_model_as_it_was_measured() -> None:
    models = (compatible_model(),)
    assert declared(models, OLD, "f" * 32) is models[0]
    assert declared(models, OLD, "0" * 32) is None
    assert declared(models, "0" * 32, "f" * 32) is None


def test_what_was_measured_is_said_in_a_sentence() -> None:
    rates = {"threshold": 0.5, "old_false_accept": 0.01, "new_false_accept": 0.034}
    rates |= {"old_recognised": 0.8, "new_recognised": 0.9}
    model = compatible_model(interval=(0.02, 0.18), rates=RatesAtThreshold.model_validate(rates))
    assert model.text == (
        "on the held-out fold, 90 queries of 20 classes, MAP@R is 0.500 by the older model alone, 0.600 by queries of "
        "the new model on the older one's gallery (change +0.100, 95 % interval +0.020 to +0.180), and 0.700 by the "
        "new model on a gallery of its own"
    )
    assert model.threshold_text == (
        "its threshold 0.500 accepted 3.4% of the unknown queries by the new model, 1.0% by its own"
    )
    assert "was not measured" in compatible_model().threshold_text


def test_a_checkpoint_of_the_first_format_with_declarations_keeps_loading(checkpoint: Path, tmp_path: Path) -> None:
    plain = eml.load(checkpoint, device="cpu")
    shutil.copy(FIXTURES / "compatible" / "config.json", checkpoint / "config.json")
    model = eml.load(checkpoint, device="cpu")
    photo = Image.fromarray(np.arange(3 * 32 * 32, dtype=np.uint8).reshape(32, 32, 3))
    np.testing.assert_array_equal(model.embed(photo), plain.embed(photo))
    (entry,) = model.compatible_with
    assert declared(model.compatible_with, OLD, model.fingerprint.digest) is entry
    assert (entry.crossed, entry.interval) == (0.61, (0.02, 0.2))
    assert entry.rates is not None
    assert entry.rates.new_false_accept == 0.02
