"""Runs with mixed images: with every margin that takes two labels, refused with the others, resumed to the byte."""

import math
from pathlib import Path

import pytest
import torch

from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.images.loading import normalise
from eml.margins import Margin
from eml.training.config import RunConfig
from eml.training.dry_run import rehearse
from eml.training.fit import Run, check, fit
from eml.training.nan_check import NotFiniteError
from tests.training.runs import changed, left_by, stop_at

DEFAULTS = {name: member.model_validate({"type": name}) for name, member in Margin.members().items()}
REFUSED = {name for name, each in DEFAULTS.items() if each.reduction != "softmax" or each.prototypes() is not None}
MIX = {"type": "mixup", "alpha": 8}
CUT = {"type": "cutmix", "share": "image"}


def losses(config: RunConfig, table: Table, steps: int = 2) -> list[float]:
    run = Run(config, table, lambda event: None)
    batches = run.batches(1, 0)
    return [run.step(*next(batches))["loss"] for _ in range(steps)]


@pytest.mark.parametrize("margin", sorted(Margin.members().keys() - REFUSED))
def test_every_margin_with_a_softmax_and_no_memory_trains_on_mixed_images(
    margin: str, config: RunConfig, table: Table
) -> None:
    plain = losses(changed(config, margin={"type": margin}), table)
    for mix in (MIX, CUT):
        mixed = losses(changed(config, margin={"type": margin}, mix=mix), table)
        assert all(math.isfinite(each) for each in mixed)
        assert mixed[0] != plain[0]
        assert mixed[1] != plain[1]


@pytest.mark.parametrize("margin", sorted(REFUSED))
def test_the_other_margins_are_refused_before_anything_is_read(margin: str, config: RunConfig, table: Table) -> None:
    wrong = changed(config, margin={"type": margin}, mix=MIX, device="cuda:9", optimizer={"name": "adamww"})
    with pytest.raises(
        ConfigError, match=rf"mix: mixup .*margin\.type {margin} .*takes two: adacos, .*arcface"
    ) as error:
        check(wrong, resume=False, overwrite=False)
    assert len(error.value.problems) == 3, "the other problems are told of too"
    assert not any(name in str(error.value).partition("takes two")[2] for name in REFUSED)
    with pytest.raises(ConfigError, match=r"mix: mixup gives every image two labels"):
        Run(changed(config, margin={"type": margin}, mix=MIX), table, lambda event: None)


def test_the_margins_that_are_refused_are_at_least_these() -> None:
    assert {"proxy_anchor", "sphereface2", "uniface", "vpl"} <= REFUSED


def test_the_heads_memory_is_refused_too_and_said_to_be_the_reason(config: RunConfig) -> None:
    remembering = changed(config, head={"prototypes": "vpl"}, mix=CUT)
    with pytest.raises(ConfigError, match=r"mix: cutmix .* head\.prototypes remembers .*or head\.prototypes: none$"):
        check(remembering, resume=False, overwrite=False)
    check(changed(remembering, mix=None), resume=False, overwrite=False)


def test_a_chance_of_zero_is_the_unmixed_run_to_the_byte(config: RunConfig, table: Table, tmp_path: Path) -> None:
    fit(config, table)
    other = changed(config, mix={**MIX, "chance": 0}, output=tmp_path / "never")
    fit(other, table)
    assert left_by(other.output) == left_by(config.output)


def test_a_mixed_run_stopped_and_resumed_equals_an_uninterrupted_one_byte_for_byte(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    model = {**config.model.model_dump(), "neck": {"type": "linear", "size": 16, "dropout": 0.5}}
    mix = {"type": "mixup_or_cutmix", "chance": 0.8, "until": 0.9, "share": "image"}
    whole = changed(config, model=model, margin={"type": "elastic_arcface"}, mix=mix)
    fit(whole, table)
    other = changed(whole, output=tmp_path / "stopped")
    stop_at(other, table, 3)
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(whole.output)
    assert left_by(other.output)["steps.jsonl"] != b""


def test_mixed_images_go_through_the_network_in_parts_to_the_same_loss(config: RunConfig, table: Table) -> None:
    """Mixed as a whole batch first: positives may be in another part."""
    frozen = changed(config, model={**config.model.model_dump(), "batch_norm": "frozen", "neck": {"type": "identity"}})
    one = losses(changed(frozen, mix=CUT), table)
    two = losses(changed(frozen, mix=CUT, accumulate=2), table)
    assert one == pytest.approx(two, rel=1e-4)


@pytest.mark.parametrize("mix", [{**MIX, "share": "image"}, {**CUT, "alpha": 3}], ids=["mixup", "cutmix"])
def test_a_mixed_step_is_that_of_the_mixed_images_with_both_labels_by_their_shares(
    mix: dict[str, object], config: RunConfig, table: Table
) -> None:
    """Loss and statistics against a plain softmax of cosines, computed from a twin of the run."""
    config = changed(config, mix=mix, margin={"type": "normface"})
    run, twin = (Run(config, table, lambda event: None) for _ in range(2))
    pixels, rows = next(run.batches(1, 0))
    line = run.step(pixels, rows)
    next(twin.batches(1, 0))  # sets the modules to training
    assert config.mix is not None
    mixed = config.mix(normalise(pixels, twin.preprocess), seed=config.seed, step=0, steps=10)
    assert mixed is not None
    with torch.no_grad():
        cosine = torch.nn.functional.normalize(twin.embedder(mixed.images))
        cosine = cosine @ torch.nn.functional.normalize(twin.head.class_weights).T
    own = torch.from_numpy(twin.sets.labels)[rows]
    loss = cosine_y = accuracy = torch.zeros(())
    for labels, share in ((own, mixed.share), (own[mixed.positives], 1 - mixed.share)):
        loss = loss + (share * torch.nn.functional.cross_entropy(16 * cosine, labels, reduction="none")).mean()
        cosine_y = cosine_y + (share * cosine.gather(1, labels.unsqueeze(1)).squeeze(1)).mean()
        accuracy = accuracy + (share * (cosine.argmax(1) == labels)).mean()
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert line["target_cosine"] == pytest.approx(cosine_y.item(), abs=1e-5)
    assert line["accuracy"] == pytest.approx(accuracy.item(), abs=1e-5)


def test_a_mixed_batch_that_is_not_finite_names_its_images(config: RunConfig, table: Table) -> None:
    run = Run(changed(config, mix=MIX), table, lambda event: None)
    layer = run.embedder.backbone.get_submodule("layer2")
    layer.register_forward_hook(lambda module, inputs, output: output * math.inf)
    with pytest.raises(NotFiniteError, match=r"(?s)step 1: the loss is nan; .*first layer.*layer3.*c\d/\d\.png"):
        run.step(*next(run.batches(1, 0)))


def test_a_rehearsal_mixes_its_steps_whatever_the_chance(
    config: RunConfig, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    loss = Run._loss
    monkeypatch.setattr(Run, "_loss", lambda run, x, labels, mixed: calls.append(mixed) or loss(run, x, labels, mixed))
    for chance, taken in ((0.01, 2), (0, 0)):
        calls.clear()
        facts, _ = rehearse(changed(config, mix={**MIX, "chance": chance, "until": 0.01}), table)
        assert len(calls) == 2
        assert sum(each is not None for each in calls) == taken
        assert facts["steps"] == 10
