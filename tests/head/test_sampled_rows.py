"""Steps of mode sampled are those of Partial FC."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.head.row_optimizers.adamw import AdamW
from eml.head.row_optimizers.sgd import SGD
from eml.losses.cross_entropy import CrossEntropy
from eml.margins.arcface import ArcFace
from eml.margins.cosface import CosFace
from tests.head.heads import CLASSES, LABELS, SIZE, embeddings, head_of


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


def test_row_adamw_counts_beyond_256_steps_and_follows_small_gradients_in_bfloat16() -> None:
    """In bfloat16 256 + 1 is 256, and .999·v rounds to v: the count and the means need more bits than the weights."""
    results = []
    for dtype in (torch.float64, torch.bfloat16):
        mode = {"type": "sampled", "fraction": 1.0, "optimizer": {"type": "adamw"}}
        head = head_of(ArcFace(), {}, mode, torch.float64)
        head = ClassHead(
            ArcFace(), CLASSES, SIZE, head.config, class_weights=head.class_weights.detach().to(dtype), dtype=dtype
        )
        for step in range(300):
            rows = head.sampled.draw(head.class_weights, [LABELS], None, torch.float32).weights
            rows.grad = torch.full_like(rows, 1.0 if step < 5 else 0.125)
            head.step(1e-3)
        assert head.state("optimizer")["steps"].tolist() == [300] * CLASSES
        results.append({name: values.double() for name, values in head.state("optimizer").items()})
    for name in ("mean", "square"):
        torch.testing.assert_close(results[1][name], results[0][name], rtol=1e-4, atol=0)
