"""A shop of drawn products and the index of it, made once."""

from functools import cache
from math import log
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import eml
from eml.inference.model import Model
from eml.models.embedder import Embedder
from eml.models.text_tower import TextTower
from eml.retrieval.answer_calibration import AnswerCalibration
from eml.retrieval.answers.maps import FittedMap

CLASSES = ("mug", "tea", "<b>jam")


@cache
def network() -> Model:
    """Return a small network with random weights, which tells colours apart."""
    return eml.load("timm:test_resnet", weights="none", image_size=32)


@cache
def text_network() -> Model:
    """Return the same network with a text tower that knows the names of the classes, and embeds them beside them."""
    plain = network()
    vectors = torch.from_numpy(np.stack([plain.embed([photo(name, 90), photo(name, 91)]).sum(0) for name in CLASSES]))
    text = TextTower(nn.Embedding.from_pretrained(3 * vectors), _class_tokens, log(10))
    embedder = Embedder(plain.embedder.backbone, plain.embedder.neck, plain.embedder.size, text=text)
    return Model(embedder, plain.preprocess, plain.device, source="two towers")


def _class_tokens(texts: list[str]) -> Tensor:
    """Return the number of the class that a text names, (N,)."""
    return torch.tensor([next(code for code, name in enumerate(CLASSES) if name in text) for text in texts])


def photo(label: str, number: int) -> Image.Image:
    """Return a photo of a product: noise around the colour of its class."""
    colour = {"mug": (220, 30, 30), "tea": (30, 200, 60), "<b>jam": (40, 40, 230)}.get(label, (240, 240, 60))
    random = np.random.default_rng([number, len(label)])
    pixels = (colour + random.normal(0, 12, (8, 8, 3))).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((40, 40), Image.Resampling.BICUBIC)


def draw(folder: Path, labels: tuple[str, ...] = CLASSES, per_class: int = 3, first: int = 0) -> Path:
    """Draw photos into a folder per class."""
    for label in labels:
        (folder / label.replace("/", "_")).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + per_class):
            photo(label, number).save(folder / label.replace("/", "_") / f"{number}.png")
    return folder


def calibration() -> AnswerCalibration:
    """Return a calibration of this network: answers whose nearest image is near are known, and probably right."""
    steep = FittedMap(kind="logistic", weights={"cosine": 200.0}, bias=-199.0, limit=6)
    rate = {"value": 0.05, "low": 0.01, "high": 0.1}
    return AnswerCalibration.model_validate(
        {
            "method": "nearest",
            "temperature": 0.05,
            "known": steep,
            "right": steep,
            "second": 0.5,
            "pair": steep,
            "unknown_share": 0.5,
            "far": 0.05,
            "threshold": 0.0,
            "false_accepts": rate,
            "class_rates": [0.0, 0.1],
            "accepted": rate,
            "accuracy": rate,
            "bins": [],
            "ece": rate,
            "scores": {"edges": [0.0], "known": [0.1, 0.9], "unknown": [0.9, 0.1], "noise": 0.1},
            "gallery": "set",
            "counts": {},
        }
    )
