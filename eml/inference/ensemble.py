"""Several loaded models as one, and such a one as a checkpoint folder that every command takes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eml.errors import ConfigError
from eml.inference.model import Model
from eml.models.checkpoint import save_checkpoint
from eml.models.compression import Compression
from eml.models.config import VIEWS, Inference, StoredModel
from eml.models.ensemble import MemberFacts, join_networks, members_of
from eml.models.trained_on import TrainedOn


def join_models(models: Sequence[Model], source: str = "") -> Model:
    """Return one model whose embeddings are those of several beside each other, each of unit length.

    Its test-time augmentation is that of the model with most views of an image.

    Args:
        models: Two or more, on one device and of one precision.
        source: What to call it; by default the models' names.

    Raises:
        ConfigError: They cannot be joined.
    """
    refuse_compressed(models)
    facts = [
        MemberFacts(
            source=model.source,
            model=StoredModel.model_validate(model.embedder.architecture),
            preprocess=model.preprocess,
            embedding_size=model.embedder.size,
        )
        if not members_of(model.embedder)
        else members_of(model.embedder)[0].model_copy(update={"source": model.source})
        for model in models
    ]
    network = join_networks([model.embedder for model in models], facts)
    return Model(
        network,
        models[0].preprocess,
        models[0].device,
        source=source or " + ".join(model.source for model in models),
        backbone=joined_name([own.model.backbone for own in facts]),
        trained_on=trained_on_together(models),
        precision=models[0].precision,
        tta=max((model.tta for model in models), key=VIEWS.__getitem__),
    )


def joined_name(backbones: Iterable[str]) -> str:
    """Return the backbones of an ensemble, such as `2 × resnet50 + vit_small`."""
    names = list(backbones)
    counted = {name: names.count(name) for name in names}
    return " + ".join(name if count == 1 else f"{count} × {name}" for name, count in counted.items())


def refuse_compressed(models: Iterable[Model]) -> None:
    """Raise a ConfigError for models whose embeddings are compressed."""
    names = [model.source for model in models if model.compression is not None]
    if names:
        text = f"{names[0]}: is compressed; give the checkpoint that it was made from, and compress the new one"
        raise ConfigError(text, code="conflicting-settings")


def trained_on_together(models: Iterable[Model]) -> TrainedOn | None:
    """Return what any of several models was trained on; None where nothing is known of one."""
    records = [(model.source, model.trained_on) for model in models]
    classes: set[str] = set()
    images, unrecorded, by_eml = np.zeros(0, np.uint64), list[str](), False
    for name, record in records:
        if record is None:
            return None
        classes |= record.classes
        images = np.union1d(images, record.keys)
        unrecorded += [*record.unrecorded, *([name] if record.by_eml and record.images is None else [])]
        by_eml = by_eml or record.by_eml
    if by_eml and all(record is None or record.images is None for _, record in records):
        return TrainedOn(frozenset(classes), None)
    return TrainedOn(frozenset(classes), images, tuple(dict.fromkeys(unrecorded)), by_eml)


def save_model(
    folder: Path,
    model: Model,
    *,
    metrics: dict[str, Any] | None = None,
    unknown_label: str | None = None,
    compression: Compression | None = None,
) -> None:
    """Write a model that has no checkpoint folder of its own as one: timm:NAME, an ensemble, or mean weights.

    Args:
        folder: Where to write. An existing folder is replaced.
        model: The model.
        metrics: What was measured of it.
        unknown_label: The label of images of unknown identity, which it was not trained on.
        compression: What is done to its embeddings after the network.
    """
    record, members = model.trained_on, members_of(model.embedder)
    config = members[0].model if members else StoredModel.model_validate(model.embedder.architecture)
    save_checkpoint(
        folder,
        model.embedder,
        config,
        model.preprocess,
        sorted(record.classes) if record else [],
        metrics or {},
        trained_on=None if record is None or (record.by_eml and record.images is None) else record,
        unknown_label=unknown_label,
        compression=compression,
        inference=Inference(tta=model.tta),
        members=members,
    )
