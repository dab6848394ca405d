"""The teacher of a run: found, loaded, and recorded so that a resumed run needs it no more."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eml.errors import CheckpointError, EmlError, Problem
from eml.inference.load import check_backbone_name, is_backbone, load
from eml.inference.model import Model
from eml.models.pointers import find_checkpoint, fold_runs
from eml.models.trained_on import UNKNOWN, TrainedOn
from eml.training.distillation.config import DistillConfig

KEY = "distill.teacher"
FACTS = "distill"
"""The key of run.json."""


@dataclass
class Teacher:
    """The teacher, as far as a run needs it.

    Attributes:
        config: The section `distill`.
        digest: Of the fingerprint.
        size: Of its embeddings.
        backbone: The backbone's name.
        status: What is recorded of what it was trained on: known, partly known, unknown or pretrained.
        model: Itself; None where a run goes on whose folder says the rest, and once it is not needed any more.
        record: What it was trained on; None where a run goes on, whose own record has it.
    """

    config: DistillConfig
    digest: str
    size: int
    backbone: str
    status: str = UNKNOWN
    model: Model | None = None
    record: TrainedOn | None = None

    def after(self, record: TrainedOn | None) -> TrainedOn | None:
        """Return a record with what the teacher was trained on, since its student learns from that too.

        A teacher that eml did not train adds nothing. record: None for nothing by eml.
        """
        own = self.record
        if own is None or not own.by_eml:
            return record
        return (record or TrainedOn(frozenset(), np.zeros(0, np.uint64))).after(own, self.config.name)

    def to_dict(self) -> dict[str, Any]:
        """Return what run.json says of it."""
        return _named_by(self.config) | {
            "fingerprint": self.digest,
            "embedding_size": self.size,
            "backbone": self.backbone,
            "trained_on": self.status,
        }


def check_teacher(config: DistillConfig | None, *, resume: bool = False) -> None:
    """Raise an EmlError for a teacher that is not there, as far as that is known before anything is loaded.

    A run that goes on has the teacher's embeddings, and needs itself no more.
    """
    if config is None or resume:
        return
    problems: list[Problem] = []
    for name in config.teachers:
        try:
            if isinstance(name, Path):
                _ = fold_runs(name) or find_checkpoint(name)
            elif is_backbone(name):
                check_backbone_name(name)
        except EmlError as error:
            problems += _named(error)
    if isinstance(config.weights, Path) and not config.weights.is_file():
        text = f"distill.weights: {config.weights} is no file"
        problems.append(Problem(text, "missing-file", "distill.weights"))
    if problems:
        raise CheckpointError(problems)


def load_teacher(config: DistillConfig, device: torch.device) -> Teacher:
    """Load the teacher onto a device.

    Raises:
        EmlError: It cannot be loaded; the message begins with the config's key.
    """
    names = config.teachers
    own: dict[str, Any] = {"weights": config.weights} if any(is_backbone(str(name)) for name in names) else {}
    try:
        model = load(
            names[0] if len(names) == 1 else names,
            image_size=config.size,
            device=str(device),
            tta=config.tta,
            **own,
        )
        record = model.trained_on or TrainedOn(frozenset(), None)
    except EmlError as error:
        raise type(error)(_named(error)) from error
    return Teacher(config, model.fingerprint.digest, model.size, model.backbone, record.status, model, record)


def recorded_teacher(config: DistillConfig, facts: Mapping[str, Any]) -> Teacher | None:
    """Return the teacher of a run that goes on, as its run.json records it; None where the config names another."""
    recorded, named = facts.get(FACTS), _named_by(config)
    if not isinstance(recorded, dict) or {key: recorded.get(key) for key in named} != named:
        return None
    digest, size = recorded.get("fingerprint"), recorded.get("embedding_size")
    if not isinstance(digest, str) or not isinstance(size, int):
        return None
    return Teacher(config, digest, size, str(recorded.get("backbone")), status=str(recorded.get("trained_on", UNKNOWN)))


def _named_by(config: DistillConfig) -> dict[str, Any]:
    """Return the settings that say which model it is."""
    settings = config.model_dump(mode="json", include={"weights", "size", "tta"})
    return {"teacher": [str(name) for name in config.teachers], **settings}


def _named(error: EmlError) -> list[Problem]:
    """Return the problems of an error with the config's key before them."""
    return [
        Problem(f"{KEY}: {str(problem).replace('`image_size`', 'distill.size')}", problem.code, KEY)
        for problem in error.problems
    ]
