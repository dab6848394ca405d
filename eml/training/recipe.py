"""Settings that follow from the data, for `recipe: auto` of a config and for `eml init`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from eml.dataset.columns import seen_sizes
from eml.dataset.table import Table
from eml.errors import DataError
from eml.images.image_size import Size, one_form, size_text
from eml.models.config import ModelConfig
from eml.training.compatibility.config import CompatibleConfig
from eml.training.config import OF_ANOTHER_SIZE, RunConfig

USUAL_BACKBONE = "mobilenetv2_100"
"""The network of eml init; it takes images of any size."""
IMAGES_SEEN = 13_000  # by a pretrained network; more did not improve it on a few dozen classes
TUNED_RATES = {"norm": 10, "bitfit": 10, "lora": 3}
"""Times the backbone's rate where few of its weights are trained."""
FEW_CLASSES = 16
"""Below it norm layers alone are tuned: whole networks learn the few classes by heart (docs/benchmarks_recipe.md)."""
TEXT_RATE = 1e-5
"""Of both towers of a pretrained network that is trained with texts."""
IMAGES_SEEN_FROM_SCRATCH = 60_000
STEP, MOST_SIDE = 32, 224
"""Pixels: images have sides in these steps, and as many pixels as such a square at most."""
NARROW, MOST_IMAGES = 1.5, 0.75
"""Where so many images are so many times as high as wide, or as wide as high, the network sees no squares."""


@dataclass(frozen=True)
class Recipe:
    """Settings and their reasons.

    Attributes:
        values: Keys of RunConfig, in sections.
        reasons: Key → the reason for its value, a line each; "": a line about the data.
    """

    values: dict[str, Any]
    reasons: dict[str, str]


def recipe(frame: pd.DataFrame, name: str, *, pretrained: bool, held_out: int = 0) -> Recipe:
    """Choose learning rates, frozen layers, scale, margin, length and sizes from the images and classes to train on.

    The rules were measured on the data of docs/benchmarks_recipe.md.

    Args:
        frame: Rows with `label`, and width and height if known.
        name: Of the table, for messages.
        pretrained: Whether the network has weights.
        held_out: How many of the rows are held out for validation and not seen in training.

    Raises:
        DataError: There are fewer than two classes or no class of two images.
    """
    counts = frame["label"].value_counts()
    if len(counts) < 2 or counts.max() < 2:
        many = "1 class" if len(counts) == 1 else f"{len(counts)} classes"
        raise DataError(
            f"{name}: {many}, the largest with {counts.max()} {'images' if counts.max() > 1 else 'image'}; "
            "metric learning needs at least 2 classes and images of the same thing",
            code="too-few-classes",
            parameter="data.table",
        )
    images, classes, (size, size_reason) = len(frame), len(counts), _image_size(frame)
    seen, fewest, most = _length(pretrained=pretrained)
    epochs = usual_epochs(images, pretrained=pretrained)
    bound = {fewest: ", the fewest", most: ", the most"} if epochs != round(seen / images) else {}
    scale = max(8.0, round(2 * math.sqrt(2) * math.log(max(3, classes) - 1)))
    values: dict[str, Any] = {
        "image": {"size": size},
        "margin": {"type": "cosface", "m": 0.2},
        "head": {"scale": scale},
        "epochs": epochs,
        "batch_size": 32 if images < 20_000 else 64,
    }
    between = f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"
    reasons = {
        "": f"{images:,} images of {classes:,} classes, {between} each",
        "image.size": f"image.size {size_text(size)}: {size_reason}",
        "epochs": f"epochs {epochs}{bound.get(epochs, '')}: {epochs * (images - held_out):,} images seen",
        "head.scale": f"scale {scale:.0f}, twice √2·ln(classes−1): the papers' 64 is for 100,000 classes",
    }
    if pretrained:  # else the neck makes embeddings of another size than the features, which have no stages
        values["stages"] = "auto"
        reasons["stages"] = "stages auto: each stage is measured on what is held out, and the best one is given"
    network = _network_settings(classes, pretrained=pretrained)
    chosen = Recipe(values | network.values, reasons | network.reasons)
    return fit_to_tuning(chosen, "norm") if pretrained and classes < FEW_CLASSES else chosen


def fit_to_tuning(chosen: Recipe, tune: str) -> Recipe:
    """Return the recipe with a way to tune a pretrained network, and its rate of the backbone."""
    values, reasons = dict(chosen.values), dict(chosen.reasons)
    earlier = values.pop("tune", {"type": "full"})["type"]
    factor = TUNED_RATES.get(tune, 1) / TUNED_RATES.get(earlier, 1)
    rates = values["optimizer"]["lr"]
    rate = _rounded(factor * rates["backbone"])
    if tune != "full":
        rates = {key: value for key, value in rates.items() if key != "candidates"}
        values["tune"] = {"type": tune}
        reasons.pop("optimizer.lr.candidates", None)
        reasons["tune"] = f"tune {tune}: of few classes a whole network learns more by heart"
        reasons["optimizer.lr.backbone"] = (
            f"backbone rate {rate:g}, {TUNED_RATES[tune]} times as large for the few weights of tune: {tune}"
        )
    elif earlier != "full":
        reasons["optimizer.lr.backbone"] = f"backbone rate {rate:g}, gentler below 40 classes"
    values["optimizer"] = {"lr": rates | {"backbone": rate}}
    return Recipe(values, reasons)


def fit_to_texts(chosen: Recipe, *, sets_rates: bool) -> Recipe:
    """Return the recipe for a network that is trained with texts, as CLIP was: no margin, scale, neck or stages.

    The rate is that with which Goyal 2023 (arXiv:2212.00638) trains both towers.

    Args:
        chosen: Of the images alone.
        sets_rates: Whether the whole of a pretrained network is trained, at rates that the recipe chooses.
    """
    values, reasons = dict(chosen.values), dict(chosen.reasons)
    for key in ("head", "stages", "tune"):
        values.pop(key, None)
    for key in ("head.scale", "stages", "tune"):
        reasons.pop(key, None)
    values["margin"] = {"type": "normface"}
    values["model"] = values.get("model", {}) | {"neck": {"type": "identity"}}
    reasons["model.neck"] = "no neck: it would take images out of the space of the texts"
    if sets_rates:
        rates = [TEXT_RATE, _rounded(3 * TEXT_RATE)]
        values["optimizer"] = {"lr": {"backbone": TEXT_RATE, "candidates": rates}}
        reasons["optimizer.lr.candidates"] = (
            f"rates {_text(rates)}: a few steps with each show which suits held-out images"
        )
        reasons["optimizer.lr.backbone"] = f"backbone rate {TEXT_RATE:g}, and the text tower's: as pretrained"
    return Recipe(values, reasons)


def usual_epochs(images: int, *, pretrained: bool) -> int:
    """Return the number of epochs that the recipe takes for so many images."""
    seen, fewest, most = _length(pretrained=pretrained)
    return max(fewest, min(most, round(seen / images)))


def _length(*, pretrained: bool) -> tuple[int, int, int]:
    """Return the images that are seen, and the fewest and most epochs."""
    return (IMAGES_SEEN, 5, 30) if pretrained else (IMAGES_SEEN_FROM_SCRATCH, 10, 60)


def _network_settings(classes: int, *, pretrained: bool) -> Recipe:
    """Choose learning rates, BatchNorm and neck."""
    if not pretrained:
        reason = "rate 2e-3 for all parts: the network begins at random"
        return Recipe(
            {"optimizer": {"lr": {"backbone": 2e-3, "neck": 2e-3}}},
            {"optimizer.lr.backbone": reason},
        )
    rate = _rounded(1e-4 * min(1.0, math.sqrt(classes / 40)))
    rates = [rate, _rounded(3 * rate)]
    return Recipe(
        {
            "model": {"batch_norm": "frozen", "neck": {"type": "bnneck"}},
            "optimizer": {"lr": {"backbone": rate, "neck": rate, "candidates": rates}},
        },
        {
            "optimizer.lr.backbone": f"backbone rate {rate:g}, gentler below 40 classes",
            "optimizer.lr.candidates": f"rates {_text(rates)}: a few steps with each show which suits held-out images",
            "model.batch_norm": "the backbone's BatchNorm frozen: small batches have worse statistics",
            "model.neck": (
                "neck bnneck: features that lie to one side are centred, else many classes pull them into one point"
            ),
        },
    )


def fit_to_network(chosen: Recipe, backbone: str, weights: Path | str) -> Recipe:
    """Return the recipe with the image size that a network takes, or as the run that training starts from has it.

    Args:
        chosen: Of the images alone.
        backbone: Name of a timm model.
        weights: As model.weights.

    Raises:
        ConfigError: The backbone is unknown.
        CheckpointError: The run or checkpoint that `weights` names has none or a damaged one.
    """
    values, reasons = dict(chosen.values), dict(chosen.reasons)
    if backbone != USUAL_BACKBONE and "model.batch_norm" in reasons and not _has_batch_norm(backbone, weights):
        del reasons["model.batch_norm"]  # the setting stays, as in runs that began before, and does nothing
    if isinstance(weights, Path) and weights.is_dir():
        from eml.models.backbones import preprocess_of
        from eml.models.checkpoint import read_checkpoint_config  # torch and timm: seconds

        start = read_checkpoint_config(weights)
        if start.model.backbone == backbone:
            own, usual = start.preprocess.model_dump(mode="json"), preprocess_of(start.model).model_dump(mode="json")
            values["image"] = {key: value for key, value in own.items() if key == "size" or value != usual[key]}
            neck = start.model.neck.model_dump(mode="json")
            values["model"] = values.get("model", {}) | {"pooling": start.model.pooling, "neck": neck}
            reason = f"image.size {size_text(start.preprocess.size)}: as {weights} was trained"
            size, reasons["image.size"] = _size_taken(start.model, start.preprocess.size, reason)
            values["image"]["size"] = size if isinstance(size, int) else list(size)
            reasons["model.neck"] = f"neck {neck['type']}, and pooling {start.model.pooling}: as {weights} has them"
    elif backbone != USUAL_BACKBONE:
        size, reasons["image.size"] = _size_taken(backbone, values["image"]["size"], reasons["image.size"])
        values["image"] = {"size": size}
    return Recipe(values, reasons)


def _has_batch_norm(backbone: str, weights: Path | str) -> bool:
    """Return whether a network has BatchNorm layers; True where that cannot be known without its weights."""
    from torch.nn.modules.batchnorm import _BatchNorm

    from eml.models.backbones import preprocess_of, without_memory

    model = ModelConfig(backbone=backbone, weights=weights)
    network = without_memory(model, preprocess_of(model).size)
    return network is None or any(isinstance(layer, _BatchNorm) for layer in network.modules())


def _size_taken(backbone: str | ModelConfig, size: Size, reason: str) -> tuple[Size, str]:
    """Return the image size that a network takes, near a size, and the reason for it."""
    from eml.models.image_sizes import nearest_size, size_rule  # torch and timm: seconds

    if (nearest := nearest_size(backbone, size)) == size:
        return size, reason
    name = backbone if isinstance(backbone, str) else backbone.backbone
    return nearest, f"image.size {size_text(nearest)}: {name} takes {size_rule(backbone).text}, near {size_text(size)}"


def apply_recipe(config: RunConfig, table: Table) -> tuple[RunConfig, list[str]]:
    """Return the config with the recipe's values where it sets nothing, and the values with their reasons, a line each.

    A section that is a choice (margin, neck) is set as a whole or not at all. The config then has `recipe: none`, and a
    config with that is returned unchanged.
    """
    if config.recipe == "none":
        return config, []
    frame = table.known.frame
    if config.data.fold is not None and "fold" in frame:
        frame = frame[~frame["fold"].isin([config.data.fold, -2])]
    chosen = recipe(frame, table.name, pretrained=config.model.weights != "none")
    chosen = fit_to_network(chosen, config.model.backbone, config.model.weights)
    if config.model.weights != "none" and ("tune" in config.model_fields_set or _sets_rates(config)):
        chosen = fit_to_tuning(chosen, config.tune.type)
    elif config.model.weights == "none" and config.model.neck.type not in OF_ANOTHER_SIZE:
        chosen.values["stages"] = "auto"
    if config.loss.compares_texts:
        chosen = fit_to_texts(chosen, sets_rates=config.tune.type == "full" and config.model.weights != "none")
    if config.compatible_with is not None:
        chosen = _fit_to_old_model(chosen, config.compatible_with, config.model.backbone)
    if "name" in config.optimizer.model_fields_set:
        del chosen.values["optimizer"]  # its rates are AdamW's
    elif "backbone" in config.optimizer.lr.model_fields_set:
        chosen.values["optimizer"]["lr"].pop("candidates", None)
    if "margin" in config.model_fields_set and "norms" in config.margin.inputs:
        chosen.values.setdefault("model", {})["neck"] = {"type": "identity"}
        chosen.reasons["model.neck"] = (
            f"no neck: {config.margin.type} needs embedding lengths unchanged from the backbone"
        )
    try:
        config.sampler.check_batch_size(chosen.values["batch_size"])
    except ValueError:
        del chosen.values["batch_size"]  # the config's own stays, which the sampler can fill
    shown: dict[str, str] = {}
    filled = _filled(config, chosen.values, "", shown)
    if not shown:
        return config.model_copy(update={"recipe": "none"}), []
    lines = [f"recipe: auto chose {', '.join(f'{key} {value}' for key, value in shown.items())}"]
    lines += [f"  {reason}" for key, reason in chosen.reasons.items() if not key or key in shown]
    return RunConfig.model_validate({**dict(filled), "recipe": "none"}), lines


def _fit_to_old_model(chosen: Recipe, old: CompatibleConfig, backbone: str) -> Recipe:
    """Return the recipe for a network in the space of an older model: with its embedding size, and without stages."""
    from eml.training.compatibility.old_model import neck_of_old_model  # torch: seconds

    values, reasons = dict(chosen.values), dict(chosen.reasons)
    values.pop("stages", None)
    reasons.pop("stages", None)
    neck, reasons["model.neck"] = neck_of_old_model(old, backbone)
    values["model"] = values.get("model", {}) | {"neck": neck}
    return Recipe(values, reasons)


def _sets_rates(config: RunConfig) -> bool:
    """Return whether the config says at which rate the backbone trains, or by which optimizer."""
    return "name" in config.optimizer.model_fields_set or "backbone" in config.optimizer.lr.model_fields_set


def _filled(section: BaseModel, values: Mapping[str, Any], prefix: str, shown: dict[str, str]) -> BaseModel:
    """Return the section with values for keys that were not set, and add them to `shown` as text."""
    update: dict[str, Any] = {}
    for key, value in values.items():
        present = getattr(section, key)
        inner = isinstance(value, Mapping) and "type" not in value
        if inner and isinstance(present, BaseModel):
            update[key] = _filled(present, value, f"{prefix}{key}.", shown)
        elif key not in section.model_fields_set:
            update[key] = value
            parts = value.values() if isinstance(value, Mapping) else [value]
            shown[prefix + key] = " ".join(map(_text, parts))
    fields = {name: getattr(section, name) for name in type(section).model_fields}
    return type(section).model_validate(fields | update)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " or ".join(map(_text, value))
    if isinstance(value, tuple):
        return size_text(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")


def usual_image_size(frame: pd.DataFrame) -> Size:
    """Return the size of the network's images that the recipe takes for these rows."""
    return _image_size(frame)[0]


def _image_size(frame: pd.DataFrame) -> tuple[Size, str]:
    """Return the size of the network's images, and the reason for it."""
    sizes = seen_sizes(frame)
    if sizes is None:
        reason = "the usual one, since the table does not say how large the images are (columns width and height)"
        return 224, reason
    size = int(min(MOST_SIDE, max(64, round(sizes.max(axis=1).median() / STEP) * STEP)))
    aspects = sizes["height"] / sizes["width"]
    low, middle, high = (float(aspects.quantile(share)) for share in (1 - MOST_IMAGES, 0.5, MOST_IMAGES))
    if low >= NARROW or high <= 1 / NARROW:
        return _narrow_size(size, middle)
    return size, "the median image's longer side, in steps of 32, at most 224"


def _narrow_size(side: int, aspect: float) -> tuple[Size, str]:
    """Return height and width of about as many pixels as a square, in steps of 32, and the reason for them.

    aspect: Height to width, to which the steps come as near as they can; at most 4 of it, or a quarter.
    """
    aspect = min(4.0, max(0.25, aspect))
    sides = range(STEP, 2 * MOST_SIDE + 1, STEP)

    def distance(size: tuple[int, int]) -> tuple[float, int]:
        height, width = size
        pixels = abs(math.log(height * width / side**2)) / 2
        return round(abs(math.log(height / width / aspect)) + pixels, 6), -height * width

    size = min(((height, width) for height in sides for width in sides), key=distance)
    shape = f"{aspect:.2g} times as high as wide" if aspect > 1 else f"{1 / aspect:.2g} times as wide as high"
    return one_form(size), f"the median image is {shape}; about the pixels of a square of {side}"
