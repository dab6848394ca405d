"""Bring embeddings into the space of an older model, by its class means and its embeddings of the training images."""

import gc
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize as unit_length

from eml.dataset.table import Table
from eml.devices import to_device
from eml.errors import CheckpointError, ConfigError
from eml.head.class_head import ClassHead
from eml.head.config import HeadConfig
from eml.head.shards import Shard
from eml.images.mixes import Mixed
from eml.inference.embed import Batching, embed_table
from eml.inference.model import Model
from eml.losses.cross_entropy import CrossEntropy
from eml.margins.normface import NormFace
from eml.progress import Progress, Report, no_progress
from eml.training.compatibility.config import KEY, CompatibleConfig
from eml.training.compatibility.old_model import load_old_model, neck_to_set
from eml.training.data import TrainingData
from eml.training.distillation.teacher import Teacher
from eml.training.distillation.terms import cosine_term
from eml.training.reference_embeddings import ReferenceEmbeddings, references_of_run


class CompatibilityTerm:
    """Adds to the loss what keeps the network compatible with an older model.

    Until `prepare` has brought the older model's embeddings the loss stays as it is, as in trials of learning rates.

    Args:
        old: The older model.
        config: The section `compatible_with`.
        table: The table, which knows the folder of the images.
        data: The training images.
        embedding_size: D of the network, which must be that of the older model.
        backbone: Of the network, for advice on its neck.
        device: Where the network is.
        shard: The classes that this process compares with.

    Attributes:
        references: The older model's embeddings of all training images; None before `prepare`.
        head: Compares embeddings with the older model's class means; None before `prepare`.

    Raises:
        ConfigError: The embeddings are of another size.
    """

    def __init__(
        self,
        old: Teacher,
        config: CompatibleConfig,
        table: Table,
        data: TrainingData,
        *,
        embedding_size: int,
        backbone: str,
        device: torch.device,
        shard: Shard,
    ) -> None:
        if old.size != embedding_size:
            raise ConfigError(
                f"{KEY}: {config.name} embeds into {old.size:,} numbers, and this network into {embedding_size:,}; "
                f"{neck_to_set(config, backbone)}, or another neck of that size",
                code="wrong-shape",
                parameter="model.neck",
            )
        self.old, self.config, self.table, self.data, self.device = old, config, table, data, device
        self.shard, self.size = shard, embedding_size
        self.references: ReferenceEmbeddings | None = None
        self.head: ClassHead | None = None

    @property
    def text(self) -> str:
        """What makes the network compatible, in a line."""
        config = self.config
        line = f"compatible with {config.name} ({self.old.backbone}, {self.old.size:,} numbers): "
        line += f"influence {config.influence:g}, cosine {config.cosine:g}"
        if self.references is None:
            return line
        return f"{line}; {self.references.computed:,} embeddings computed, {self.references.reused:,} kept from before"

    def prepare(
        self,
        folder: Path,
        *,
        batching: Batching,
        progress: Progress = no_progress,
        report: Report = lambda line: None,
    ) -> ReferenceEmbeddings:
        """Read or compute the older model's embeddings of all training images, and let the model go.

        All processes call this.

        Args:
            folder: Where they are kept.
            batching: Workers and processes.
            progress: Shows what is read and embedded.
            report: Receives lines for the user.

        Raises:
            EmlError: The model is needed, since an embedding is missing, and is gone or another one by now.
        """
        old = self.old
        self.references = references_of_run(
            *(old.digest, old.size, old.model, self.old_model, self.table, self.data.frame, folder),
            batching=Batching(self.config.batch_size, batching.workers, batching.processes),
            progress=progress,
            report=report,
        )
        self._compare_with(self._class_means(self.references.embeddings))
        self.old.model = None
        gc.collect()
        return self.references

    def pretend(self) -> None:
        """Compare with random vectors, to measure the time and memory of a step."""
        random = torch.Generator().manual_seed(0)
        count = len(self.data.frame), self.size
        self.references = ReferenceEmbeddings(unit_length(torch.randn(count, generator=random)), self.old.digest, 0, 0)
        self._compare_with(unit_length(torch.randn(len(self.data.classes), self.size, generator=random)))

    def old_model(self) -> Model:
        """Return the older model, loaded again where it was let go.

        Raises:
            EmlError: It is gone, or another one by now.
        """
        if self.old.model is not None:
            return self.old.model
        again = load_old_model(self.config, self.device)
        if again.digest != self.old.digest or again.model is None:
            text = f"{KEY}: {self.config.name} is another model than when the run began; put the earlier one back, or "
            raise CheckpointError(text + "begin a new run", code="state-does-not-fit", parameter=KEY)
        return again.model

    def seconds_per_image(self) -> float:
        """Return the time in which the older model embeds an image, measured on a few after as many to warm up."""
        frame, seconds = self.data.frame.iloc[: self.config.batch_size], 0.0
        for _ in ("warm up", "measure"):
            started = time.monotonic()
            embed_table(self.old_model(), self.table, frame, batching=Batching(self.config.batch_size))
            seconds = time.monotonic() - started
        return seconds / len(frame)

    def add_to(
        self,
        loss: Tensor,
        embeddings: Tensor,
        labels: Tensor,
        rows: Tensor,
        *,
        mixed: Mixed | None = None,
        counts: list[int] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss () of the whole batch and numbers () by name to record; all processes have the same.

        Args:
            loss: () of the whole batch, of what else the network learns from.
            embeddings: (b, D) of this process's part of the batch, with their graph.
            labels: (b,) on the CPU.
            rows: (b,) which training images they are, on the CPU.
            mixed: How the images were mixed; None if they were not.
            counts: How many images of the batch each process has.
        """
        if self.references is None or self.head is None:
            return loss, {}
        numbers: dict[str, Tensor] = {}
        if self.config.influence:
            influence = self._influence(self.head, embeddings, labels, mixed, counts)
            loss, numbers = loss + self.config.influence * influence, {"influence": influence.detach()}
        if self.config.cosine:
            distance = self._distance(self.references.embeddings[rows], embeddings, mixed, counts)
            loss = loss + self.config.cosine * distance
            numbers["compatible_cosine"] = 1.0 - distance.detach()
        return loss, numbers

    def _influence(
        self, head: ClassHead, embeddings: Tensor, labels: Tensor, mixed: Mixed | None, counts: list[int] | None
    ) -> Tensor:
        """Return the mean cross-entropy () of the batch against the older model's class means."""
        loss = CrossEntropy()
        if mixed is None:
            return loss(head(embeddings, labels, counts=counts)).mean()
        terms, partner_terms = head.mixed(embeddings, labels, labels[mixed.partners], mixed.share, counts=counts)
        share = self.shard.gathered(to_device(mixed.share, embeddings.device), counts)
        return loss.mixed(terms, partner_terms, share).mean()

    def _distance(self, own: Tensor, embeddings: Tensor, mixed: Mixed | None, counts: list[int] | None) -> Tensor:
        """Return the mean of 1 − cosine () to the older model's embeddings. own: (b, D) of the images, unmixed."""
        device = embeddings.device
        with torch.autocast(device.type, enabled=False):
            new = self.shard.gathered(embeddings, counts).float()
            losses = cosine_term(new, self.shard.gathered(to_device(own, device), counts))
            if mixed is not None:
                partners = self.shard.gathered(to_device(own[mixed.partners], device), counts)
                share = self.shard.gathered(to_device(mixed.share, device), counts)
                losses = share * losses + (1 - share) * cosine_term(new, partners)
            return losses.mean()

    def _class_means(self, embeddings: Tensor) -> Tensor:
        """Return (C, D) unit means of the older model's unit embeddings (N, D) of each class's training images."""
        total = torch.zeros(len(self.data.classes), self.size, dtype=torch.float64)
        total.index_add_(0, torch.from_numpy(self.data.labels), embeddings.double())
        return unit_length(total).float()

    def _compare_with(self, means: Tensor) -> None:
        own = self.shard.mine(means)
        config = HeadConfig(scale=self.config.influence_scale)
        head = ClassHead(NormFace(), len(means), self.size, config, class_weights=own, shard=self.shard)
        self.head = head.to(self.device)
        self.head.class_weights = own.to(self.device)

    def state(self) -> dict[str, Any]:
        """Return what a state of the run says of it."""
        return {"fingerprint": self.old.digest}

    def is_other(self, state: Mapping[str, Any] | None) -> bool:
        """Return whether a saved state is of another older model."""
        return bool(state) and state is not None and state.get("fingerprint") != self.old.digest
