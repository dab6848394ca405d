"""Losses, gradients and weights that are not finite."""

import math
from pathlib import Path

import pytest
import torch

from eml.dataset.table import Table
from eml.errors import EmlError
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.dry_run import dry_run
from eml.training.fit import Run, fit
from eml.training.nan_check import NotFiniteError
from tests.training.runs import changed, left_by

pytestmark = pytest.mark.slow


def test_a_loss_that_is_not_finite_names_layer_and_batch_and_leaves_the_state_before_it(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    """An image that overflows: the state saved is that of the step before, statistics and draws included."""
    fit(config, table)
    expected = left_by(config.output)
    broken = changed(config, output=tmp_path / "broken")
    run = Run(build_parts(broken, table))
    step = run.step

    def poisoned(pixels: torch.Tensor, rows: torch.Tensor) -> dict[str, object]:
        handle = None
        if run.state.step == 6:
            layer = run.parts.embedder.backbone.get_submodule("layer2")
            handle = layer.register_forward_hook(lambda module, inputs, output: output * math.inf)
        try:
            return step(pixels, rows)
        finally:
            if handle is not None:
                handle.remove()

    run.step = poisoned  # type: ignore[method-assign]
    with pytest.raises(
        NotFiniteError, match=r"(?s)step 7: the loss is nan; .*first layer.*layer3.*c\d/\d\.png.*--resume"
    ):
        run.run()
    fit(broken, table, resume=True)
    assert left_by(broken.output) == expected


def test_weights_that_are_not_finite_are_named(config: RunConfig, table: Table) -> None:
    run = Run(build_parts(config, table))
    next(iter(run.parts.embedder.parameters())).data.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match=r"weights of the network are not finite: backbone\.conv1"):
        run.step(*next(run.batches.of_epoch(1, 0)))
    with pytest.raises(EmlError, match="likely causes") as error:
        dry_run(changed(config, optimizer={"lr": {"class_weights": 1e38, "neck": 1e38}}), table)
    assert "saved" not in str(error.value)
