"""Settings that follow from the data: `recipe: auto` of a config, and what `eml init` writes out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import BaseModel

from eml.dataset.columns import seen_sizes
from eml.dataset.table import Table
from eml.errors import DataError
from eml.training.config import RunConfig

IMAGES_SEEN = 13_000  # by a network with weights; more did not pay on a few dozen classes
IMAGES_SEEN_FROM_SCRATCH = 60_000


@dataclass(frozen=True)
class Recipe:
    """values: keys of RunConfig, in sections. reasons: key → why it has its value, a line each; "": the data."""

    values: dict[str, Any]
    reasons: dict[str, str]


def recipe(frame: pd.DataFrame, name: str, *, pretrained: bool) -> Recipe:
    """Learning rates, what stays frozen, scale, margin, length and sizes, from the images and classes to train on.

    frame: rows with `label`, and width and height if known. Measured on docs/benchmarks.md's data.
    Raises DataError, naming the table, when there are fewer than two classes or no class of two images.
    """
    counts = frame["label"].value_counts()
    if len(counts) < 2 or counts.max() < 2:
        many = "1 class" if len(counts) == 1 else f"{len(counts)} classes"
        raise DataError(
            f"{name}: {many}, the largest with {counts.max()} {'images' if counts.max() > 1 else 'image'}; "
            "metric learning needs at least 2 classes and images of the same thing"
        )
    images, classes, size = len(frame), len(counts), _image_size(frame)
    seen = IMAGES_SEEN if pretrained else IMAGES_SEEN_FROM_SCRATCH
    epochs = max(5 if pretrained else 10, min(30 if pretrained else 60, round(seen / images)))
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
        "image.size": f"image.size {size}: the median image's longer side, in steps of 32, at most 224",
        "epochs": f"epochs {epochs}: about {seen:,} images seen",
        "head.scale": f"scale {scale:.0f}, twice √2·ln(classes−1): the papers' 64 is for 100,000 classes",
    }
    if pretrained:
        rate = _rounded(1e-4 * min(1.0, math.sqrt(classes / 40)))
        values |= {
            "model": {"batch_norm": "frozen", "neck": {"type": "bnneck"}},
            "optimizer": {"lr": {"backbone": rate, "neck": rate}},
        }
        reasons["optimizer.lr.backbone"] = f"backbone rate {rate:g}, gentler below 40 classes"
        reasons["model.batch_norm"] = "the backbone's BatchNorm frozen: small batches have worse statistics"
        reasons["model.neck"] = (
            "neck bnneck: features that lie to one side are centred, else many classes pull them into one point"
        )
    else:
        values |= {"optimizer": {"lr": {"backbone": 2e-3, "neck": 2e-3}}}
        reasons["optimizer.lr.backbone"] = "rate 2e-3 for all parts: the network begins at random"
    return Recipe(values, reasons)


def resolved(config: RunConfig, table: Table) -> tuple[RunConfig, list[str]]:
    """The config with the recipe's values where it says nothing, `recipe: none`, and what was chosen, a line each.

    A section that is a choice (margin, neck) is taken whole or left whole. Unchanged with `recipe: none`.
    """
    if config.recipe == "none":
        return config, []
    frame = table.frame
    if config.data.fold is not None and "fold" in frame:
        frame = frame[~frame["fold"].isin([config.data.fold, -2])]
    made = recipe(frame, table.name, pretrained=config.model.weights != "none")
    if "name" in config.optimizer.model_fields_set:
        del made.values["optimizer"]  # its rates are AdamW's
    if "margin" in config.model_fields_set and "norms" in config.margin.inputs:
        made.values.setdefault("model", {})["neck"] = {"type": "identity"}
        made.reasons["model.neck"] = f"no neck: {config.margin.type} wants lengths as the backbone gives them"
    try:
        config.sampler.check_batch_size(made.values["batch_size"])
    except ValueError:
        del made.values["batch_size"]  # the config's own, which the sampler can fill
    taken: dict[str, str] = {}
    filled = _filled(config, made.values, "", taken)
    if not taken:
        return config.model_copy(update={"recipe": "none"}), []
    told = [f"recipe: auto chose {', '.join(f'{key} {value}' for key, value in taken.items())}"]
    told += [f"  {reason}" for key, reason in made.reasons.items() if not key or key in taken]
    return RunConfig.model_validate({**dict(filled), "recipe": "none"}), told


def _filled(section: BaseModel, values: Mapping[str, Any], prefix: str, taken: dict[str, str]) -> BaseModel:
    """The section with values in the place of what was not set; adds each, as it is shown, to `taken`."""
    update: dict[str, Any] = {}
    for key, value in values.items():
        present = getattr(section, key)
        inner = isinstance(value, Mapping) and "type" not in value
        if inner and isinstance(present, BaseModel):
            update[key] = _filled(present, value, f"{prefix}{key}.", taken)
        elif key not in section.model_fields_set:
            update[key] = value
            parts = value.values() if isinstance(value, Mapping) else [value]
            taken[prefix + key] = " ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in parts)
    given = {name: getattr(section, name) for name in type(section).model_fields}
    return type(section).model_validate(given | update)


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")


def _image_size(frame: pd.DataFrame) -> int:
    sizes = seen_sizes(frame)
    if sizes is None:
        return 224
    return int(min(224, max(64, round(sizes.max(axis=1).median() / 32) * 32)))
