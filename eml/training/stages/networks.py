"""The networks of a run's stages: the untouched one, that of an epoch, means of both; what is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from eml.models.checkpoint import save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import Embedder, build_embedder
from eml.models.fold import with_projection
from eml.models.necks.identity import Identity
from eml.models.trained_on import NOTHING_BY_EML, TrainedOn
from eml.retrieval.affine import AffineProjection
from eml.training.build import RunParts
from eml.training.run_folder import STAGE_CHECKPOINTS, RunFolder
from eml.training.stages.outcomes import UNTOUCHED, Outcome
from eml.training.stages.views import USUAL, View
from eml.training.starting_point import starting_run

START, FINISHED, REFITTED = STAGE_CHECKPOINTS


@dataclass(frozen=True)
class StageNetwork:
    """A network and the config that it is built from."""

    embedder: Embedder
    config: ModelConfig


def untouched(parts: RunParts, network: Embedder) -> StageNetwork:
    """Return the network before training without the neck that is to be trained; of a run that it starts from, with it.

    Args:
        parts: Of the run.
        network: The network before training.
    """
    if starting_run(parts.config) is not None:
        return StageNetwork(network, parts.config.model)
    features = _features(parts, network)
    plain = Embedder(network.backbone, nn.Identity(), features, network.frozen, network.text)
    plain.memory_format, plain.notes, plain.preprocess = network.memory_format, network.notes, network.preprocess
    plain.architecture = network.architecture | {"neck": Identity().model_dump(mode="json")}
    return StageNetwork(plain, parts.config.model.model_copy(update={"neck": Identity()}))


def _features(parts: RunParts, network: Embedder) -> int:
    """Return the number of features of a network's backbone, by an image of zeros."""
    training = network.training
    network.eval()
    with torch.no_grad():
        images = torch.zeros(1, 3, *parts.preprocess.shape, device=parts.device)
        count = int(network.features(images).shape[1])
    network.train(training)
    return count


def save_start(parts: RunParts, folder: RunFolder, record: TrainedOn | None) -> None:
    """Write the network before training, with its neck, as a checkpoint. record: of what it is trained on."""
    record = record or NOTHING_BY_EML
    save_checkpoint(
        folder.checkpoints / START,
        parts.networks.evaluated,
        parts.config.model,
        parts.preprocess,
        sorted(record.classes),
        {"epoch": 0},
        trained_on=record,
        unknown_label=parts.table.unknown_label,
    )


def read_weights(parts: RunParts, checkpoint: Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint of the run; the first process reads them for all."""
    return parts.processes.from_first(lambda: load_file(checkpoint / "model.safetensors"))


def network_of(parts: RunParts, weights: Mapping[str, Tensor]) -> StageNetwork:
    """Return the run's network with other weights, in eval mode on the run's device."""
    config = parts.config.model.model_copy(update={"weights": "none"})
    embedder = build_embedder(config, parts.preprocess.size)
    embedder.load_state_dict(dict(weights))
    return StageNetwork(embedder.to(parts.device).eval(), config)


def mean_weights(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Return α·tuned + (1 − α)·start, of what is no whole number. Wortsman 2022, arXiv:2109.01903.

    Args:
        start: Name → weights before training.
        tuned: Name → weights after it.
        alpha: The share of the latter.
    """
    return {
        name: start[name].lerp(value, alpha) if value.is_floating_point() else value for name, value in tuned.items()
    }


def ship(
    parts: RunParts,
    folder: RunFolder,
    outcome: Outcome,
    weights: Mapping[float, Mapping[str, Tensor]],
    projection: AffineProjection | None,
    metrics: dict[str, Any],
    records: tuple[TrainedOn | None, TrainedOn | None],
) -> Path:
    """Write the checkpoint that a run gives and point `best` to it; return its folder. Only the first process calls it.

    Args:
        parts: Of the run.
        folder: Of the run.
        outcome: To be given.
        weights: Share of the tuned weights → weights.
        projection: What is done after the network; it becomes part of its neck.
        metrics: Their values.
        records: What the network was trained on before the run, and after it.
    """
    network = network_of(parts, weights[outcome.alpha])
    if outcome.alpha == UNTOUCHED:
        network = untouched(parts, network.embedder)
    plain = outcome.alpha == UNTOUCHED and projection is None
    record = (records[0] or NOTHING_BY_EML) if plain else records[1]
    classes = sorted(record.classes) if plain and record else parts.data.classes
    target = folder.checkpoints / FINISHED
    save_outcome(parts, target, network, projection, classes, metrics, record, outcome.view)
    folder.point_best(target)
    return target


def save_outcome(
    parts: RunParts,
    target: Path,
    network: StageNetwork,
    projection: AffineProjection | None,
    classes: list[str],
    metrics: dict[str, Any],
    record: TrainedOn | None,
    view: View = USUAL,
) -> None:
    """Write a network with what is done after it as a checkpoint.

    Args:
        parts: Of the run.
        target: The checkpoint's folder.
        network: The network.
        projection: What is done after it; it becomes part of its neck.
        classes: That it was trained on.
        metrics: Their values.
        record: What it was trained on.
        view: How images are embedded.
    """
    if projection is not None:
        network = StageNetwork(*with_projection(network.embedder, network.config, projection))
    save_checkpoint(
        target,
        network.embedder,
        network.config,
        parts.preprocess,
        classes,
        metrics,
        trained_on=record,
        unknown_label=parts.table.unknown_label,
        inference=view.inference,
    )
