"""The loss of a student that follows its teacher, and the teacher's embeddings of the training images."""

import gc
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize as unit_length

from eml.dataset.table import Table
from eml.devices import to_device
from eml.errors import CheckpointError
from eml.head.shards import Shard
from eml.images.mixes import Mixed
from eml.inference.embed import Batching, embed_table
from eml.inference.model import Model
from eml.models.pointers import FOLDS_FILE, is_run_folder
from eml.progress import Progress, Report, no_progress
from eml.training.config import RunConfig
from eml.training.data import TrainingData
from eml.training.distillation.config import DistillConfig
from eml.training.distillation.teacher import KEY, Teacher, load_teacher
from eml.training.distillation.terms import angle_term, cosine_term, distance_term
from eml.training.reference_embeddings import (
    FOLDER,
    ReferenceEmbeddings,
    references_of_run,
)

ROTATION, REFIT = "rotation", "refit"
"""Folders of the runs that a run makes in its own folder (stages)."""


def references_folder(config: RunConfig) -> Path:
    """Return where a run keeps the teacher's embeddings.

    Runs of other folds and on all classes share the run's own, and those of a cross-validation what is beside them.
    """
    if config.distill is not None and config.distill.folder is not None:
        return config.distill.folder
    output = config.output
    for parent in (output.parent, output.parent.parent):
        is_part = output.relative_to(parent).parts[0] in (ROTATION, REFIT)
        if is_part and is_run_folder(parent):
            return parent / FOLDER
    if (output.parent / FOLDS_FILE).is_file():
        return output.parent / FOLDER
    return output / FOLDER


class Distiller:
    """Adds what the teacher says to the loss of the class head.

    Until `prepare` has brought all of the teacher's embeddings, those of a batch are computed where it is used, as in a
    dry run or in trials of learning rates, which write nothing.

    Args:
        teacher: The teacher.
        table: The table, which knows the folder of the images.
        data: The training images.
        embedding_size: D of the student.
        device: Where the student is.
        seed: Of the map.

    Attributes:
        map: The linear map after the student's embedding, for the term `cosine` alone; None without one. It is trained
            with the network and is no part of a checkpoint.
        references: The teacher's embeddings of all training images; None before `prepare`.
    """

    def __init__(
        self,
        teacher: Teacher,
        table: Table,
        data: TrainingData,
        *,
        embedding_size: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self.teacher, self.table, self.frame, self.device = teacher, table, data.frame, device
        self.references: ReferenceEmbeddings | None = None
        self._computed: dict[int, Tensor] = {}
        self._mean: Tensor | None = None
        self.map: nn.Linear | None = None
        config = teacher.config
        if config.cosine and (config.map == "linear" or teacher.size != embedding_size):
            self.map = nn.Linear(embedding_size, teacher.size, bias=False, device="meta").to_empty(device="cpu")
            own = torch.Generator().manual_seed(seed)  # so that the network's own weights stay as without a teacher
            nn.init.orthogonal_(self.map.weight, generator=own)
            self.map.to(device)

    @property
    def config(self) -> DistillConfig:
        """The section `distill`."""
        return self.teacher.config

    @property
    def text(self) -> str:
        """What the run learns from the teacher, in a line."""
        config, teacher, size = self.config, self.teacher, "{:,} numbers"
        terms = ", ".join(f"{name} {weight:g}" for name, weight in config.terms.items())
        line = f"teacher: {config.name} ({teacher.backbone}, {size.format(teacher.size)}); weight {config.weight:g} of "
        line += f"{terms}; class labels {config.labels:g}"
        if self.map is not None:
            line += f"; by a linear map from {self.map.in_features:,} to {self.map.out_features:,} numbers"
        if self.references is not None:
            count = f"{self.references.computed:,} embeddings computed, {self.references.reused:,} kept from before"
            line += f"; {count}"
        return line

    def prepare(
        self,
        folder: Path,
        *,
        batching: Batching,
        progress: Progress = no_progress,
        report: Report = lambda line: None,
    ) -> ReferenceEmbeddings:
        """Read or compute the teacher's embeddings of all training images, and let the teacher go.

        All processes call this.

        Args:
            folder: Where they are kept.
            batching: Workers and processes.
            progress: Shows what is read and embedded.
            report: Receives lines for the user.

        Raises:
            EmlError: The teacher is needed, since an embedding is missing, and is gone or another one by now.
        """
        teacher, config = self.teacher, self.config
        self.references = references_of_run(
            *(teacher.digest, teacher.size, teacher.model, self._same_teacher, self.table, self.frame, folder),
            batching=Batching(config.batch_size, batching.workers, batching.processes),
            progress=progress,
            report=report,
        )
        teacher.model = None
        self._computed.clear()
        gc.collect()
        return self.references

    def _same_teacher(self) -> Model:
        """Return the model, loaded again where the run goes on without all of its embeddings."""
        if self.teacher.model is not None:
            return self.teacher.model
        again = load_teacher(self.config, self.device)
        if again.digest != self.teacher.digest or again.model is None:
            raise CheckpointError(
                f"{KEY}: {self.config.name} is another model than when the run began, and its embeddings are not all "
                "there; put the earlier one back, or begin a new run",
                code="state-does-not-fit",
                parameter=KEY,
            )
        return again.model

    def targets(self, rows: Tensor) -> Tensor:
        """Return the teacher's embeddings (b, T) of training images. rows: (b,), on the CPU."""
        if self.references is not None:
            return self.references.embeddings[rows]
        missing = [row for row in dict.fromkeys(rows.tolist()) if row not in self._computed]
        if missing:
            frame = self.frame.iloc[missing].reset_index(drop=True)
            batching = Batching(self.config.batch_size)
            embeddings = embed_table(self._same_teacher(), self.table, frame, batching=batching)
            self._computed |= dict(zip(missing, embeddings, strict=True))
        return torch.stack([self._computed[row] for row in rows.tolist()])

    def seconds_per_image(self) -> float:
        """Return the time in which the teacher embeds an image, measured on a few after as many to warm up."""
        frame, seconds = self.frame.iloc[: self.config.batch_size], 0.0
        for _ in ("warm up", "measure"):
            started = time.monotonic()
            embed_table(self._same_teacher(), self.table, frame, batching=Batching(self.config.batch_size))
            seconds = time.monotonic() - started
        return seconds / len(frame)

    def add_to(
        self,
        class_loss: Tensor,
        embeddings: Tensor,
        rows: Tensor,
        *,
        mixed: Mixed | None = None,
        shard: Shard,
        counts: list[int] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss () of the whole batch and numbers () by name to record; all processes have the same.

        labels·class loss + weight·(cosine·L_C + distance·L_D + angle·L_A). Of mixed images L_C is that of both images'
        teacher embeddings, in the shares of their labels.

        Args:
            class_loss: () of the whole batch, of the class head.
            embeddings: (b, D) of this process's part of the batch, with their graph.
            rows: (b,) which training images they are, on the CPU.
            mixed: How the images were mixed; None if they were not.
            shard: Exchanges rows with the other processes.
            counts: How many images of the batch each process has.
        """
        config, device = self.config, embeddings.device
        with torch.autocast(device.type, enabled=False):
            own = self.targets(rows)
            student = unit_length(shard.gathered(embeddings, counts).float())
            teacher = shard.gathered(to_device(own, device), counts)
            mapped = student if self.map is None else self.map(student)
            terms: dict[str, Tensor] = {}
            if config.cosine:
                common = self._common(teacher)
                losses = cosine_term(mapped, teacher - common)
                if mixed is not None:
                    partners = shard.gathered(to_device(own[mixed.partners], device), counts)
                    share = shard.gathered(to_device(mixed.share, device), counts)
                    losses = share * losses + (1 - share) * cosine_term(mapped, partners - common)
                terms["cosine"] = losses.mean()
            if config.distance:
                terms["distance"] = distance_term(student, teacher)
            if config.angle:
                terms["angle"] = angle_term(student, teacher)
            total = sum((weight * terms[name] for name, weight in config.terms.items()), student.new_zeros(()))
            numbers = {"class_loss": class_loss.detach()}
            if config.cosine:
                numbers["teacher_cosine"] = 1.0 - terms.pop("cosine").detach()
            numbers |= {f"teacher_{name}": value.detach() for name, value in terms.items()}
            return config.labels * class_loss + config.weight * total, numbers

    def _common(self, teacher: Tensor) -> Tensor:
        """Return what is subtracted from the teacher's embeddings: their mean (T,), before `prepare` the batch's."""
        if not self.config.centered:
            return teacher.new_zeros(teacher.shape[1])
        if self.references is None:
            return teacher.mean(0)
        if self._mean is None:
            self._mean = self.references.embeddings.mean(0, dtype=torch.float64).to(teacher)
        return self._mean

    def state(self) -> dict[str, Any]:
        """Return what a state of the run needs of it."""
        return {"fingerprint": self.teacher.digest, "map": None if self.map is None else self.map.state_dict()}

    def load_state(self, state: Mapping[str, Any] | None) -> None:
        """Take the map of a saved state over.

        Raises:
            RuntimeError: It is of another size; or KeyError.
        """
        if self.map is not None:
            self.map.load_state_dict((state or {})["map"])
