"""Dense, tiled and sampled (all classes) give one result."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.losses import Loss
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin
from eml.margins.arcface import ArcFace
from eml.margins.cosface import CosFace
from tests.head.heads import BATCH, CLASSES, LABELS, LABELS_B, MODES, NAMES, SETTINGS, SIZE, embeddings, head_of


def results(
    margin: Margin, config: dict[str, object], loss: Loss, mode: dict[str, object], dtype: torch.dtype, *, mixup: bool
) -> dict[str, Tensor]:
    """Terms, loss, gradients and state of the second of two steps, so that the state has moved."""
    head = head_of(margin, config, mode, dtype)
    draws = torch.Generator().manual_seed(5)
    found: dict[str, Tensor] = {}
    for step in range(2):
        x, share = embeddings(dtype, step), torch.rand(BATCH, generator=draws, dtype=torch.float64).to(dtype)
        if mixup:
            terms, terms_b = head.mixed(x, LABELS, LABELS_B, share)
            losses = loss.mixed(terms, terms_b, share)
        else:
            terms = head(x, LABELS)
            losses = loss(terms)
        head.zero_grad()
        (losses * torch.linspace(0.5, 1.5, BATCH, dtype=dtype)).sum().backward()
        rows = head.sampled_rows()
        found = {"losses": losses, "x": x.grad, "weights": rows[-1].grad if rows else head.class_weights.grad}
        found |= {f"grad {name}": each.grad for name, each in head.named_parameters() if name != "class_weights"}
        found |= {f"state {name}": each for name, each in head.state().items()}
        for name in ("target_logit", "log_sum_exp", "mean_logit", "cosine_y", "correct", "nearest"):
            found[name] = getattr(terms, name)
    return {name: each.detach().double() for name, each in found.items()}


ALLOWED = {torch.float64: 1e-12, torch.float32: 1e-5}
ONE_LABEL = [False, pytest.param(True, marks=pytest.mark.slow)]
KEPT, SAMPLED = MODES[3], MODES[6]
"""Several tiles, of which one is kept and the last is not full; and all classes as a sample."""


def check_agreement(name: str, modes: list[dict[str, object]], dtype: torch.dtype, *, mixup: bool) -> None:
    margin, config, loss = SETTINGS[name]
    if mixup and (margin.reduction != "softmax" or head_of(margin, config, MODES[0], torch.float64).memory is not None):
        pytest.skip("mixup does not go with it")
    expected = results(margin, config, loss, MODES[0], dtype, mixup=mixup)
    for mode in modes:
        got = results(margin, config, loss, mode, dtype, mixup=mixup)
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            error = (got[key] - value).abs().max() / value.abs().max().clamp_min(1)
            assert error <= ALLOWED[dtype], f"{mode}: {key} differs by {error:.1e} in {dtype}"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mixup", ONE_LABEL, ids=["one-label", "mixup"])
def test_dense_tiled_and_fully_sampled_agree(name: str, mixup: bool) -> None:
    """Each margin in each way through the tiles; each of its variants in those that differ most."""
    is_variant = "-" in name
    modes = [KEPT, SAMPLED] if is_variant or mixup else [MODES[2], KEPT, MODES[5], SAMPLED]
    check_agreement(name, modes[:1] if is_variant and mixup else modes, torch.float64, mixup=mixup)
    if not is_variant and not mixup:
        check_agreement(name, [KEPT], torch.float32, mixup=mixup)


@pytest.mark.wide
@pytest.mark.parametrize("dtype", ALLOWED, ids=str)
@pytest.mark.parametrize("mixup", ONE_LABEL, ids=["one-label", "mixup"])
@pytest.mark.parametrize("name", SETTINGS)
def test_all_modes_agree_in_both_precisions(name: str, mixup: bool, dtype: torch.dtype) -> None:
    check_agreement(name, MODES[1:], dtype, mixup=mixup)


@pytest.mark.parametrize("mode", MODES[:-1], ids=str)
def test_a_margin_survives_a_target_that_all_but_fills_the_softmax(mode: dict[str, object]) -> None:
    """p → 1 − e^−118, where a sum over all classes less the target's share would leave nothing of the other class."""
    head = ClassHead(CosFace(m=0.1), 2, 2, HeadConfig.model_validate({"scale": 64.0, "mode": mode}))
    head.class_weights.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    x = torch.tensor([[1.0, 0.0]], requires_grad=True)
    terms = head(x, torch.tensor([0]))
    assert terms.log_sum_exp.item() == pytest.approx(64 * 0.9)
    gap = head(x.roll(1, 1), torch.tensor([0]))  # at right angles to both: z_j − z_y = 6.4
    assert (gap.log_sum_exp - gap.target_logit).item() == pytest.approx(6.4016605, abs=1e-5)


@pytest.mark.parametrize("mode", [{"type": "dense"}, {"type": "tiled", "tile": 1}], ids=str)
def test_two_classes_that_are_both_labels_leave_no_negatives_and_no_nan(mode: dict[str, object]) -> None:
    head = ClassHead(ArcFace(), 2, SIZE, HeadConfig.model_validate({"scale": 8.0, "mode": mode}))
    x = embeddings(torch.float32, 0)
    first, second = head.mixed(x, torch.tensor([0, 1] * 3), torch.tensor([1, 1] * 3), 0.4)
    CrossEntropy().mixed(first, second, 0.4).sum().backward()
    assert x.grad is not None
    assert head.class_weights.grad is not None
    assert x.grad.isfinite().all()
    assert head.class_weights.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("tile", [None, 2])
def test_a_corrected_sample_agrees_between_dense_and_tiled(tile: int | None) -> None:
    """The tiled path inside mode sampled is reached by a limit of its own; here it is called by hand."""
    for name, (margin, config, loss) in SETTINGS.items():
        if "centers" in config:
            continue
        got = []
        for tiled in (False, True):
            mode = {"type": "sampled", "fraction": 0.6, "correction": True}
            head = head_of(margin, config, mode, torch.float64)
            if tiled:
                plan = replace(head.plan(BATCH), tile=tile or 64, kept=0)
                head.plan = lambda batch_size, plan=plan: plan  # type: ignore[method-assign, misc]
            x = embeddings(torch.float64, 1)
            loss(head(x, LABELS)).sum().backward()
            got.append((x.grad, head.sampled_rows()[0].grad))
        for one, other in zip(*got, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10, msg=name)


def test_bfloat16_factors_round_the_negatives_and_not_the_target() -> None:
    full = head_of(ArcFace(), {}, MODES[0], torch.float32)
    low = head_of(ArcFace(), {"product": "bfloat16"}, {"type": "tiled", "tile": 4}, torch.float32)
    x = embeddings(torch.float32, 0)
    exact, rounded = full(x, LABELS), low(x, LABELS)
    assert torch.equal(exact.target_logit, rounded.target_logit)
    assert not torch.equal(exact.log_sum_exp, rounded.log_sum_exp)
    torch.testing.assert_close(exact.log_sum_exp, rounded.log_sum_exp, rtol=0, atol=0.1)
    rounded.log_sum_exp.sum().backward()


def test_class_weights_in_any_memory_layout_get_the_dense_gradient() -> None:
    """(K, C, D) weights seen as (C, K, D), and (D, C) ones as (C, D): views that no flattening can write through."""
    for shape in ((3, CLASSES, SIZE), (SIZE, CLASSES)):
        gradients = []
        for mode in ({"type": "dense"}, {"type": "tiled", "tile": 4, "memory": 0}):
            torch.manual_seed(0)
            weights = torch.nn.Parameter(torch.randn(*shape, dtype=torch.float64).transpose(0, 1))
            assert not weights.is_contiguous()
            config = HeadConfig.model_validate({"scale": 8.0, "mode": mode, "centers": 3 if weights.ndim == 3 else 1})
            head = ClassHead(ArcFace(), CLASSES, SIZE, config, class_weights=weights, dtype=torch.float64)
            CrossEntropy()(head(embeddings(torch.float64, 0), LABELS)).sum().backward()
            gradients.append(weights.grad)
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-12, atol=1e-12)


def test_a_second_derivative_of_tiled_mode_is_refused_and_a_first_one_in_a_graph_is_not() -> None:
    def gradient(mode: dict[str, object], x: Tensor) -> Tensor:
        head = head_of(ArcFace(), {}, mode, torch.float64)
        return torch.autograd.grad(CrossEntropy()(head(x, LABELS)).sum(), x, create_graph=True)[0]

    x = embeddings(torch.float64, 0)
    tiled, dense = gradient(MODES[2], x), gradient(MODES[0], x)
    torch.testing.assert_close(tiled, dense)
    with pytest.raises(RuntimeError, match="mode 'tiled' of the class head has no second derivative"):
        torch.autograd.grad(tiled.square().sum(), x)
    assert torch.autograd.grad(dense.square().sum(), x)[0].abs().sum() > 0
