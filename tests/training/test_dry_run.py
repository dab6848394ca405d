"""The dry run."""

import pytest

from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.training import fit as training_fit
from eml.training.config import RunConfig
from eml.training.dry_run import dry_run
from tests.training.runs import changed

pytestmark = pytest.mark.slow

MIX = {"type": "mixup", "alpha": 8}


def test_a_dry_run_writes_nothing(config: RunConfig, table: Table) -> None:
    result = dry_run(config, table)
    assert (result.steps, result.facts.train_images, result.facts.train_classes) == (10, 20, 5)
    assert not config.output.exists()


def test_a_dry_run_counts_the_validations_into_its_time(config: RunConfig, table: Table) -> None:
    result = dry_run(config, table)
    assert result.validations == 3, "before training and after both epochs"
    assert result.facts.validation_question == "new images of known classes"
    seldom = dry_run(changed(config, epochs=1000, validation={"every": 300}), table)
    assert seldom.validations == 5, "before training, after 300, 600 and 900 epochs, and at the end"
    assert seldom.seconds_per_validation is not None
    both = seldom.seconds_per_step * seldom.steps + seldom.seconds_per_validation * seldom.validations
    assert seldom.minutes * 60 == pytest.approx(both, abs=8)
    without = dry_run(changed(config, data={"table": table.path, "fold": None}), table)
    assert (without.validations, without.seconds_per_validation) == (0, None)
    assert without.minutes == without.minutes_without_validation


def test_a_dry_run_mixes_its_steps_whatever_the_chance(
    config: RunConfig, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    mix = training_fit.mix_images

    def recorded(*arguments):
        images, mixed = mix(*arguments)
        calls.append(mixed)
        return images, mixed

    monkeypatch.setattr(training_fit, "mix_images", recorded)
    for chance, taken in ((0.01, 2), (0, 0)):
        calls.clear()
        result = dry_run(changed(config, mix={**MIX, "chance": chance, "until": 0.01}), table)
        assert len(calls) == 2
        assert sum(each is not None for each in calls) == taken
        assert result.steps == 10


def test_a_dry_run_warns_of_likely_mistakes(config: RunConfig, table: Table) -> None:
    frame = table.frame[(table.frame["label"] != "c0") | (table.frame["fold"] == 1)].assign(width=10, height=10)
    frame = frame[(frame["label"] != "c0") | ~frame["label"].duplicated()]
    wrong = changed(
        config,
        optimizer={"lr": {"backbone": 1e-2, "class_weights": 1e-3}},
        accumulate=2,
        loss={"type": "cross_entropy", "label_smoothing": 0.3},
    )
    result = dry_run(wrong, Table(frame, table.root, table.path))
    assert result.network_and_optimizer_mib > 1
    for part in ("1 of 5 classes have one image", "class_weights 0.001 is below", "enlarged more than 2", "BatchNorm",
                 "label_smoothing"):  # fmt: skip
        assert any(part in line for line in result.warnings), (part, result.warnings)


def test_it_says_that_stages_are_off_and_which_keys_then_do_nothing(config: RunConfig, table: Table) -> None:
    short = changed(config, data={"table": table.path, "fold": 0, "workers": 0}, test_views=["crops"], epochs=1)
    warnings = dry_run(changed(short, refit=False), table).warnings
    assert "test_views does nothing here: stages: none" in warnings
    assert not any("refit" in line for line in warnings), "what is off does nothing, as it should"
    reason = "a neck of type linear makes embeddings of another size than the network's features (model.neck)"
    warnings = dry_run(changed(short, stages="auto"), table).warnings
    assert f"stages are off: {reason}" in warnings
    assert "test_views does nothing here: stages are off" in warnings


def test_a_cache_smaller_than_the_images_is_refused(config: RunConfig, table: Table) -> None:
    cache = {"format": "raw", "side": 16}
    with pytest.raises(ConfigError, match=r"data\.cache\.side must be at least image\.size, 32"):
        dry_run(changed(config, data=config.data.model_dump() | {"cache": cache}), table)
