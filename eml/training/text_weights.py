"""The class texts that a run's images are compared with, in place of class weights."""

import torch

from eml.errors import ConfigError
from eml.head.text_weights import TextSettings, TextWeights
from eml.losses.contrastive_text import ContrastiveText
from eml.models.embedder import Embedder
from eml.texts.class_texts import ClassTexts, texts_of
from eml.training.config import RunConfig
from eml.training.data import TrainingData
from eml.training.gradient_cache import precision_of


def check_own_tower(config: RunConfig) -> None:
    """Raise ConfigError where images are compared with texts that something else than the network's tower embeds."""
    source = config.class_texts
    if not config.loss.compares_texts or source is None:
        return
    for key in ("encoder", "vectors"):
        if getattr(source, key) is not None:
            raise ConfigError(
                f"class_texts.{key}: loss {config.loss.type} trains the network's own text tower, which embeds the "
                f"texts; leave class_texts.{key} out",
                code="conflicting-settings",
                parameter=f"class_texts.{key}",
            )


def frozen_tower_note(config: RunConfig) -> str | None:
    """Return what to tell where images are compared with texts whose tower stays as it is, unless the config says so.

    The rates of a `tune` that trains few weights are no rates of a whole tower.
    """
    if not config.loss.compares_texts or config.text_rate > 0 or config.optimizer.lr.text is not None:
        return None
    if config.tune.type == "full":
        return None  # the backbone's rate is 0, and so is that of the texts
    return (
        f"the text tower is frozen, since tune is {config.tune.type}: set optimizer.lr.text to a rate, such as 1e-5, "
        "to train it too, or to 0"
    )


def build_text_weights(
    config: RunConfig, data: TrainingData, embedder: Embedder, device: torch.device
) -> TextWeights | None:
    """Return the class texts of a run, with the text tower that embeds them; None where its loss compares with none.

    Args:
        config: Of the run.
        data: Whose classes and training images the texts are of.
        embedder: The network.
        device: Where it runs.

    Raises:
        EmlError: The network has no text tower, or a class has no text.
    """
    loss = config.loss
    if not isinstance(loss, ContrastiveText):
        return None
    check_own_tower(config)
    if embedder.text is None:
        raise ConfigError(
            f"loss: {loss.type} compares images with texts, and {config.model.backbone} has no text tower; take a "
            "backbone that has one, such as open_clip:ViT-B-16/openai, or another loss",
            code="no-text-tower",
            parameter="loss",
        )
    if embedder.text.logit_bias is not None and config.margin.type != "normface":
        raise ConfigError(
            f"margin: {config.model.backbone} was pretrained with sigmoids and is trained with them, which have no "
            f"margin; leave out {config.margin.type}",
            code="conflicting-settings",
            parameter="margin",
        )
    texts = texts_of(data.frame, data.classes, config.class_texts or ClassTexts(), "the training images")
    settings = TextSettings(
        loss.negatives, loss.texts, loss.texts_at_once, precision_of(config.precision, device), config.seed
    )
    return TextWeights(embedder.text, texts, settings)
