"""Dense, tiled and sampled (all classes) give one result; sampled steps are those of Partial FC."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eml.head.class_head import ClassHead
from eml.head.class_margins import Power
from eml.head.config import HeadConfig
from eml.head.modes import Auto, Sampled, Tiled
from eml.head.plan import make_plan
from eml.head.row_optimizers.adamw import AdamW
from eml.head.row_optimizers.sgd import SGD
from eml.head.sampling import draw_active_classes, log_weights, sample_classes
from eml.head.shards import Shard
from eml.losses import Loss
from eml.losses.cross_entropy import CrossEntropy
from eml.losses.focal import Focal
from eml.margins import Margin
from eml.margins.arcface import ArcFace
from eml.margins.cosface import CosFace
from eml.margins.normface import NormFace
from eml.margins.softmax import Softmax
from eml.margins.sphereface_r import SphereFaceR

CLASSES, SIZE, BATCH = 11, 4, 6
COUNTS = list(range(1, CLASSES + 1))
LABELS = torch.tensor([3, 0, 3, 10, 7, 0])  # repeated, the first and the last class among them
LABELS_B = torch.tensor([3, 1, 0, 2, 7, 10])  # two of them the sample's own again

OTHERS: list[dict[str, object]] = [
    {"type": "dense"},
    {"type": "tiled", "tile": 1, "memory": 0},
    {"type": "tiled", "tile": 4, "memory": 0},  # 11 is no multiple
    {"type": "tiled", "tile": 4, "memory": 4 * 6 * 8 / 2**20},  # the first tile is kept, the others made again
    {"type": "tiled", "tile": 5},
    {"type": "tiled", "tile": 64},
    {"type": "sampled", "fraction": 1.0},
]


def settings() -> Iterator[tuple[str, Margin, dict[str, object], Loss]]:
    for name, member in Margin.members().items():
        margin = member.model_validate({"type": name})
        yield name, margin, {}, CrossEntropy()
        if margin.reduction == "softmax":
            yield f"{name}-smoothed", margin, {}, CrossEntropy(label_smoothing=0.1)
        if "m" in member.model_fields and not name.startswith("sphereface"):
            yield f"{name}-by-class", margin, {"class_margins": Power()}, CrossEntropy()
        if "centers" not in member.model_fields:
            yield f"{name}-3-centers", margin, {"centers": 3}, CrossEntropy()
    yield "sphereface_r-v2", SphereFaceR(variant="v2"), {}, CrossEntropy()
    yield "arcface-focal", ArcFace(), {}, Focal()
    yield "normface-learned", NormFace(), {"scale": "learned"}, CrossEntropy()
    yield "arcface-vpl", ArcFace(), {"prototypes": {"start": 0}}, CrossEntropy()


SETTINGS = {name: rest for name, *rest in settings()}


def head_of(margin: Margin, config: dict[str, object], mode: dict[str, object], dtype: torch.dtype) -> ClassHead:
    torch.manual_seed(0)
    made = HeadConfig.model_validate({"scale": 8.0} | config | {"mode": mode})
    return ClassHead(margin, CLASSES, SIZE, made, counts=COUNTS, dtype=dtype)


def embeddings(dtype: torch.dtype, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return (torch.randn(BATCH, SIZE, dtype=torch.float64, generator=random) * 5).to(dtype).requires_grad_()


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


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("mixup", [False, True], ids=["one-label", "mixup"])
def test_dense_tiled_and_fully_sampled_agree(name: str, mixup: bool) -> None:
    margin, config, loss = SETTINGS[name]
    head = head_of(margin, config, OTHERS[0], torch.float64)
    if mixup and (margin.reduction != "softmax" or head.memory is not None):
        pytest.skip("mixup does not go with it")
    for dtype, allowed in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        expected = results(margin, config, loss, OTHERS[0], dtype, mixup=mixup)
        for mode in OTHERS[1:]:
            got = results(margin, config, loss, mode, dtype, mixup=mixup)
            assert got.keys() == expected.keys()
            for key, value in expected.items():
                error = (got[key] - value).abs().max() / value.abs().max().clamp_min(1)
                assert error <= allowed, f"{mode}: {key} differs by {error:.1e} in {dtype}"


@pytest.mark.parametrize("mode", OTHERS[:-1], ids=str)
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
def test_two_classes_that_are_both_labels_leave_no_others_and_no_nan(mode: dict[str, object]) -> None:
    head = ClassHead(ArcFace(), 2, SIZE, HeadConfig.model_validate({"scale": 8.0, "mode": mode}))
    x = embeddings(torch.float32, 0)
    first, second = head.mixed(x, torch.tensor([0, 1] * 3), torch.tensor([1, 1] * 3), 0.4)
    CrossEntropy().mixed(first, second, 0.4).sum().backward()
    assert x.grad is not None
    assert head.class_weights.grad is not None
    assert x.grad.isfinite().all()
    assert head.class_weights.grad.isfinite().all()


def test_partial_fc_v2_golden() -> None:
    """Two steps at rate 0.5 with momentum and weight decay on all rows, the sampled ids given."""
    with np.load(Path(__file__).parent.parent / "golden" / "partialfc_ws1_rate0.5.npz") as stored:
        golden = {key: torch.from_numpy(value) for key, value in stored.items() if key != "meta"}
        assert json.loads(str(stored["meta"]))["hp"]["sample_rate"] == 0.5
    mode = {"type": "sampled", "fraction": 0.5, "unsampled": "decayed", "optimizer": {"type": "sgd", "momentum": 0.9}}
    config = HeadConfig.model_validate({"scale": 64.0, "mode": mode})
    head = ClassHead(CosFace(m=0.4), 50, 32, config, class_weights=golden["W"].clone(), dtype=torch.float64)
    for suffix, after in (("", "W_step1"), ("2", "W_step2")):
        x, ids = golden["x"].clone().requires_grad_(), golden[f"weight_index{suffix}"]
        losses = CrossEntropy()(head(x, golden["labels"], classes=ids))
        assert losses.clamp_max(-math.log(1e-30)).mean().item() == pytest.approx(
            golden[f"loss{suffix}"].item(), abs=1e-6
        )
        losses.mean().backward()
        gradient = torch.zeros(50, 32, dtype=torch.float64).index_copy_(0, ids, head.sampled_rows()[0].grad)
        torch.testing.assert_close(gradient, golden[f"grad_W{suffix}"], rtol=0, atol=1e-10)
        if not suffix:
            torch.testing.assert_close(x.grad, golden["grad_x"], rtol=0, atol=1e-10)
        head.step(0.1, 5e-4)
        torch.testing.assert_close(head.class_weights, golden[after], rtol=0, atol=1e-10)


@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0), AdamW()], ids=["sgd", "plain sgd", "adamw"])
def test_decayed_is_torchs_optimizer_on_a_gradient_of_zeros_and_frozen_touches_nothing_else(
    optimizer: SGD | AdamW,
) -> None:
    for unsampled in ("decayed", "frozen"):
        mode = {"type": "sampled", "fraction": 0.5, "unsampled": unsampled, "optimizer": optimizer}
        head = head_of(ArcFace(), {}, mode, torch.float64)
        reference = [torch.nn.Parameter(row.clone()) for row in head.class_weights]  # a parameter a row: steps apart
        made: torch.optim.Optimizer
        if isinstance(optimizer, SGD):
            made = torch.optim.SGD(reference, lr=0.1, momentum=optimizer.momentum, weight_decay=0.01)
        else:
            made = torch.optim.AdamW(reference, lr=0.1, weight_decay=0.01)
        for step in range(4):
            ids = torch.tensor([[0, 3, 7, 8, 10], [0, 2, 3, 7, 10], [0, 1, 3, 7, 10], [0, 3, 4, 7, 10]][step])
            CrossEntropy()(head(embeddings(torch.float64, step), LABELS, classes=ids)).mean().backward()
            gradient = head.sampled_rows()[0].grad
            assert gradient is not None
            for index, parameter in enumerate(reference):
                parameter.grad = torch.zeros(SIZE, dtype=torch.float64) if unsampled == "decayed" else None
                if index in ids:
                    parameter.grad = gradient[ids.tolist().index(index)].clone()
            head.step(0.1, 0.01)
            made.step()
            torch.testing.assert_close(head.class_weights, torch.stack(list(reference)).detach(), rtol=1e-12, atol=0)


def test_accumulated_batches_step_as_one() -> None:
    mode = {"type": "sampled", "fraction": 0.5, "optimizer": {"type": "sgd", "momentum": 0.0}}
    together, apart = (head_of(ArcFace(), {}, mode, torch.float64) for _ in range(2))
    x, everything = embeddings(torch.float64, 0), torch.arange(CLASSES)
    CrossEntropy()(together(x, LABELS, classes=everything)).sum().backward()
    for part in (slice(0, 2), slice(2, 6)):
        CrossEntropy()(apart(x[part], LABELS[part], classes=everything)).sum().backward()
    together.step(0.1)
    apart.step(0.1)
    assert apart.sampled_rows() == []
    torch.testing.assert_close(apart.class_weights, together.class_weights)


def test_a_sample_holds_all_positives_and_every_other_class_as_often() -> None:
    positives = torch.tensor([0, 5, 6, 99])
    counts = torch.zeros(100)
    for seed in range(2000):
        ids = sample_classes(100, positives, 0.2, seed)
        assert len(ids) == 20
        assert (ids.diff() > 0).all()
        counts[ids] += 1
    assert (counts[positives] == 2000).all()
    others = counts[torch.isin(torch.arange(100), positives, invert=True)]
    assert abs(others.mean().item() - 2000 * 16 / 96) < 1e-3
    assert others.std().item() < 30  # a binomial's is 16.7
    assert sample_classes(100, torch.arange(50), 0.2, 0).tolist() == list(range(50))


def test_parts_of_a_sample_are_those_of_the_whole_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eml.head.sampling.BLOCK", 16)
    positives = torch.tensor([0, 15, 16, 17, 18, 99])
    counts, pairs = torch.zeros(100), torch.zeros(4000)
    for seed in range(4000):
        ids = sample_classes(100, positives, 0.2, seed)
        parts = [
            sample_classes(100, positives, 0.2, seed, start, stop) for start, stop in ((0, 33), (33, 34), (34, 100))
        ]
        assert torch.equal(torch.cat(parts), ids)
        assert len(ids) == 20
        counts[ids] += 1
        pairs[seed] = torch.isin(torch.tensor([20, 21, 40, 60, 80]), ids).sum()
    others = counts[torch.isin(torch.arange(100), positives, invert=True)]
    chance, many = 14 / 94, 5
    assert others.std().item() < 1.5 * math.sqrt(4000 * chance * (1 - chance))
    hypergeometric = many * chance * (1 - chance) * (94 - many) / 93  # of how many of five classes are in a sample
    assert pairs.var().item() == pytest.approx(hypergeometric, rel=0.1)


def test_one_process_samples_its_shard_as_it_does_the_whole_and_shards_do_not_sample_alike() -> None:
    positives = torch.tensor([4, 50])
    for correction in (False, True):
        whole, shard = (
            draw_active_classes(
                Sampled(fraction=0.2, sample=spec, correction=correction),
                Shard.whole(100),
                torch.zeros(100, SIZE, dtype=torch.float64),
                [positives],
                7,
                None,
            )
            for spec in ("whole", "shard")
        )
        assert whole.ids.tolist() == shard.ids.tolist()
        assert (whole.compared, whole.count) == (shard.compared, shard.count) == (20, 100 if correction else 20)
    same = [len(set(each) & set(other)) for each, other in (two_samples(seed) for seed in range(400))]
    assert np.mean(same) == pytest.approx(20 * 20 / 100, abs=0.4)  # hypergeometric, deviation 1.6 of one, 0.08 of 400


def two_samples(seed: int) -> tuple[list[int], list[int]]:
    first, second = (sample_classes(100, torch.tensor([], dtype=torch.int64), 0.2, seed, key=key) for key in (0, 100))
    return first.tolist(), second.tolist()


def test_the_correction_makes_the_sum_over_sampled_classes_unbiased() -> None:
    torch.manual_seed(0)
    z, positives = torch.randn(100, dtype=torch.float64).exp(), torch.tensor([4, 50])
    sums = []
    for seed in range(4000):
        ids = sample_classes(100, positives, 0.2, seed)
        sums.append((z[ids] * log_weights(100, 20, ids, positives, torch.float64).exp()).sum())
    assert torch.stack(sums).mean().item() == pytest.approx(z.sum().item(), rel=0.01)


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


def test_sampling_resumes_where_it_was_and_counts_all_classes_in_eval_mode() -> None:
    mode: dict[str, object] = {"type": "sampled", "fraction": 0.6}
    head = head_of(ArcFace(), {}, mode, torch.float64)
    head(embeddings(torch.float64, 0), LABELS)
    again = head_of(ArcFace(), {}, mode, torch.float64)
    again.load_state_dict(head.state_dict())
    x = embeddings(torch.float64, 1)
    torch.testing.assert_close(head(x, LABELS).log_sum_exp, again(x, LABELS).log_sum_exp)
    dense = head_of(ArcFace(), {}, {"type": "dense"}, torch.float64)
    torch.testing.assert_close(head.eval()(x, LABELS).log_sum_exp, dense(x, LABELS).log_sum_exp)


def test_classes_and_counts_that_do_not_fit_are_refused() -> None:
    x = embeddings(torch.float64, 0)
    with pytest.raises(ValueError, match="must contain all labels"):
        head_of(ArcFace(), {}, {"type": "sampled"}, torch.float64)(x, LABELS, classes=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="only be given in mode sampled"):
        head_of(ArcFace(), {}, OTHERS[0], torch.float64)(x, LABELS, classes=torch.arange(CLASSES))
    with pytest.raises(ValueError, match=r"process 0 has 6 embeddings, counts says \[5\]"):
        head_of(ArcFace(), {}, OTHERS[0], torch.float64)(x, LABELS, counts=[5])


def test_bfloat16_factors_round_the_others_and_leave_the_target_alone() -> None:
    full = head_of(ArcFace(), {}, OTHERS[0], torch.float32)
    low = head_of(ArcFace(), {"product": "bfloat16"}, {"type": "tiled", "tile": 4}, torch.float32)
    x = embeddings(torch.float32, 0)
    exact, rounded = full(x, LABELS), low(x, LABELS)
    assert torch.equal(exact.target_logit, rounded.target_logit)
    assert not torch.equal(exact.log_sum_exp, rounded.log_sum_exp)
    torch.testing.assert_close(exact.log_sum_exp, rounded.log_sum_exp, rtol=0, atol=0.1)
    rounded.log_sum_exp.sum().backward()


def test_auto_takes_whole_matrices_while_they_are_small() -> None:
    small, large = (ClassHead(Softmax(), count, 2) for count in (1000, 20_000))
    assert small.plan(64).tile is None
    assert large.plan(64).tile is not None
    assert "compared all at once" in str(small.plan(64))
    assert "20,000 classes, compared" in str(large.plan(64))


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_plan_of_one_process_of_several_is_that_of_its_part(world: int) -> None:
    given = {"centers": 1, "embedding_size": 512, "number_bytes": 4, "on_cpu": True, "world": world}
    plan = make_plan(Tiled(), 256, 200_000, **given)  # type: ignore[arg-type]
    assert plan.here == plan.compared == math.ceil(200_000 / world)
    sampled = make_plan(Sampled(fraction=0.1), 256, 200_000, **given)  # type: ignore[arg-type]
    assert sampled.compared == math.ceil(20_000 / world)
    assert ("in each process" in str(plan)) == (world > 1)
    # 2^20 entries are compared at once: 256 embeddings with the 4,096 classes of a process, not with those of all
    assert make_plan(Auto(), 256, 4096 * world, **given).tile is None  # type: ignore[arg-type]
    assert make_plan(Auto(), 256, 4096 * world + 1, **given).tile is not None  # type: ignore[arg-type]


def test_the_line_of_a_plan_says_what_a_process_has() -> None:
    plan = make_plan(Sampled(), 256, 1_000_000, 1, 512, number_bytes=4, on_cpu=True, world=4)
    assert str(plan).startswith(
        "class head: 1,000,000 classes, 250,000 of them in each process, 25,000 of those sampled per step, compared "
    )
