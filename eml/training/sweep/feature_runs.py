"""Runs on features that a network computed once: neck and class head alone are trained, in seconds."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize as unit_length

from eml.dataset.table import Table
from eml.devices import to_device
from eml.errors import ConfigError, DataError, Problem
from eml.evaluation.evaluate import Evaluation, rank_gallery
from eml.head.inits.random import RandomInit
from eml.images.augment.none import NoAugment
from eml.images.image_size import size_word
from eml.images.loading import normalise
from eml.inference.embed import Batching
from eml.inference.embed_images import embed_images
from eml.inference.embedding_store import EmbeddingStore
from eml.inference.image_list import ImageList
from eml.inference.model import Model
from eml.losses import Terms
from eml.models.backbones import word_for_files
from eml.models.embedder import Embedder
from eml.models.fingerprint import Fingerprint
from eml.models.weights_digest import fingerprint_of
from eml.progress import Progress, Report, no_progress
from eml.retrieval.metrics import summarise
from eml.training.batches import TrainingBatches
from eml.training.build import RunParts, build_parts
from eml.training.config import RunConfig
from eml.training.events import Observer
from eml.training.fit import Run
from eml.training.optimizer import learning_rate_factor, set_learning_rates
from eml.training.results import TrainingResult
from eml.training.run_folder import Line
from eml.training.step import batch_loss, clip_gradient, update_weights
from eml.training.sweep.settings import Axis
from eml.training.validation import Loading, Validation

WITH_EFFECT = (
    *("margin", "head", "loss", "sampler", "schedule", "epochs", "batch_size", "validation", "seed", "data.fold"),
    *("model.neck", "model.backbone", "model.weights", "model.pooling", "image", "device"),
    *("optimizer.name", "optimizer.lr.neck", "optimizer.lr.class_weights", "optimizer.weight_decay"),
    *("optimizer.class_weight_decay", "optimizer.clip"),
)
"""Keys that change a run on features; others would be varied in vain."""


def refuse_without_effect(axes: Sequence[Axis]) -> None:
    """Raise a ConfigError for keys that do nothing to runs on features, all at once."""
    idle = [axis.key for axis in axes if not _has_effect(axis.key)]
    if idle:
        raise ConfigError(
            [
                Problem(
                    f'`vary` {key}: has no effect on features that are computed once; leave out `stage="features"` to '
                    "vary it in whole runs",
                    "conflicting-settings",
                    "vary",
                )
                for key in idle
            ]
        )


def _has_effect(key: str) -> bool:
    within = [f"{key}.".startswith(f"{names}.") for names in WITH_EFFECT]
    return any(within) and not f"{key}.".startswith("head.init.")


def on_features(config: RunConfig) -> RunConfig:
    """Return the config of a run that trains neck and class head alone, as it is recorded.

    Raises:
        ConfigError: Its loss compares images with texts, so there is neither.
    """
    if config.loss.compares_texts:
        raise ConfigError(
            f"loss: {config.loss.type} trains the towers of images and texts, of which runs on features have none; "
            "leave out `stage` to sweep whole runs",
            code="conflicting-settings",
            parameter="stage",
        )
    rates = config.optimizer.lr.model_copy(update={"backbone": 0.0})
    optimizer = config.optimizer.model_copy(update={"lr": rates, "layer_decay": 1.0})
    update: dict[str, Any] = {"optimizer": optimizer, "augment": NoAugment(), "mix": None, "ema": None}
    update |= {
        "text": None,
        "distill": None,
        "compatible_with": None,
        "head": config.head.model_copy(update={"init": RandomInit()}),
        "accumulate": 1,
        "precision": "float32",
        "compile": False,
        "stages": "none",
        "refit": False,
        "minutes": None,
    }
    return config.model_copy(update={key: value for key, value in update.items() if key in RunConfig.model_fields})


@dataclass(frozen=True)
class RunFeatures:
    """Features (N, F) float32 of a run's images, before the neck.

    Attributes:
        train: Of the training images.
        held_out: Name of a validation set → of its images.
    """

    train: Tensor
    held_out: Mapping[str, Tensor]


def fit_on_features(
    config: RunConfig,
    table: Table,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    observe: Observer = lambda event: None,
    report: Report = lambda line: None,
    progress: Progress = no_progress,
    command: str | None = None,
) -> TrainingResult:
    """Train neck and class head on features, and write a run folder as `fit` does.

    Args:
        config: Of the run, as `on_features` returns it.
        table: The images' table.
        folder: Where features are kept, a file for each network and preprocessing.
        resume: Continue from the state in the run folder.
        overwrite: Replace a run in the run folder.
        observe: Receives the events of the run.
        report: Receives lines about the images.
        progress: Shows what is embedded.
        command: The command line, for run.json.

    Raises:
        EmlError: Something is wrong that the user can fix.
    """
    parts = build_parts(config, table, resume=False)
    features = _run_features(parts, folder, report, progress)
    parts = replace(parts, validation=_FeatureValidation(parts.validation, features.held_out))
    return _FeatureRun(parts, features.train, observe, command).run(resume=resume, overwrite=overwrite)


class _FeatureModel(Model):
    """A network without its neck, whose features are as it gives them, of any length."""

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Return features (B, F) on the CPU of preprocessed images (B, 3, H, W) uint8."""
        self.embedder.eval()
        with torch.no_grad():
            features: Tensor = self.embedder(normalise(to_device(pixels, self.device), self.preprocess))
            return features.float().cpu()

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides the features."""
        return fingerprint_of(
            self.embedder,
            self.embedder.architecture,
            self.preprocess,
            backbone=self.backbone,
            size=self.size,
            after="features of any length",
        )


def _run_features(parts: RunParts, folder: Path, report: Report, progress: Progress) -> RunFeatures:
    network, preprocess = parts.embedder, parts.preprocess
    with torch.no_grad():
        probe = torch.zeros(1, 3, *preprocess.shape, device=parts.device)
        size = network.eval().features(probe).shape[1]
    plain = Embedder(network.backbone, nn.Identity(), size)
    plain.memory_format = network.memory_format
    plain.architecture = {key: value for key, value in network.architecture.items() if key != "neck"}
    backbone = network.architecture["backbone"]
    model = _FeatureModel(plain, preprocess, parts.device, backbone=backbone)
    digest = model.fingerprint.digest
    store = EmbeddingStore(digest, size)
    name = f"{word_for_files(backbone)}-{size_word(preprocess.size)}-{digest[:16]}.features"
    batching = Batching(parts.config.validation.batch_size, parts.workers)

    def embed(table: Table, frame: pd.DataFrame) -> Tensor:
        images = ImageList(frame, table.root, str(table.source), table=table)
        embedded = embed_images(model, images, batching=batching, reuse=store, progress=progress, report=report)
        if len(embedded.errors):
            first = embedded.errors.iloc[0]
            text = f"{table.name}: {first['file_name']}: {first['detail']} ({first['reason']})"
            raise DataError(text, code="not-an-image")
        return embedded.embeddings

    with store.kept_in(folder / name, report):
        train = embed(parts.table, parts.data.frame)
        held_out = {key: embed(table, images.frame) for key, (table, images) in parts.validation.sets.items()}
    return RunFeatures(train, held_out)


class _FeatureValidation(Validation):
    """A run's validation, by features in place of images."""

    def __init__(self, plain: Validation, features: Mapping[str, Tensor]) -> None:
        vars(self).update(vars(plain))
        self.features = features

    def _evaluate(
        self, name: str, model: Model, loading: Loading, advance: Callable[[int], None], *, of_part: bool = False
    ) -> Evaluation:
        table, images = self.sets[name]
        features = self.features[name]
        if of_part:
            images, rows = self.parts[name]
            features = features[torch.from_numpy(rows)]
        network = model.embedder.eval()
        with torch.no_grad():
            embeddings = unit_length(network.neck(features.to(model.device)).float()).cpu()
        summary = summarise(rank_gallery(embeddings, images))
        return Evaluation(model.source, table, images, embeddings, summary, model.preprocess)


class _FeatureBatches(TrainingBatches):
    """The batches of a run, of features in place of images."""

    def __init__(self, parts: RunParts, features: Tensor) -> None:
        super().__init__(parts)
        self.features = features

    def of_epoch(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features and rows of an epoch's batches, with the modules in training mode."""
        config = self.parts.config
        self.parts.set_training_mode()
        self.counts = None
        for batch in config.sampler.epoch(self.parts.classes, config.batch_size, config.seed, epoch)[first_step:]:
            rows = torch.from_numpy(batch)
            yield self.features[rows], rows


class _FeatureRun(Run):
    """A training run on features: the network's backbone is not called."""

    def __init__(self, parts: RunParts, features: Tensor, observe: Observer, command: str | None) -> None:
        super().__init__(parts, observe, command)
        self.batches = _FeatureBatches(parts, features)

    def step(self, pixels: Tensor, rows: Tensor) -> Line:
        """Take one optimizer step on a batch of features (B, F); return its line of the log."""
        parts, config, step = self.parts, self.parts.config, self.state.step
        factor = learning_rate_factor(config.schedule, step, parts.steps, parts.steps_per_epoch)
        rates = set_learning_rates(parts.optimizer, factor, class_weights=config.optimizer.lr.class_weights)
        parts.head.start_step(step, parts.steps)
        embeddings = parts.embedder.neck(to_device(pixels, parts.device)).float()
        labels = parts.labels[rows]
        loss, statistics = batch_loss(parts.head, config.loss, embeddings, labels, None, None)
        parts.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = clip_gradient(parts)
        values = torch.stack([loss.detach(), norm, *statistics]).tolist()
        if not all(map(math.isfinite, values[:2])):
            text = f"step {step + 1}: the loss is {values[0]} and the norm of its gradient {values[1]}"
            raise DataError(f"{text}; a learning rate may be too high", code="not-finite", parameter="optimizer.lr")
        update_weights(parts, step + 1, rates["class_weights"], overflowed=False)
        self.state.step += 1
        names = ("loss", "gradient_norm", *Terms.STATISTICS)
        return {"step": step + 1, "lr": rates} | dict(zip(names, values, strict=True))
