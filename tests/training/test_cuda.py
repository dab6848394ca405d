"""Settings of a CUDA device, which torch keeps without one too."""

import pytest
import torch

from eml.devices import rounds_products
from eml.retrieval.products import full_precision
from eml.training.cuda import CudaConfig
from tests.pretend_cuda import CUDA


def settings() -> tuple[object, ...]:
    convolutions = torch.backends.cudnn
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # torch 2.9 and later
        precision = (torch.backends.cuda.matmul.fp32_precision, convolutions.conv.fp32_precision)
    else:
        precision = (torch.backends.cuda.matmul.allow_tf32, convolutions.allow_tf32)
    return (*precision, convolutions.benchmark)


@pytest.mark.parametrize("is_on", [True, False])
def test_a_step_is_computed_with_the_settings_and_nothing_else_is(is_on: bool) -> None:
    before = settings()
    with CudaConfig(tf32=is_on, benchmark=is_on).in_effect(CUDA):
        inside = settings()
        assert rounds_products(CUDA) == is_on
        with full_precision("cuda"):
            assert not rounds_products(CUDA)
        assert settings() == inside
    assert settings() == before
    assert inside[-1] == is_on
    assert set(inside[:-1]) <= ({"tf32", True} if is_on else {"ieee", False})


def test_they_hold_for_no_other_device() -> None:
    before = settings()
    with CudaConfig().in_effect(torch.device("cpu")):
        assert settings() == before
    assert not rounds_products(torch.device("cpu"))
