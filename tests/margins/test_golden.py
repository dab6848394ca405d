"""Logits, loss, both gradients and the state equal the published implementations' numbers (tests/golden/README.md)."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from eml.head.class_head import ClassHead
from eml.head.class_margins import Power
from eml.head.config import HeadConfig
from eml.losses import Loss
from eml.losses.cross_entropy import CrossEntropy
from eml.margins import Margin, Prototypes
from eml.margins.adacos import AdaCos
from eml.margins.adaface import AdaFace
from eml.margins.arcface import ArcFace
from eml.margins.combined import Combined
from eml.margins.cosface import CosFace
from eml.margins.curricularface import CurricularFace
from eml.margins.elastic_arcface import ElasticArcFace
from eml.margins.elastic_cosface import ElasticCosFace
from eml.margins.magface import MagFace
from eml.margins.normface import NormFace
from eml.margins.softmax import Softmax
from eml.margins.sphereface import SphereFace
from eml.margins.subcenter_arcface import SubcenterArcFace
from eml.margins.uniface import UniFace
from eml.margins.vpl import VPL

GOLDEN = Path(__file__).parent.parent / "golden"


@dataclass
class Case:
    """How to set up ours. mxnet: made by MXNet, whose own error is larger."""

    margin: Margin
    scale: float = 64
    loss: Loss = field(default_factory=CrossEntropy)
    mxnet: bool = False
    config: dict[str, object] = field(default_factory=dict)


CASES: dict[str, Case] = {
    "arcface_thmm": Case(ArcFace(past_pi="linear")),
    "arcface_easy": Case(ArcFace(past_pi="easy"), 30),
    "arcface_detached": Case(ArcFace(past_pi="none", gradient="detached")),
    "arcface_thmm_ls01": Case(ArcFace(past_pi="linear"), loss=CrossEntropy(label_smoothing=0.1)),
    "arcface_dynamic_paper": Case(ArcFace(past_pi="linear"), 80, config={"class_margins": Power(a=0.5, b=0.05)}),
    "combined_mxnet_all3": Case(Combined(m1=0.9, m2=0.4, m3=0.15, past_pi="none"), mxnet=True),
    "combined_mxnet_paper": Case(Combined(m1=1, m2=0.3, m3=0.2, past_pi="none"), mxnet=True),
    "cosface": Case(CosFace(m=0.35)),
    "elastic_arc": Case(ElasticArcFace(m=0.5, sigma=0.05, past_pi="none")),
    "elastic_cos": Case(ElasticCosFace(m=0.35, sigma=0.05)),
    "magface": Case(MagFace(lambda_g=35)),
    "normface": Case(NormFace()),
    "softmax": Case(Softmax(), 1),
    "sphereface_final": Case(SphereFace(m=4)),
    "sphereface_opensphere": Case(SphereFace(m=1.7, feature_norm=False, annealing=False, gradient="detached"), 30),
    "subcenter_mxnet_arc": Case(SubcenterArcFace(past_pi="none", centers=3), mxnet=True),
}
UNPROJECTED = {"sphereface_opensphere"}  # the reference's gradient with respect to a class weight taken as unit


def read(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        golden = dict(stored)
    assert json.loads(str(golden["meta"]))["name"] == name
    return golden


def error(ours: Tensor | None, golden: np.ndarray) -> float:
    assert ours is not None
    return float(np.abs(ours.detach().numpy() - golden).max() / max(1.0, np.abs(golden).max()))


def tangent(gradient: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """The part of a gradient along the sphere, which is all that the length-free embedding feels."""
    return gradient - (gradient * unit).sum(-1, keepdims=True) * unit


def build(case: Case, golden: dict[str, np.ndarray], dtype: torch.dtype = torch.float64) -> ClassHead:
    counts = golden["counts"].tolist() if "counts" in golden else None
    config = HeadConfig.model_validate({"scale": case.scale} | case.config)
    head = ClassHead(case.margin, 50, 32, config, counts=counts, dtype=dtype)
    head.class_weights.data = torch.from_numpy(golden["W"]).to(dtype)
    if head.bias is not None:
        head.bias.data = torch.from_numpy(golden["bias"]).to(dtype)
    return head


def draws_of(case: Case, golden: dict[str, np.ndarray], dtype: torch.dtype) -> Tensor | None:
    if not isinstance(case.margin, ElasticArcFace | ElasticCosFace):
        return None
    return torch.from_numpy((golden["margins_drawn"] - case.margin.m) / case.margin.sigma).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_head_equals_the_reference(name: str, dtype: torch.dtype) -> None:
    case, golden = CASES[name], read(name)
    if name in UNPROJECTED:
        golden["W"] /= np.linalg.norm(golden["W"], axis=1, keepdims=True)
        golden["grad_W"] = tangent(golden["grad_W"], golden["W"])
    head = build(case, golden, dtype)
    if isinstance(case.margin, SphereFace):
        head.margin_steps.fill_(10**7)
    x = torch.from_numpy(golden["x"]).to(dtype).requires_grad_()
    labels, draws = torch.from_numpy(golden["labels"]), draws_of(case, golden, dtype)

    terms = head(x, labels, draws=draws)
    logits, value = head.logits(x, labels, draws=draws), case.loss(terms).mean()
    value.backward()

    exact = dtype == torch.float64
    logits_error = np.abs(logits.detach().numpy() - golden["logits"]).max()
    assert (error(logits, golden["logits"]) if exact else logits_error) < (tolerance(case) if exact else 5e-4)
    assert error(value, golden["loss"]) < (tolerance(case) if exact else 1e-5)
    pairs = [(x.grad, golden["grad_x"]), (head.class_weights.grad, golden["grad_W"])]
    if head.bias is not None:
        pairs.append((head.bias.grad, golden["grad_bias"]))
    for ours, theirs in pairs:
        if exact:
            assert error(ours, theirs) < tolerance(case)
        else:
            assert ours is not None
            assert np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max() < 5e-5


def tolerance(case: Case) -> float:
    return 1e-7 if case.mxnet else 1e-10


STEPS: dict[str, tuple[Margin, list[str]]] = {
    "adacos": (AdaCos(), ["scale"]),
    "adaface": (AdaFace(), ["mean", "std"]),
    "curricularface": (CurricularFace(), ["t"]),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", STEPS)
def test_state_is_updated_then_used_as_in_the_reference(name: str, dtype: torch.dtype) -> None:
    (margin, names), golden, exact = STEPS[name], read(name), dtype == torch.float64
    head = build(Case(margin, 64), golden, dtype)
    for key, value in zip(names, golden["state_init"], strict=True):
        getattr(head, f"margin_{key}").fill_(value)
    for step in range(len(golden["x"])):
        x = torch.from_numpy(golden["x"][step]).to(dtype).requires_grad_()
        labels = torch.from_numpy(golden["labels"][step])
        head.zero_grad()
        value = CrossEntropy()(head(x, labels)).mean()
        value.backward()
        state = torch.stack([head.state()[key] for key in names])
        logits = head.logits(x, labels).detach().numpy()
        assert error(state, golden["state_after"][step]) < (1e-10 if exact else 1e-5)
        assert np.abs(logits - golden["logits"][step]).max() < (64e-10 if exact else 5e-4)
        assert error(value, golden["loss"][step]) < (1e-10 if exact else 1e-5)
        for ours, theirs in ((x.grad, golden["grad_x"][step]), (head.class_weights.grad, golden["grad_W"][step])):
            assert ours is not None
            scale = max(1, np.abs(theirs).max()) * 1e-10 if exact else np.abs(theirs).max() * 5e-5
            assert np.abs(ours.numpy() - theirs).max() < scale


def test_elastic_plus_deals_margins_by_rank_and_with_the_margins_that_upstream_used_equals_it() -> None:
    golden = read("elastic_arc_plus")
    x, labels = torch.from_numpy(golden["x"]), torch.from_numpy(golden["labels"])
    plus = build(Case(ElasticArcFace(m=0.5, sigma=0.0175, plus=True, past_pi="none")), golden)
    logits = plus.logits(x, labels, draws=torch.from_numpy((golden["margins_drawn"] - 0.5) / 0.0175))
    intended = build(Case(ElasticArcFace(m=0.5, sigma=0.5, past_pi="none")), golden)
    by_rank = intended.logits(x, labels, draws=torch.from_numpy(golden["margins_intended"] - 0.5) / 0.5)
    torch.testing.assert_close(logits, by_rank, rtol=0, atol=1e-10)

    used = torch.from_numpy(golden["margins_used"] - 0.5) / 0.5
    x.requires_grad_()
    value = CrossEntropy()(intended(x, labels, draws=used)).mean()
    value.backward()
    assert error(intended.logits(x, labels, draws=used), golden["logits"]) < 1e-10
    assert error(value, golden["loss"]) < 1e-10
    assert error(x.grad, golden["grad_x"]) < 1e-10
    assert error(intended.class_weights.grad, golden["grad_W"]) < 1e-10


def test_mixup_is_the_mean_of_two_losses_each_with_its_own_margin() -> None:
    golden = read("arcface_thmm_mixup")
    head = build(Case(ArcFace(past_pi="linear")), golden)
    x = torch.from_numpy(golden["x"]).requires_grad_()
    labels, labels_b = torch.from_numpy(golden["labels"]), torch.from_numpy(golden["labels_b"])
    value = CrossEntropy().mixed(*head.mixed(x, labels, labels_b, 0.3), 0.3).mean()
    value.backward()
    assert error(head.logits(x, labels), golden["logits"]) < 1e-10
    assert error(head.logits(x, labels_b), golden["logits_b"]) < 1e-10
    assert error(value, golden["loss"]) < 1e-10
    assert error(x.grad, golden["grad_x"]) < 1e-10
    assert error(head.class_weights.grad, golden["grad_W"]) < 1e-10


def test_magface_penalty_is_the_references() -> None:
    golden = read("magface")
    head = build(Case(MagFace(lambda_g=35)), golden)
    terms = head(torch.from_numpy(golden["x"]), torch.from_numpy(golden["labels"]))
    assert error(terms.penalty.mean() / 35, golden["loss_g"]) < 1e-10
    assert error(CrossEntropy().per_sample(terms).mean(), golden["loss_id"]) < 1e-10


def test_class_margins_equal_the_papers_formula() -> None:
    golden = read("arcface_dynamic_paper")
    assert (
        error(torch.tensor(Power().margins(golden["counts"].tolist()), dtype=torch.float64), golden["margins"]) < 1e-12
    )


def test_uniface_equals_the_reference_through_its_clamp() -> None:
    """The reference clamps the exponents at ±s; ours does not, and without the clamp is the formula itself."""
    golden = read("uniface_uce")
    head = build(Case(UniFace(m=0.4)), golden)
    assert head.logit_bias is not None
    assert head.logit_bias.item() == pytest.approx(-golden["bias"].item(), abs=1e-6)
    head.logit_bias.data = torch.from_numpy(-golden["bias"].astype(np.float64)).squeeze()
    x = torch.from_numpy(golden["x"]).requires_grad_()
    labels = torch.from_numpy(golden["labels"])
    hot = torch.nn.functional.one_hot(labels, 50).bool()
    logits = head.logits(x, labels)
    cosine = (logits - head.logit_bias) / 64 + 0.4 * hot.double()
    assert error(cosine, golden["cos"]) < 1e-10

    clamped = logits.clamp(-64, 64)
    value = -torch.where(hot, logsigmoid(clamped), logsigmoid(-clamped)).sum(1).mean()
    value.backward()
    assert error(value, golden["loss"]) < 1e-10
    assert error(x.grad, golden["grad_x"]) < 1e-10
    assert error(head.class_weights.grad, golden["grad_W"]) < 1e-10
    assert -head.logit_bias.grad.item() == pytest.approx(golden["grad_bias"].item(), rel=1e-6)

    plain = -torch.where(hot, logsigmoid(logits), logsigmoid(-logits)).sum(1)
    torch.testing.assert_close(CrossEntropy()(head(x, labels)), plain)


def test_vpl_remembers_and_mixes_as_the_reference() -> None:
    """The reference takes x as unit, and so keeps the part of its gradient along x, which ours projects out."""
    golden = read("vpl_arcface")
    margin = VPL(m=0.5, past_pi="none", gradient="exact", memory=Prototypes(share=0.15, window=2, start=2))
    head = build(Case(margin), golden)
    head.memory_queue.copy_(torch.from_numpy(golden["queue_init"]))
    active = 0
    for step in range(len(golden["x"])):
        unit, labels = golden["x"][step], torch.from_numpy(golden["labels"][step])
        x = torch.from_numpy(unit).requires_grad_()
        head.zero_grad()
        before = {key: value.clone() for key, value in head.state("memory").items()}
        terms = head(x, labels)
        CrossEntropy()(terms).mean().backward()
        after = {key: value.clone() for key, value in head.state("memory").items()}
        assert error(after["queue"], golden["queue"][step]) < 1e-10
        assert after["last"].tolist() == golden["queue_iters"][step].tolist()

        log_p = (terms.log_sum_exp - terms.target_logit).clamp_max(-np.log(1e-30))
        assert error(log_p.mean(), golden["loss"][step]) < 1e-10
        assert error(x.grad, tangent(golden["grad_x"][step], unit)) < 1e-10
        assert error(head.class_weights.grad, golden["grad_W"][step]) < 1e-10
        active += int((golden["queue_lambda"][step] > 0).sum())
        head.memory_queue.copy_(before["queue"])  # logits as that step saw them
        head.memory_last.copy_(before["last"])
        assert error(head.logits(x, labels), golden["logits"][step]) < 1e-10
        head.memory_queue.copy_(after["queue"])
        head.memory_last.copy_(after["last"])
    assert active > 0
