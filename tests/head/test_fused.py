"""Fused kernels give what plain operations give, and are used only where that was checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from eml.head import fused, tiled
from eml.head.class_head import ClassHead
from eml.head.fused import FusedTiles, Variant, check, differentiate_plainly, missing, reduce_plainly
from eml.losses import Loss
from tests.head.heads import LABELS, LABELS_B, MODES, SETTINGS, embeddings, head_of

ROOT = Path(__file__).parents[2]
FUSED = {"adacos", "arcface", "combined", "cosface", "elastic_arcface", "elastic_cosface", "magface", "normface"}
CPU = torch.device("cpu")
VARIANTS = [
    Variant(CPU, dtype, labels, has_inverse, has_weights)
    for dtype in (torch.float32, torch.bfloat16)
    for labels, has_inverse, has_weights in ((1, True, False), (2, True, True), (1, False, True), (2, False, False))
]


def step(head: ClassHead, loss: Loss, *, mixed: bool) -> dict[str, Tensor]:
    """Loss, nearest negatives and gradients of a batch, plain or mixed."""
    batch = embeddings(torch.float32, 1).detach().requires_grad_()
    if mixed:
        terms, second = head.mixed(batch, LABELS, LABELS_B, 0.3)
        value = loss.mixed(terms, second, torch.tensor(0.3)).mean()
    else:
        terms = head(batch, LABELS)
        value = loss(terms).mean()
    value.backward()
    assert batch.grad is not None
    gradients = {name: weight.grad for name, weight in head.named_parameters() if weight.grad is not None}
    return {"loss": value.detach(), "nearest": terms.nearest, "embeddings": batch.grad, **gradients}


def compare(name: str, mode: dict[str, object], product: str, *, mixed: bool) -> bool:
    """Assert that a head's step with kernels is that without; return whether it used them."""
    margin, config, loss = SETTINGS[name]
    config = config | {"product": product}
    used, original = [], tiled.fused_tiles
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(fused.SWITCH, "off")
        expected = step(head_of(margin, config, mode, torch.float32), loss, mixed=mixed)
        patch.setenv(fused.SWITCH, "")
        patch.setattr(tiled, "fused_tiles", lambda *args, **named: used.append(original(*args, **named)) or used[-1])
        found = step(head_of(margin, config, mode, torch.float32), loss, mixed=mixed)
    for key, value in expected.items():
        bound = 1e-5 if product == "full" else 2e-2
        torch.testing.assert_close(
            found[key], value, rtol=0, atol=bound * float(value.abs().max()), msg=f"{name}: {key}"
        )
    return any(kernels is not None for kernels in used)


@pytest.fixture
def plain_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take plain operations for kernels, to test what is around them."""
    monkeypatch.setattr(fused, "_checked", {})
    monkeypatch.setattr(fused, "missing", lambda device: "off" if os.environ.get(fused.SWITCH) else "")
    monkeypatch.setattr(fused, "kernels", lambda: FusedTiles(reduce_plainly, differentiate_plainly))


@pytest.mark.usefixtures("plain_kernels")
def test_a_tiled_head_gives_the_same_through_kernels_wherever_it_uses_them() -> None:
    names = FUSED | {"curricularface", "proxy_anchor", "softmax", "sphereface2", "vpl"}
    assert {name for name in names if compare(name, MODES[4], "full", mixed=False)} == FUSED
    for name, mode in zip(("arcface-smoothed", "normface-learned", "arcface-by-class"), MODES[2:5], strict=True):
        assert compare(name, mode, "full", mixed=True)
    assert compare("cosface", MODES[3], "bfloat16", mixed=False)
    assert not compare("arcface-3-centers", MODES[3], "full", mixed=False)


@pytest.mark.usefixtures("plain_kernels")
def test_kernels_whose_results_differ_or_that_fail_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: Tensor, **named: bool) -> tuple[Tensor, ...]:
        by_product, pull, by_scale = differentiate_plainly(*args, **named)
        return by_product, pull * (1 + 1e-4), by_scale

    def fails(*args: Tensor, **named: bool) -> tuple[Tensor, ...]:
        raise RuntimeError("no compiler\nat all")

    assert check(VARIANTS[0]) == ""
    for differentiate, reason in ((wrong, "results differ by 1.0e-04"), (fails, "RuntimeError: no compiler")):
        monkeypatch.setattr(fused, "kernels", lambda ours=differentiate: FusedTiles(reduce_plainly, ours))
        assert check(VARIANTS[0]) == reason
        monkeypatch.setattr(fused, "_checked", {})
        assert not compare("arcface", MODES[3], "full", mixed=False)


@pytest.mark.parametrize("variant", VARIANTS[:4])
def test_plain_operations_are_the_derivatives_of_each_other(variant: Variant) -> None:
    tile, gradients = fused._drawn(variant)
    tile = {
        name: value.double() if name not in ("places",) and value is not None else value for name, value in tile.items()
    }
    product, scale = tile["product"].requires_grad_(), tile["scale"].requires_grad_()
    log_sum_exp, total, _ = reduce_plainly(**tile)
    by_sum, by_total = gradients["by_sum"].double(), gradients["by_total"].double()
    expected = torch.autograd.grad([log_sum_exp, total], [product, scale], [by_sum, by_total])
    found = differentiate_plainly(**tile, sums=log_sum_exp.detach(), by_sum=by_sum, by_total=by_total, of_scale=True)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[2], expected[1])
    torch.testing.assert_close(found[1], (expected[0] * product).sum(0))


def test_without_a_gpu_or_where_they_are_switched_off_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert missing(CPU) == "there is no CUDA device"
    monkeypatch.setenv(fused.SWITCH, "off")
    assert missing(torch.device("cuda")) == "EML_TRITON is off"


INTERPRETED = """
import torch
from eml.head import fused
from eml.head.fused import FusedTiles, check
from tests.head.test_fused import FUSED, MODES, VARIANTS, compare
fused.CHECK = (19, 300)
for variant in VARIANTS:
    assert check(variant) == "", variant
for name in sorted(FUSED):
    assert compare(name, MODES[4], "full", mixed=False), name
for mode in MODES[3:6]:
    assert compare("arcface-smoothed", mode, "full", mixed=True)
    assert compare("normface-learned", mode, "bfloat16", mixed=False)
tile, _ = fused._drawn(VARIANTS[0])
tile["product"][3, 70] = torch.nan
assert fused.kernels().reduce(**tile)[0].isfinite().sum() == 18, "a cosine that is NaN shows in the loss"
print("equal")
"""


@pytest.mark.wide
def test_the_kernels_of_triton_equal_plain_operations_in_its_interpreter() -> None:
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "equal\n", done.stderr


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from eml.head import triton_kernels as kernels

def compile(kernel, dtype, **constants):
    kinds = {"product": "*" + dtype, "by_product": "*" + dtype, "places": "*i32"}
    kinds |= dict.fromkeys(("columns", "samples", "split"), "i32") | dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, {name: kinds.get(name, "*fp32") for name in kernel.arg_names}, constants)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]

for dtype in ("fp32", "bf16"):
    for flag in (False, True):
        same = {"labels": 1 + flag, "has_inverse": flag, "has_weights": flag}
        compile(kernels._reduce, dtype, block=kernels.COLUMNS, **same)
        compile(kernels._differentiate, dtype, rows=kernels.ROWS, block=kernels.BLOCK, of_scale=flag, **same)
print("compiled")
"""


@pytest.mark.wide
def test_the_kernels_of_triton_compile_for_a_gpu() -> None:
    pytest.importorskip("triton")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True)
    assert done.stdout == "compiled\n", done.stderr


@pytest.mark.wide
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_kernels_of_triton_equal_plain_operations_on_a_gpu(variant: Variant) -> None:
    pytest.importorskip("triton")
    on_gpu = Variant(torch.device("cuda", 0), variant.product, variant.labels, variant.has_inverse, variant.has_weights)
    assert check(on_gpu) == ""
