"""What a card takes from a run: its evaluations of these very weights, and how it was trained; no paths."""

import json
import shutil
from pathlib import Path

import pytest

import eml
from eml.exporting.hub.card_facts import collect_card_facts, measured_tables, read_card_facts, write_card_facts
from eml.exporting.hub.parts import parts_of
from eml.inference.model import Model

RUN = Path(__file__).parents[2] / "fixtures" / "v0_1_0" / "run"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A run of eml 0.1.0 as a model."""
    run = Path(shutil.copytree(RUN, tmp_path_factory.mktemp("runs") / "somewhere" / "run"))
    return eml.load(run, device="cpu")


def test_evaluations_of_other_weights_are_left_out(model: Model) -> None:
    assert model.folder is not None
    run = model.folder.parents[1]
    assert measured_tables(run, model.fingerprint) == []
    file = next((run / "evaluations").glob("*/metrics.json"))
    facts = json.loads(file.read_text())
    file.write_text(json.dumps(facts | {"fingerprint": model.fingerprint.digest}))
    (table,) = measured_tables(run, model.fingerprint)
    assert (table.name, table.queries, table.classes, table.confidence) == ("dataset_test", 30, 5, 0.95)
    assert table.values == {"recall_at_1": 0.3, "map_at_r": pytest.approx(0.1098, abs=1e-4)}
    assert table.overlap == "not recorded"


def test_facts_name_how_it_was_trained_and_no_path(model: Model, tmp_path: Path) -> None:
    facts = collect_card_facts(model, parts_of(model), "mit")
    assert facts.training["epochs"] == "20"
    assert facts.trained_images is None, "an earlier version recorded no images"
    assert facts.trained_classes == len(model.trained_on.classes)  # type: ignore[union-attr]
    assert facts.licence == "mit"
    (tmp_path / "eml").mkdir()
    write_card_facts(tmp_path, facts)
    assert read_card_facts(tmp_path) == facts
    assert "somewhere" not in (tmp_path / "eml/card.json").read_text()
