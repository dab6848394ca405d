"""A backbone as timm has it: an architecture with arguments, weights under timm's names, and what comes after it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eml.errors import ConfigError
from eml.images.image_size import Size, height_width
from eml.models.adapters import plain_weights
from eml.models.backbones import find_family
from eml.models.backbones.timm import Timm
from eml.models.embedder import Embedder
from eml.models.open_clip_names import PREFIX as OPEN_CLIP
from eml.models.timm_folders import find_timm

_VIT = "vit_base_patch16_clip_224"
"""A CLIP's vision transformer in timm, whose sizes are arguments."""
_VIT_NAMES = (
    ("conv1", "patch_embed.proj"),
    ("class_embedding", "cls_token"),
    ("positional_embedding", "pos_embed"),
    ("transformer.resblocks.", "blocks."),
    ("ln_pre", "norm_pre"),
    ("ln_post", "norm"),
    ("ln_", "norm"),
    (".ls_", ".ls"),
    ("in_proj_", "qkv."),
    ("out_proj", "proj"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
)
"""open_clip's names → timm's, as timm.models.vision_transformer converts them."""


@dataclass(frozen=True)
class TimmBackbone:
    """A backbone as timm builds it.

    Attributes:
        architecture: timm's name of it.
        model_args: What it is created with besides, as JSON; without the number of classes.
        tensors: Its weights under timm's names, without a classifier.
        prefix: What eml's names begin with where the rest is timm's name.
        renamed: eml's name → timm's name, of all others.
        own_shapes: eml's name → its shape, where timm's is another one.
        after: The modules between timm's features and the neck, such as the projection of a CLIP.
        features: The number of timm's features.
    """

    architecture: str
    model_args: dict[str, Any]
    tensors: dict[str, Tensor]
    prefix: str
    features: int
    renamed: dict[str, str] = field(default_factory=dict)
    own_shapes: dict[str, list[int]] = field(default_factory=dict)
    after: list[nn.Module] = field(default_factory=list)

    @property
    def own_names(self) -> set[str]:
        """eml's names of the tensors."""
        stored = set(self.renamed.values())
        return {*self.renamed, *(self.prefix + name for name in self.tensors if name not in stored)}

    def create(self, classes: int) -> nn.Module:
        """Return timm's network with these weights and a random classifier, in eval mode; 0 classes: without one."""
        import timm

        with torch.random.fork_rng(devices=[]):
            network: nn.Module = timm.create_model(self.architecture, num_classes=classes, **self.model_args)
        own = network.state_dict()
        network.load_state_dict(own | self.tensors)
        return network.eval()


def timm_backbone(embedder: Embedder, size: Size) -> TimmBackbone:
    """Return the backbone of a network for images of a size, as timm has it.

    Raises:
        ConfigError: timm has no such network.
    """
    architecture = embedder.architecture
    if not architecture:
        raise _unsupported("this network was put together by hand, and eml does not know what it is built from")
    name = architecture["backbone"]
    weights = {key: tensor.detach().cpu() for key, tensor in plain_weights(embedder, embedder.state_dict()).items()}
    if name.startswith(OPEN_CLIP):
        return _of_open_clip(embedder.backbone, weights, name)
    if not isinstance(find_family(name), Timm):
        raise _unsupported(f"the backbone {name} is neither timm's nor open_clip's")
    if architecture["pooling"] == "gem":
        raise _unsupported("timm has no GeM pooling")
    return _of_timm(architecture, weights, size)


def _of_timm(architecture: Mapping[str, Any], weights: Mapping[str, Tensor], size: Size) -> TimmBackbone:
    source = find_timm(architecture["backbone"], architecture.get("definition"))
    pooling = {} if architecture["pooling"] == "default" else {"global_pool": architecture["pooling"]}
    arguments = {**source.model_args, **pooling}
    if _takes_size(source.architecture, arguments):
        arguments["img_size"] = list(height_width(size))
    return TimmBackbone(
        source.architecture,
        arguments,
        _inside(weights, "backbone."),
        "backbone.",
        _features(source.architecture, arguments),
    )


def _of_open_clip(tower: nn.Module, weights: Mapping[str, Tensor], name: str) -> TimmBackbone:
    visual: Any = tower.visual
    if hasattr(visual, "trunk"):
        return _of_trunk(visual, weights, name)
    if type(visual).__name__ != "VisionTransformer":
        raise _unsupported(f"the image tower of {name} is open_clip's {type(visual).__name__}, which timm has not")
    return _of_transformer(visual, weights, name)


def _of_trunk(visual: Any, weights: Mapping[str, Tensor], name: str) -> TimmBackbone:
    """Return an image tower that is a network of timm with a projection of open_clip's."""
    import timm

    trunk: Any = visual.trunk
    if trunk.num_classes or any(
        part != "proj" and part != "drop" and part != "mlp" for part, _ in visual.head.named_children()
    ):
        raise _unsupported(f"the image tower of {name} pools in open_clip, and not in timm")
    architecture = trunk.pretrained_cfg["architecture"]
    arguments = {"global_pool": trunk.global_pool} if isinstance(getattr(trunk, "global_pool", None), str) else {}
    if _takes_size(architecture, arguments):
        arguments["img_size"] = list(trunk.patch_embed.img_size)
    prefix = "backbone.visual.trunk."
    after = [module for _, module in visual.head.named_children()]
    if any(type(module) is timm.layers.Mlp for module in after):
        mlp = visual.head.mlp
        after = [mlp.fc1, mlp.act, mlp.fc2]
    return TimmBackbone(architecture, arguments, _inside(weights, prefix), prefix, trunk.num_features, after=after)


def _of_transformer(visual: Any, weights: Mapping[str, Tensor], name: str) -> TimmBackbone:
    """Return open_clip's own vision transformer."""
    usual = visual.attn_pool is None and visual.pool_type == "tok" and not visual.final_ln_after_pool
    block = visual.transformer.resblocks[0]
    if not usual or type(block).__name__ != "ResidualAttentionBlock" or isinstance(visual.ln_pre, nn.Identity):
        raise _unsupported(f"the image tower of {name} has parts that timm's vision transformer has not")
    width = visual.conv1.out_channels
    arguments: dict[str, Any] = {
        "img_size": list(visual.image_size),
        "patch_size": list(visual.patch_size),
        "embed_dim": width,
        "depth": len(visual.transformer.resblocks),
        "num_heads": block.attn.num_heads,
        "mlp_ratio": block.mlp.c_fc.out_features / width,
        "act_layer": "quick_gelu" if type(block.mlp.gelu).__name__ == "QuickGELU" else "gelu",
        "global_pool": "token",
    }
    if not isinstance(block.ls_1, nn.Identity):
        arguments["init_values"] = 1.0
    prefix = "backbone.visual."
    tensors, renamed = {}, {}
    for own, tensor in _inside(weights, prefix).items():
        if own == "proj":
            continue  # a module of its own, which follows timm's features
        stored = own
        for before, after in _VIT_NAMES:
            stored = stored.replace(before, after)
        tensors[stored] = tensor.reshape(1, 1, -1) if own == "class_embedding" else tensor
        tensors[stored] = tensor[None] if own == "positional_embedding" else tensors[stored]
        renamed[prefix + own] = stored
    projection = nn.Linear(width, weights[prefix + "proj"].shape[1], bias=False)
    with torch.no_grad():
        projection.weight.copy_(weights[prefix + "proj"].T)
    shapes = {
        prefix + own: list(visual.get_parameter(own).shape) for own in ("class_embedding", "positional_embedding")
    }
    return TimmBackbone(_VIT, arguments, tensors, prefix, width, renamed, shapes, [projection])


def _inside(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _takes_size(architecture: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether a network of timm is built for a size of images. The meta device allocates no memory."""
    import timm

    own = timm.get_pretrained_cfg(architecture)
    size = own.input_size[-2:] if own is not None else (224, 224)
    try:
        with torch.device("meta"):
            timm.create_model(architecture, num_classes=0, **arguments, img_size=size)
    except TypeError as error:
        if not re.search("img_size", str(error)):
            raise
        return False
    return True


def _features(architecture: str, arguments: Mapping[str, Any]) -> int:
    import timm

    with torch.device("meta"):
        network: Any = timm.create_model(architecture, num_classes=0, **arguments)
    return int(getattr(network, "head_hidden_size", None) or network.num_features)


def _unsupported(reason: str) -> ConfigError:
    text = f"a hub folder holds a network of timm, and {reason}; take `format` onnx or torch, which hold any network"
    return ConfigError(text, code="not-for-this-format", parameter="format")
