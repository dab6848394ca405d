"""An optimizer step: mixed images, float16, frozen layers."""

import math
from pathlib import Path

import pytest
import torch

from eml.dataset.table import Table
from eml.images.loading import normalise
from eml.margins import Margin
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.fit import Run, fit
from eml.training.nan_check import NotFiniteError
from tests.training.runs import MARGINS_WITHOUT_MIX, changed, left_by, stop_at

pytestmark = pytest.mark.slow

MIX = {"type": "mixup", "alpha": 8}
CUT = {"type": "cutmix", "share": "image"}


def test_frozen_stages_and_batchnorm_statistics_do_not_move(config: RunConfig, table: Table) -> None:
    model = {**config.model.model_dump(), "freeze": 2, "batch_norm": "frozen"}
    run = Run(build_parts(changed(config, model=model), table))
    before = {name: value.clone() for name, value in run.parts.embedder.backbone.state_dict().items()}
    for pixels, rows in run.batches.of_epoch(1, 0):
        run.step(pixels, rows)
    moved = {
        name for name, value in run.parts.embedder.backbone.state_dict().items() if not torch.equal(value, before[name])
    }
    assert not {name for name in moved if "running" in name or "num_batches" in name}
    assert not {name for name in moved if name.startswith(("conv1", "bn1", "layer1"))}
    assert any(name.startswith("layer4") for name in moved)


def test_a_frozen_backbone_does_not_move_at_all(config: RunConfig, table: Table) -> None:
    rates = {"lr": {"backbone": 0, "neck": 1e-3, "class_weights": 1e-2}}
    run = Run(build_parts(changed(config, optimizer=rates), table))
    before = {name: value.clone() for name, value in run.parts.embedder.state_dict().items()}
    run.step(*next(run.batches.of_epoch(1, 0)))
    moved = {name for name, value in run.parts.embedder.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("neck") for name in moved)


def test_float16_leaves_a_fused_step_out_and_takes_the_next(config: RunConfig, table: Table) -> None:
    run = Run(build_parts(changed(config, precision="float16"), table))
    before = [each.detach().clone() for each in run.parts.embedder.parameters()]
    pixels, rows = next(run.batches.of_epoch(1, 0))
    line = run.step(pixels, rows)  # at the first scale, 65,536, it overflows
    assert line["gradient_norm"] is None
    assert all(torch.equal(each, old) for each, old in zip(run.parts.embedder.parameters(), before, strict=True))
    assert {float(held["step"]) for held in run.parts.optimizer.state.values()} == {0.0}
    while line["gradient_norm"] is None:
        line = run.step(pixels, rows)
    assert {float(held["step"]) for held in run.parts.optimizer.state.values()} == {1.0}
    for each, old in zip(run.parts.embedder.parameters(), before, strict=True):
        assert each.grad is not None
        assert not torch.equal(each, old) or not each.grad.any()  # weights that end as zeros have no way back yet


def losses(config: RunConfig, table: Table, steps: int = 2) -> list[float]:
    run = Run(build_parts(config, table))
    batches = run.batches.of_epoch(1, 0)
    return [run.step(*next(batches))["loss"] for _ in range(steps)]


STEPPED = ("arcface", "curricularface", "adaface", "elastic_arcface", "soft_triple")
"""Margins with a state, draws, norms and centres, and a plain one; tests/head mixes the labels of all of them."""


@pytest.mark.parametrize(
    "margin",
    [
        name if name in STEPPED else pytest.param(name, marks=pytest.mark.wide)
        for name in sorted(Margin.members().keys() - MARGINS_WITHOUT_MIX)
    ],
)
def test_every_margin_with_a_softmax_and_no_memory_trains_on_mixed_images(
    margin: str, config: RunConfig, table: Table
) -> None:
    plain = losses(changed(config, margin={"type": margin}), table)
    for mix in (MIX, CUT):
        mixed = losses(changed(config, margin={"type": margin}, mix=mix), table)
        assert all(math.isfinite(each) for each in mixed)
        assert mixed[0] != plain[0]
        assert mixed[1] != plain[1]


@pytest.mark.wide
def test_a_chance_of_zero_is_the_unmixed_run_to_the_byte(config: RunConfig, table: Table, tmp_path: Path) -> None:
    fit(config, table)
    other = changed(config, mix={**MIX, "chance": 0}, output=tmp_path / "never")
    fit(other, table)
    assert left_by(other.output) == left_by(config.output)


def test_mixed_images_go_through_the_network_in_parts_to_the_same_loss(config: RunConfig, table: Table) -> None:
    """Mixed as a whole batch first: partners may be in another part."""
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
    run, twin = (Run(build_parts(config, table)) for _ in range(2))
    pixels, rows = next(run.batches.of_epoch(1, 0))
    line = run.step(pixels, rows)
    next(twin.batches.of_epoch(1, 0))  # sets the modules to training
    assert config.mix is not None
    mixed = config.mix(normalise(pixels, twin.parts.preprocess), seed=config.seed, step=0, steps=10)
    assert mixed is not None
    with torch.no_grad():
        cosine = torch.nn.functional.normalize(twin.parts.embedder(mixed.images))
        cosine = cosine @ torch.nn.functional.normalize(twin.parts.head.class_weights).T
    own = torch.from_numpy(twin.parts.data.labels)[rows]
    loss = cosine_y = accuracy = torch.zeros(())
    for labels, share in ((own, mixed.share), (own[mixed.partners], 1 - mixed.share)):
        loss = loss + (share * torch.nn.functional.cross_entropy(16 * cosine, labels, reduction="none")).mean()
        cosine_y = cosine_y + (share * cosine.gather(1, labels.unsqueeze(1)).squeeze(1)).mean()
        accuracy = accuracy + (share * (cosine.argmax(1) == labels)).mean()
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert line["target_cosine"] == pytest.approx(cosine_y.item(), abs=1e-5)
    assert line["accuracy"] == pytest.approx(accuracy.item(), abs=1e-5)


def test_a_mixed_batch_that_is_not_finite_names_its_images_and_how_to_go_on(
    config: RunConfig, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eml.training.step.plugin_options", lambda: ["--plugin", "own.py"])
    run = Run(build_parts(changed(config, mix=MIX), table))
    layer = run.parts.embedder.backbone.get_submodule("layer2")
    layer.register_forward_hook(lambda module, inputs, output: output * math.inf)
    problem = (
        r"(?s)step 1: the loss is nan; .*first layer.*layer3.*c\d/\d\.png.*--accept-changes --plugin own\.py --set"
    )
    with pytest.raises(NotFiniteError, match=problem):
        run.step(*next(run.batches.of_epoch(1, 0)))


@pytest.mark.wide
def test_float16_scales_its_gradient_and_saves_the_scale(config: RunConfig, table: Table) -> None:
    half = changed(config, precision="float16", optimizer={"clip": 1.0}, epochs=1)
    run = Run(build_parts(half, table))
    epochs = range(1, 9)  # the scale falls until nothing overflows, on some processors later than on others
    lines = [run.step(pixels, rows) for epoch in epochs for pixels, rows in run.batches.of_epoch(epoch, 0)]
    norms = [line["gradient_norm"] for line in lines if line["gradient_norm"] is not None]  # None: it overflowed
    assert norms
    assert max(norms) < 1e4, "unscaled before it is measured"
    stop_at(half, table, 3)
    fit(half, table, resume=True)


def test_a_gradient_that_overflows_in_float16_moves_nothing_sampled_class_weights_included(
    config: RunConfig, table: Table
) -> None:
    sampled = {"scale": 16, "mode": {"type": "sampled", "fraction": 0.8}}
    run = Run(build_parts(changed(config, precision="float16", head=sampled), table))
    before = run.parts.head.class_weights.clone()
    line = run.step(*next(run.batches.of_epoch(1, 0)))  # at the first scale, 65,536, it overflows
    assert line["gradient_norm"] is None
    assert torch.equal(run.parts.head.class_weights, before)
    assert run.parts.head.sampled_rows() == []
