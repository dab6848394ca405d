"""Facts of a run: what is trained, on which images and on which device."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from eml.models.adapters import parameter_counts
from eml.training.build import RunParts


@dataclass(frozen=True)
class RunFacts:
    """Facts of a run.

    Attributes:
        task: What the model is for: open (classes may be new) or closed.
        seed: Of the weights, the order and the augmentation.
        device: Such as `cuda:0`.
        processes: That train together.
        batch_per_process: Images of a batch in each process, rounded up.
        precision: Of the network's products, such as `bfloat16`.
        train_images: Number of images trained on.
        train_classes: Number of their classes.
        validation_queries: Number of held-out queries that have another image of their class to find, 0 without
            validation.
        validation_protocol: How they are evaluated; None without validation.
        validation_question: Which question they answer, such as `unseen classes`; None without validation.
        validations: Validation set ("" for the held-out fold) → its question, with counts; since_epoch is the first one
            with these images, where others were validated on before.
        parameters: Of the network, without the class head.
        trained_parameters: Those that are trained, without the class head; of adapters, their own.
        embedding_size: Numbers in an embedding.
        scale: Of the logits.
    """

    task: str
    seed: int
    device: str
    processes: int
    batch_per_process: int
    precision: str
    train_images: int
    train_classes: int
    validation_queries: int
    validation_protocol: str | None
    validation_question: str | None
    validations: dict[str, dict[str, Any]]
    parameters: int
    trained_parameters: int
    embedding_size: int
    scale: float

    @classmethod
    def of(cls, parts: RunParts, since: Mapping[str, int] | None = None) -> "RunFacts":
        """Return the facts of a run.

        Args:
            parts: Of the run.
            since: Name of a validation set that was changed on resuming → the first epoch with its images of now.
        """
        parameters, trained = parameter_counts(parts.embedder)
        config, data, validation = parts.config, parts.data, parts.data.validation
        questions = parts.validation.questions
        return cls(
            task=config.task,
            seed=config.seed,
            device=str(parts.device),
            processes=parts.processes.world,
            batch_per_process=-(-config.batch_size // parts.processes.world),
            precision=str(parts.gradient_cache.precision or torch.float32).removeprefix("torch."),
            train_images=len(data.frame),
            train_classes=len(data.classes),
            validation_queries=questions[""].queries if "" in questions else 0,
            validation_protocol=validation.protocol if validation else None,
            validation_question=questions[""].text if "" in questions else None,
            validations={
                name: question.to_dict() | ({"since_epoch": since[name]} if since and name in since else {})
                for name, question in questions.items()
            },
            parameters=parameters,
            trained_parameters=trained,
            embedding_size=parts.embedder.size,
            scale=round(parts.head.scale, 4),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the facts for JSON."""
        return asdict(self)

    def of_images(self) -> dict[str, Any]:
        """Return those of the images that the run is trained and validated on, which may change on resuming."""
        return {name: fact for name, fact in self.to_dict().items() if name.startswith(("train_", "validation"))}
