"""Networks of open_clip, built from a definition: its own JSON config with what else a hub would be asked for."""

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from eml.errors import CheckpointError, ConfigError, EmlError
from eml.images.image_size import Size, one_form
from eml.models.hub import from_hub
from eml.models.text_tower import TextTower

_NO_TEXT = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
_OWN_MATCHER = {
    "stem": r"visual\.(?:conv|bn|act|class_embedding|positional_embedding|ln_pre)",
    "blocks": [
        (r"visual\.transformer\.resblocks\.(\d+)", None),
        (r"visual\.layer(\d+)", None),
        (r"visual\.(?:ln_post|attn_?pool)", (99999,)),
    ],
}
"""Depths of the parameters in open_clip's own vision transformer and ResNet, as timm's `group_matcher` gives them."""


def open_clip() -> ModuleType:
    """Return the package open_clip.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        text = "a backbone open_clip:… needs the open_clip_torch package: pip install 'easy-metric-learning[clip]'"
        raise ConfigError(text, code="missing-package", parameter="model.backbone") from error
    package: ModuleType = open_clip
    return package


class ImageTower(nn.Module):
    """Images (B, 3, H, W) → embeddings in the space of images and texts (B, F), not of unit length.

    Args:
        visual: open_clip's image tower, with its projection.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, F)."""
        features: Tensor = self.visual(images)
        return features

    @property
    def patch_embed(self) -> Any:
        """What cuts images into patches, with their `patch_size`, if anything does."""
        visual: Any = self.visual
        return visual.trunk.patch_embed if hasattr(visual, "trunk") else visual

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Set whether activations are recomputed. Raises AttributeError where the tower cannot do it."""
        timm_tower = getattr(self.visual, "trunk", None)
        if timm_tower is None and not hasattr(self.visual, "transformer"):
            raise AttributeError("open_clip's ResNets store all activations")
        tower: Any = self.visual if timm_tower is None else timm_tower
        tower.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters without weight decay."""
        trunk = getattr(self.visual, "trunk", None)
        prefix, module = ("visual.", self.visual) if trunk is None else ("visual.trunk.", trunk)
        own: Any = getattr(module, "no_weight_decay", set)
        return {prefix + name for name in own()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return the depths of the parameters, as timm's models do."""
        timm_tower = getattr(self.visual, "trunk", None)
        if timm_tower is None:
            return dict(_OWN_MATCHER)
        own = timm_tower.group_matcher(coarse=coarse)
        return {
            name: [(_in_trunk(pattern), suffix) for pattern, suffix in specification]
            if isinstance(specification, list | tuple)
            else _in_trunk(specification)
            for name, specification in own.items()
            if specification is not None
        }


def _in_trunk(pattern: str) -> str:
    """Return a pattern of names in a timm model as one of names in the image tower around it."""
    anchored_anyway = re.sub(r"(?<!\[)\^", "", pattern)
    return rf"visual\.trunk\.(?:{anchored_anyway})"


def clean_definition(model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the definition of a network by open_clip's JSON config and preprocessing. name: for messages.

    Raises:
        ConfigError: It is a CoCa, which needs its text decoder for images too.
    """
    if "multimodal_cfg" in model_cfg:
        raise ConfigError(
            f"model.backbone: {name} is a CoCa, whose towers are tied to a decoder of captions; take a CLIP or SigLIP",
            code="unsupported-by-backbone",
            parameter="model.backbone",
        )
    config = deepcopy(dict(model_cfg))
    config.pop("custom_text", None)  # both kinds are built as the one whose text tower is a module of its own
    for tower in ("vision_cfg", "text_cfg"):
        config[tower].pop("output_tokens", None)
    kept = {name: preprocess_cfg[name] for name in ("mean", "std", "interpolation") if name in preprocess_cfg}
    return {"model_cfg": config, "preprocess_cfg": kept, "text": True}


def build_clip(definition: Mapping[str, Any], image_size: Size | None = None) -> nn.Module:
    """Build the network of a definition with random weights, as open_clip's CustomTextCLIP.

    Args:
        definition: As `clean_definition` returns it. Without `text` the text tower is a useless small one.
        image_size: Side of the images (pixels) or (height, width); None: its own. A tower of timm still has its own,
            see `fit_to_size`.
    """
    package, config = open_clip(), deepcopy(dict(definition["model_cfg"]))
    vision = config["vision_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    elif image_size is not None:
        if isinstance(vision.get("layers"), list | tuple) and not isinstance(image_size, int):
            raise ValueError("open_clip's ResNets take squares alone")
        vision["image_size"] = image_size
    with TemporaryDirectory() as folder:
        if not definition["text"]:
            config["text_cfg"] = _NO_TEXT
        elif "hf_config" in definition:
            (Path(folder) / "config.json").write_text(json.dumps(definition["hf_config"]), encoding="utf-8")
            config["text_cfg"] |= {"hf_model_name": folder, "hf_model_pretrained": False}
        model: nn.Module = package.CustomTextCLIP(**config)
    return model


def fit_to_size(model: nn.Module, definition: Mapping[str, Any], image_size: Size | None) -> None:
    """Make an image tower of timm one for images of this size, with the position embeddings that it has resampled."""
    tower: Any = model.visual
    is_of_timm = "timm_model_name" in definition["model_cfg"]["vision_cfg"]
    if is_of_timm and image_size not in (None, own_size(definition)):
        tower.set_input_size(image_size)


def own_size(definition: Mapping[str, Any]) -> Size:
    """Return the size of the images that a network was trained with."""
    size = definition["model_cfg"]["vision_cfg"].get("image_size", 224)
    return size if isinstance(size, int) else one_form((size[0], size[1]))


def text_tower(
    model: nn.Module, definition: Mapping[str, Any], source: str | Path | None, name: str
) -> TextTower | None:
    """Return the text tower of a network; None where the definition has none.

    Args:
        model: As `build_clip` built it.
        definition: Of the network.
        source: Where its tokenizer's files are, a folder or a name in the hub; None: nowhere.
        name: Of the network, for messages.

    Raises:
        CheckpointError: They cannot be read.
    """
    if not definition["text"]:
        return None
    network: Any = model
    bias = None if network.logit_bias is None else float(network.logit_bias.detach())
    settings = {key: value for key, value in definition["model_cfg"].items() if key != "vision_cfg"}
    return TextTower(
        network.text,
        tokenizer(definition, source, name),
        float(network.logit_scale.detach()),
        bias,
        json.dumps(settings, sort_keys=True),
    )


def tokenizer(definition: Mapping[str, Any], source: str | Path | None, name: str) -> Any:
    """Return the tokenizer of a network, as open_clip chooses it. The arguments are those of `text_tower`."""
    package, text = open_clip(), definition["model_cfg"]["text_cfg"]
    length = text.get("context_length", package.tokenizer.DEFAULT_CONTEXT_LENGTH)
    settings = text.get("tokenizer_kwargs") or {}
    if not text.get("hf_tokenizer_name"):
        return package.SimpleTokenizer(context_length=length, **settings)
    repository = None if Path(str(source)).is_dir() else str(source)
    try:
        with from_hub(repository, ("tokenizer.json", "tokenizer_config.json"), name, "files of the tokenizer"):
            return package.tokenizer.HFTokenizer(
                str(source), context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **settings
            )
    except EmlError:
        raise
    except Exception as error:  # transformers raises errors of many types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"model.backbone: the tokenizer of {name}, {source}, cannot be loaded ({reason}); it needs transformers "
            "and its files",
            code="weights-unavailable",
            parameter="model.backbone",
        ) from error
