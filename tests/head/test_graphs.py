"""The head under torch.compile: the same numbers, in one graph where the mode allows one."""

import pytest
import torch
from torch import Tensor

from eml.head.class_head import ClassHead
from eml.losses import Loss
from tests.head.heads import BATCH, LABELS, LABELS_B, SETTINGS, embeddings, head_of

MODES: list[dict[str, object]] = [
    {"type": "dense"},
    {"type": "tiled", "tile": 4},
    {"type": "sampled", "fraction": 0.8},
]
STEPS = [(BATCH, 0.5)] * 2
"""Size of the batch and progress of the training, of steps without and with mixed labels in turns."""
CHANGING = [(BATCH, 0.0), (BATCH, 0.0), (BATCH, 0.25), (BATCH, 0.25), (BATCH, 0.5), (BATCH, 0.5), (4, 1.0), (4, 1.0)]


# torch's own tracing reads .grad of the embeddings, which no leaf has where a network made them
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


class CountingBackend:
    """Runs each graph as it is, and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        self.graphs += 1
        return graph.forward


def train(head: ClassHead, loss: Loss, steps: list[tuple[int, float]], backend: object = None) -> list[Tensor]:
    """Return losses, gradients and state of training steps. backend: of torch.compile; None to leave the head plain."""
    forward, mixed = head.forward, head.mixed
    if backend:
        forward, mixed = (torch.compile(method, backend=backend) for method in (forward, mixed))
    results = []
    for seed, (count, head.progress) in enumerate(steps):
        x, labels = embeddings(torch.float32, seed)[:count].detach().requires_grad_(), LABELS[:count]
        if seed % 2 and head.margin.reduction == "softmax" and head.memory is None:
            value = loss.mixed(*mixed(x, labels, LABELS_B[:count], 0.3), 0.3).mean()
        else:
            value = loss(forward(x, labels)).mean()
        value.backward()
        gradients = [x.grad, *(rows.grad for rows in (*head.parameters(), *head.sampled_rows()))]
        results += [value.detach(), *(gradient for gradient in gradients if gradient is not None)]
        head.step(0.1)
        head.zero_grad()
        results += [buffer.clone() for buffer in head.buffers()]
    return results


def compare(name: str, mode: dict[str, object], steps: list[tuple[int, float]], backend: object) -> None:
    """Check that a compiled head gives what a plain one does."""
    margin, config, loss = SETTINGS[name]
    plain, compiled = (head_of(margin, config, mode, torch.float32) for _ in range(2))
    torch.compiler.reset()
    results = train(compiled, loss, steps, backend)
    torch.testing.assert_close(results, train(plain, loss, steps), rtol=1e-4, atol=1e-5)


@pytest.mark.wide
@pytest.mark.parametrize(
    "mode, graphs",
    [
        (MODES[0], 2),
        *(pytest.param(mode, count, marks=pytest.mark.wide) for mode, count in zip(MODES[1:], (0, 2), strict=True)),
    ],
    ids=["dense", "tiled", "sampled"],
)
@pytest.mark.skipif(torch.__version__.startswith("2.6"), reason="torch 2.6 compiles it in many graphs")
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
def test_a_compiled_head_gives_the_same_numbers_in_one_graph(mode: dict[str, object], graphs: int) -> None:
    backend = CountingBackend()
    compare("elastic_arcface", mode, STEPS[:3], backend)
    assert backend.graphs == graphs  # of forward and of mixed


@pytest.mark.wide
@pytest.mark.parametrize("name", [name for name in SETTINGS if "-" not in name or name.endswith("vpl")])
def test_every_margin_gives_the_same_numbers_compiled_in_every_mode(name: str) -> None:
    for mode in MODES:
        compare(name, mode, STEPS, "aot_eager")


@pytest.mark.wide
def test_graphs_do_not_multiply_with_the_schedule_and_the_batch_size() -> None:
    backend = CountingBackend()
    margin, config, loss = SETTINGS["arcface"]
    SETTINGS["scheduled"] = [margin, config | {"margin_schedule": {"start": 0.5}}, loss]
    compare("scheduled", {"type": "dense"}, CHANGING, backend)
    assert backend.graphs <= 6  # of forward and mixed: the first one, one for any progress, one for any batch size


@pytest.mark.wide
@pytest.mark.parametrize("mode", MODES, ids=["dense", "tiled", "sampled"])
def test_a_head_compiled_to_machine_code_gives_the_same_numbers(mode: dict[str, object]) -> None:
    compare("arcface", mode, STEPS, "inductor")
