"""Loading whatever embeds images: a checkpoint and the like, which torch computes, or a file of `eml export`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from eml.errors import CheckpointError, ConfigError
from eml.inference.exported.names import is_exported
from eml.storage import is_url

if TYPE_CHECKING:
    from eml.images.image_size import Size
    from eml.inference.exported.model import ExportedModel
    from eml.inference.model import Model
    from eml.models.config import PrecisionChoice, Tta

AnyModel: TypeAlias = "Model | ExportedModel"
"""What embeds images; `embed_pixels`, `preprocess`, `fingerprint`, `calibration` and the like are the same of both."""


def load(
    checkpoint: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    weights: Literal["pretrained", "none"] | str | os.PathLike[str] = "pretrained",
    image_size: Size | None = None,
    device: str = "auto",
    precision: PrecisionChoice = "float32",
    tta: Tta | None = None,
    plugins: Sequence[str | os.PathLike[str]] | str = (),
) -> AnyModel:
    """Load a model for embedding images.

    Args:
        checkpoint: A run folder (its best checkpoint is loaded), a checkpoint folder, a hub folder or
            hf-hub:OWNER/NAME, timm:NAME for a timm model whose pooled features are the embeddings, or
            open_clip:ARCH/PRETRAINED for a network of images and texts (`Model.embed_text`). Several of them, or the
            folder of a cross-validation, which stands for the runs of its folds, become one model: embeddings beside
            each other, equally weighted. Or a file of `eml export`, such as model.onnx, which is run without torch: an
            `ExportedModel`, whose file says all that follows. Or the address of a run or checkpoint that `eml upload`
            copied, such as s3://bucket/runs/1, which is fetched unless it was before.
        weights: For timm:NAME and open_clip:…: pretrained, none (random), or a weights file. A checkpoint has its own.
        image_size: Side that images are resized to (pixels), or (height, width); the model's own by default. A larger
            one than in training can be better (Touvron 2019, arXiv:1906.06423). Most convolutional networks take any,
            transformers multiples of their patch: their position embeddings are resampled.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: Of the network's products: float32, bfloat16, or auto: bfloat16 where the device has instructions
            for it, which are faster. The embeddings are float32 in any case.
        tta: flip: the embedding is the mean of those of the image and of its mirror, in twice the time; crops: that of
            five crops, in five times; none: that of the image alone. None: as the checkpoint says, which is none unless
            another one was measured to be better.
        plugins: Files and modules of your own that define the network's neck or backbone, such as my_neck.py; they are
            imported first. Nothing is imported because a checkpoint names it.

    Raises:
        CheckpointError: The checkpoint or the weights cannot be read or do not fit, or it needs plugins that are not
            given.
        ConfigError: There is no such model, the device does not exist, an argument does not apply, or a package that
            computes it is not installed.
    """
    if plugins:
        from eml.config import load_plugins

        load_plugins([plugins] if isinstance(plugins, str) else [os.fspath(plugin) for plugin in plugins])
    if is_url(checkpoint):
        checkpoint = fetched_model(str(checkpoint))
    if isinstance(checkpoint, str | os.PathLike) and is_exported(checkpoint):
        from eml.inference.exported.loading import load_exported

        return load_exported(
            Path(checkpoint), weights=weights, image_size=image_size, device=device, precision=precision, tta=tta
        )
    try:
        from eml.inference.load import load as load_network
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "timm", "safetensors"):
            raise
        name = checkpoint if isinstance(checkpoint, str | os.PathLike) else ", ".join(map(str, checkpoint))
        text = (
            f"{name}: is loaded with {error.name}, which is not installed: pip install easy-metric-learning. Without "
            "it a model runs from a file that eml export wrote, such as model.onnx"
        )
        raise ConfigError(text, code="missing-package", parameter="checkpoint") from error
    return load_network(checkpoint, weights=weights, image_size=image_size, device=device, precision=precision, tta=tta)


def fetched_model(address: str) -> Path:
    """Return the local copy of a run, checkpoint or file that `eml upload` put at an address.

    Raises:
        CheckpointError: The address is not one that is read, or cannot be.
        DataError: It has no whole copy.
    """
    from eml.storage.copies import local_copy

    try:
        return local_copy(address)
    except ValueError as error:
        raise CheckpointError(f"`checkpoint` {error}", code="invalid-value", parameter="checkpoint") from error
    except OSError as error:
        text = f"{address}: cannot be fetched: {error.strerror or error}"
        raise CheckpointError(text, code="not-readable", parameter="checkpoint") from error


def text_scale(model: AnyModel) -> tuple[float, float | None]:
    """Return the factor of cosines between images and texts in the loss of a model that takes text, and what is added.

    The second is None for a model that was not trained with sigmoids (SigLIP, arXiv:2303.15343).
    """
    from eml.inference.exported.model import ExportedModel

    if isinstance(model, ExportedModel):
        return model.texts.facts.logit_scale, model.texts.facts.logit_bias
    tower = model.embedder.text
    assert tower is not None, "a model that takes text has a tower"
    bias = None if tower.logit_bias is None else float(tower.logit_bias.detach())
    return float(tower.logit_scale.detach().double().exp()), bias
