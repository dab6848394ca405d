"""Ways to tune a backbone: what each trains, and the plain network that a checkpoint holds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from eml.errors import ConfigError
from eml.images.preprocess import Preprocess
from eml.models.adapters import Adapter, parameter_counts, plain_weights
from eml.models.checkpoint import load_checkpoint, save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import Embedder, build_embedder
from eml.models.tuning import Tune

pytestmark = pytest.mark.slow

SIDE = 64


def settings(backbone: str, **values: object) -> ModelConfig:
    return ModelConfig.model_validate({"backbone": backbone, "weights": "none", "neck": {"type": "identity"}} | values)


def tuned(backbone: str, tune: dict[str, object], **values: object) -> Embedder:
    torch.manual_seed(0)
    embedder = build_embedder(settings(backbone, batch_norm="frozen", **values), SIDE)
    Tune.members()[str(tune["type"])].model_validate(tune).apply(embedder.backbone, backbone)
    return embedder


def take_steps(embedder: Embedder, images: torch.Tensor, count: int = 3) -> None:
    embedder.train()
    trained = [parameter for parameter in embedder.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 0.03, weight_decay=0)
    for _ in range(count):
        optimizer.zero_grad()
        embedder(images).square().mean().backward()
        assert all(parameter.grad is not None for parameter in trained)
        optimizer.step()
    embedder.eval()


@pytest.mark.parametrize("backbone", ["test_vit", "test_efficientnet"])
@pytest.mark.parametrize("tune", ["lora", "norm", "bitfit"])
def test_a_way_to_tune_trains_its_weights_alone_and_a_checkpoint_is_a_plain_network(
    tune: str, backbone: str, tmp_path: Path
) -> None:
    images = torch.randn(4, 3, SIDE, SIDE)
    plain = tuned(backbone, {"type": "full"}).eval()
    embedder = tuned(backbone, {"type": tune}).eval()
    with torch.no_grad():
        assert torch.equal(embedder(images), plain(images)), "it begins as the plain network"
    take_steps(embedder, images)
    before, after = plain.state_dict(), plain_weights(embedder, embedder.state_dict())
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    kind = {"lora": _adapted(embedder), "norm": _of_norms(plain), "bitfit": _biases(plain)}[tune]
    assert changed == kind
    preprocess = Preprocess(size=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
    save_checkpoint(tmp_path / "checkpoint", embedder, settings(backbone), preprocess, ["a", "b"], {})
    stored = load_checkpoint(tmp_path / "checkpoint").embedder
    assert not any(isinstance(module, Adapter) for module in stored.modules())
    with torch.no_grad():
        assert torch.equal(stored(images), embedder(images)), "equal to the bit"


def _adapted(embedder: Embedder) -> set[str]:
    return {f"{name}.weight" for name, module in embedder.named_modules() if isinstance(module, Adapter)}


def _of_norms(embedder: Embedder) -> set[str]:
    kinds = (nn.LayerNorm, nn.BatchNorm2d)
    modules = {name: module for name, module in embedder.named_modules() if isinstance(module, kinds)}
    return {f"{name}.{parameter}" for name in modules for parameter in ("weight", "bias")}


def _biases(embedder: Embedder) -> set[str]:
    return {name for name, _ in embedder.named_parameters() if name.endswith(".bias")}


def test_merged_weights_are_w_plus_alpha_over_rank_times_b_a() -> None:
    embedder = tuned("test_vit", {"type": "lora", "rank": 4, "alpha": 10})
    take_steps(embedder, torch.randn(2, 3, SIDE, SIDE))
    state = {name: tensor.double().numpy() for name, tensor in embedder.state_dict().items()}
    plain = plain_weights(embedder, embedder.state_dict())
    name = "backbone.blocks.1.attn.qkv"
    product = state[f"{name}.lora_b"] @ state[f"{name}.lora_a"]
    assert np.linalg.matrix_rank(product) == 4
    np.testing.assert_allclose(plain[f"{name}.weight"].numpy(), state[f"{name}.base"] + 2.5 * product, atol=1e-6)


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(6, 5, 1, stride=2, bias=False)])
def test_the_branch_of_training_computes_what_the_merged_weights_do(layer: nn.Linear | nn.Conv2d) -> None:
    adapter = Adapter(layer, rank=3, alpha=6, dropout=0)
    nn.init.normal_(adapter.lora_b)
    inputs = torch.randn(7, 6) if isinstance(layer, nn.Linear) else torch.randn(7, 6, 8, 8)
    torch.testing.assert_close(adapter.train()(inputs), adapter.eval()(inputs), rtol=1e-4, atol=1e-5)
    dropped = Adapter(layer, rank=3, alpha=6, dropout=0.9)
    nn.init.normal_(dropped.lora_b)
    assert not torch.allclose(dropped.train()(inputs), dropped.eval()(inputs))


def test_a_model_that_uses_the_weights_without_calling_the_layer_trains_its_adapter() -> None:
    """BEiT, EVA, Swin V2 and MobileViT do so."""
    adapter = Adapter(nn.Linear(6, 5), rank=3, alpha=6, dropout=0)
    functional.linear(torch.randn(2, 6), adapter.weight, adapter.bias).sum().backward()
    assert adapter.lora_b.grad is not None
    assert adapter.lora_b.grad.abs().sum() > 0
    assert adapter.base.grad is None


def test_frozen_stages_get_no_adapter_and_stay_frozen() -> None:
    for tune in ("lora", "norm", "bitfit"):
        embedder = tuned("test_vit", {"type": tune}, freeze=3)  # the stem and two blocks
        trained = {name.split(".")[2] for name, weight in embedder.named_parameters() if weight.requires_grad}
        assert trained - {"weight", "bias"} == {"2", "3", "4", "5"}, tune


def test_adapters_go_into_the_layers_that_are_named() -> None:
    embedder = tuned("test_vit", {"type": "lora", "layers": ["qkv", "fc2"]})
    adapted = [name for name, module in embedder.named_modules() if isinstance(module, Adapter)]
    assert len(adapted) == 12
    assert {name.rpartition(".")[2] for name in adapted} == {"qkv", "fc2"}
    total, trained = parameter_counts(embedder)
    assert total == parameter_counts(tuned("test_vit", {"type": "full"}))[0]
    assert trained == sum(weight.numel() for weight in embedder.parameters() if weight.requires_grad)
    assert 0 < trained < total / 5


@pytest.mark.parametrize(
    ("backbone", "tune", "message"),
    [
        ("test_resnet", {"type": "lora"}, "hold 11% of the weights of test_resnet that are not frozen; take full"),
        ("test_vit", {"type": "lora", "layers": ["atn"]}, r"'atn' is in no name .* attn, blocks, fc1, fc2, mlp, proj"),
        ("test_nfnet", {"type": "norm"}, "test_nfnet has no norm layers with parameters"),
    ],
)
def test_a_backbone_without_such_weights_is_refused(backbone: str, tune: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        tuned(backbone, tune)
    assert (error.value.code, (error.value.parameter or "").split(".")[0]) == ("unsupported-by-backbone", "tune")


def test_adapters_train_with_recomputed_activations() -> None:
    embedder = tuned("test_vit", {"type": "lora"}, gradient_checkpointing=True)
    take_steps(embedder, torch.randn(2, 3, SIDE, SIDE), count=1)
    changed = [name for name, tensor in embedder.state_dict().items() if name.endswith("lora_b") and tensor.any()]
    assert len(changed) == 24
