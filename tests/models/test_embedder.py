"""Every small model of timm, all families, through the whole of the network's settings."""

from pathlib import Path

import pytest
import timm
import torch

from eml.errors import CheckpointError, ConfigError
from eml.head.class_head import ClassHead
from eml.images.preprocess import Preprocess
from eml.margins.arcface import ArcFace
from eml.models.backbones import preprocess_of
from eml.models.checkpoint import load_checkpoint, save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import Embedder, build_embedder, default_preprocess
from eml.models.necks import Neck
from eml.models.pooling import GeM
from eml.training.config import OptimizerConfig
from eml.training.optimizer import build_optimizer

pytestmark = pytest.mark.slow


SMALL = timm.list_models("test_*")
SIDE = 64


def settings(backbone: str, **values: object) -> ModelConfig:
    return ModelConfig.model_validate({"backbone": backbone, "weights": "none", "neck": {"type": "identity"}} | values)


def build(backbone: str, **values: object) -> Embedder:
    torch.manual_seed(0)
    return build_embedder(settings(backbone, **values), SIDE)


def trains(embedder: Embedder) -> None:
    embedder.train()
    embeddings = embedder(torch.randn(2, 3, SIDE, SIDE))
    assert embeddings.shape == (2, embedder.size)
    embeddings.square().sum().backward()
    gradients = [each.grad for each in embedder.parameters() if each.requires_grad]
    assert any(each is not None and bool((each != 0).any()) for each in gradients)
    assert all(each is None or bool(each.isfinite().all()) for each in gradients)


@pytest.mark.parametrize("backbone", SMALL)
def test_every_small_model_trains_at_another_size_with_frozen_stage_and_checkpointed_gradients(backbone: str) -> None:
    embedder = build(backbone, freeze=1, gradient_checkpointing=True)
    trains(embedder)
    own = default_preprocess(embedder)
    assert own.size == timm.get_pretrained_cfg(backbone).input_size[-1]
    optimizer = OptimizerConfig.model_validate({"layer_decay": 0.5})
    groups = build_optimizer(optimizer, embedder, ClassHead(ArcFace(), 3, embedder.size)).param_groups
    peaks = sorted({group["peak_lr"] for group in groups if group["part"] == "backbone"}, reverse=True)
    assert peaks[0] <= optimizer.lr.backbone
    assert len(peaks) > 1


def test_frozen_stages_include_the_parameters_that_belong_to_no_layer() -> None:
    transformer = build("test_vit", freeze=2).backbone
    trained = {name for name, weight in transformer.named_parameters() if weight.requires_grad}
    assert not trained & {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"}
    assert "blocks.1.attn.qkv.weight" in trained
    scaled = build("test_convnext", freeze=2).backbone
    gammas = {name for name, weight in scaled.named_parameters() if name.endswith(".gamma") and weight.requires_grad}
    assert gammas
    assert not any(name.startswith("stages.0.") for name in gammas)


POOLED = {"test_vit", "test_vit_relpos", "test_resnet", "test_convnext", "test_efficientnet", "test_byobnet"}
"""One of each kind of head and of feature map; the others are wide."""


@pytest.mark.parametrize(
    "backbone", [name if name in POOLED else pytest.param(name, marks=pytest.mark.wide) for name in SMALL]
)
def test_pooling_is_another_where_the_family_allows_it_and_else_an_error_that_says_so(backbone: str) -> None:
    images, seen = torch.randn(2, 3, SIDE, SIDE), set()
    for pooling in ("avg", "max", "avgmax", "gem", "token"):
        try:
            embedder = build(backbone, pooling=pooling).eval()
        except ConfigError as error:
            assert f"model.pooling: {backbone}" in str(error) or "gem needs a network" in str(error)  # noqa: PT017
            continue
        with torch.no_grad():
            seen.add(tuple(embedder(images).flatten().tolist()))
    assert len(seen) >= (1 if backbone == "test_vit_relpos" else 3), "each way gives other embeddings"


def test_gem_lies_between_average_and_maximum() -> None:
    features = torch.rand(2, 5, 4, 4)
    gem = GeM((2, 3), keep=False)
    assert gem.p.requires_grad
    for p, expected in ((1.0, features.mean((2, 3))), (3.0, (features**3).mean((2, 3)) ** (1 / 3))):
        gem.p.data.fill_(p)
        torch.testing.assert_close(gem(features), expected)
    gem.p.data.fill_(300.0)
    torch.testing.assert_close(
        GeM((2, 3), keep=True, p=60.0)(features).flatten(1), features.amax((2, 3)), rtol=0.1, atol=0
    )


@pytest.mark.parametrize("neck", Neck.members())
def test_every_neck_trains_and_survives_a_checkpoint(neck: str, tmp_path: Path) -> None:
    config = settings("test_resnet", neck={"type": neck}, pooling="gem")
    embedder = build("test_resnet", neck={"type": neck}, pooling="gem")
    trains(embedder)
    save_checkpoint(tmp_path / "made", embedder, config, Preprocess(size=SIDE), ["a", "b"], {})
    again = load_checkpoint(tmp_path / "made").embedder
    images = torch.randn(2, 3, SIDE, SIDE)
    torch.testing.assert_close(again(images), embedder.eval()(images), rtol=0, atol=0)
    if neck == "bnneck":
        assert not embedder.neck.bias.requires_grad  # type: ignore[union-attr]


def test_a_checkpoint_gives_its_weights_to_a_network_of_the_same_backbone(tmp_path: Path) -> None:
    neck = {"type": "linear", "size": 8}
    config, made = settings("test_resnet", neck=neck), build("test_resnet", neck=neck)
    for each in made.parameters():
        torch.nn.init.normal_(each)
    save_checkpoint(tmp_path / "made", made, config, Preprocess(size=SIDE), ["a", "b"], {})
    same = build("test_resnet", neck=neck, weights=tmp_path / "made")
    other = build("test_resnet", neck={"type": "mlp", "size": 8}, weights=tmp_path / "made")
    for name, value in made.state_dict().items():
        assert torch.equal(same.state_dict()[name], value)
        assert name.startswith("neck") or torch.equal(other.state_dict()[name], value)
    with pytest.raises(CheckpointError, match="has backbone test_resnet, the config has test_vit"):
        build("test_vit", weights=tmp_path / "made")
    (tmp_path / "made" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="damaged"):
        build("test_resnet", weights=tmp_path / "made")
    with pytest.raises(CheckpointError, match="is neither a file nor a folder"):
        build("test_resnet", weights=tmp_path / "nothing")


def test_what_a_model_names_gets_no_weight_decay() -> None:
    embedder = build("test_vit")
    for decay in (1.0, 0.9):
        optimizer = OptimizerConfig.model_validate({"layer_decay": decay})
        groups = build_optimizer(optimizer, embedder, ClassHead(ArcFace(), 3, embedder.size)).param_groups
        position = embedder.backbone.pos_embed
        (found,) = [group for group in groups if any(each is position for each in group["params"])]
        assert found["weight_decay"] == 0


FAMILIES = [
    *("resnet18", "mobilenetv3_small_050", "efficientnet_b0", "convnext_atto", "regnetx_002", "vit_tiny_patch16_224"),
    *("deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_ns_224", "mobilevit_xxs"),
    *("coatnet_nano_rw_224", "maxvit_rmlp_pico_rw_256", "levit_128s", "poolformer_s12", "edgenext_xx_small"),
    *("vit_base_patch32_clip_224", "vit_small_patch14_dinov2", "eva02_tiny_patch14_224", "cait_xxs24_224"),
    *("pvt_v2_b0", "mixer_s32_224", "xcit_nano_12_p16_224", "ghostnet_050", "fastvit_t8", "hgnetv2_b0", "repvgg_a0"),
    *("hiera_tiny_224", "mambaout_femto", "tiny_vit_5m_224", "visformer_tiny", "densenet121", "inception_v3"),
]


@pytest.mark.wide
@pytest.mark.parametrize("backbone", FAMILIES)
def test_one_model_of_each_family_trains_at_its_own_size(backbone: str) -> None:
    config = settings(backbone, neck={"type": "linear", "size": 32})
    embedder = build_embedder(config)
    side = default_preprocess(embedder).size
    embedder.train()
    embeddings = embedder(torch.randn(2, 3, side, side))
    assert embeddings.shape == (2, 32)
    embeddings.square().sum().backward()
    assert any(each.grad is not None and bool((each.grad != 0).any()) for each in embedder.backbone.parameters())


@pytest.mark.parametrize("backbone", SMALL)
def test_preprocessing_is_known_by_name_without_building_the_network(backbone: str) -> None:
    assert preprocess_of(backbone, size=None) == default_preprocess(build(backbone))
    assert preprocess_of(backbone, size=48).size == 48
