import math

import pytest

from eml.head.class_head import ClassHead
from eml.head.modes import Auto, Sampled, Tiled
from eml.head.plan import make_plan
from eml.margins.softmax import Softmax


def test_auto_uses_whole_matrices_while_they_are_small() -> None:
    small, large = (ClassHead(Softmax(), count, 2) for count in (1000, 20_000))
    assert small.plan(64).tile is None
    assert large.plan(64).tile is not None
    assert "compared all at once" in str(small.plan(64))
    assert "20,000 classes, compared" in str(large.plan(64))


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_plan_of_a_process_is_that_of_its_part_of_the_classes(world: int) -> None:
    given = {"centers": 1, "embedding_size": 512, "number_bytes": 4, "on_cpu": True, "world": world}
    plan = make_plan(Tiled(), 256, 200_000, **given)  # type: ignore[arg-type]
    assert plan.here == plan.compared == math.ceil(200_000 / world)
    sampled = make_plan(Sampled(fraction=0.1), 256, 200_000, **given)  # type: ignore[arg-type]
    assert sampled.compared == math.ceil(20_000 / world)
    assert ("in each process" in str(plan)) == (world > 1)
    # 2^20 entries are compared at once: 256 embeddings with the 4,096 classes of a process, not with those of all
    assert make_plan(Auto(), 256, 4096 * world, **given).tile is None  # type: ignore[arg-type]
    assert make_plan(Auto(), 256, 4096 * world + 1, **given).tile is not None  # type: ignore[arg-type]


def test_the_line_of_a_plan_names_the_classes_of_a_process() -> None:
    plan = make_plan(Sampled(), 256, 1_000_000, 1, 512, number_bytes=4, on_cpu=True, world=4)
    assert str(plan).startswith(
        "class head: 1,000,000 classes, 250,000 of them in each process, 25,000 of those sampled per step, compared "
    )
