"""The estimates of `eml train --dry-run`, in words and with units."""

from collections.abc import Mapping
from typing import Any

from eml.images.image_size import size_text

WORDS = {
    "task": ("task", ""),
    "seed": ("seed", ""),
    "device": ("device", ""),
    "processes": ("processes", ""),
    "batch_per_process": ("images of a batch in each process", ""),
    "precision": ("precision", ""),
    "train_images": ("images to train on", ""),
    "train_classes": ("classes to train on", ""),
    "validation_queries": ("queries of the validation", ""),
    "validation_protocol": ("protocol of the validation", ""),
    "validation_question": ("the validation measures", ""),
    "parameters": ("parameters of the network", ""),
    "trained_parameters": ("parameters that are trained", ""),
    "embedding_size": ("embedding size", ""),
    "scale": ("scale", ""),
    "class_head": ("class head", ""),
    "class_head_weights_mib": ("class head: weights", "MiB"),
    "class_head_gradient_mib": ("class head: gradient", "MiB"),
    "class_head_optimizer_mib": ("class head: optimizer state", "MiB"),
    "class_head_work_mib": ("class head: work for a batch", "MiB"),
    "class_head_seconds_per_step": ("class head: time of a step", "s"),
    "network_and_optimizer_mib": ("network with gradient and optimizer state", "MiB"),
    "peak_mib": ("peak memory", "MiB"),
    "image_size": ("image size", "pixels"),
    "batch_size": ("images of a batch", ""),
    "steps": ("steps of the whole training", ""),
    "seconds_per_step": ("time of a step", "s"),
    "minutes_without_validation": ("time of all steps, without validation", "minutes"),
    "validations": ("validations", ""),
    "validation_images": ("images of a validation during training", ""),
    "seconds_per_validation": ("time of a validation", "s"),
    "teacher": ("learned from a teacher", ""),
    "teacher_minutes": ("time of the teacher, once", "minutes"),
    "minutes": ("time of the whole training", "minutes"),
}
"""Fact → what it is called, and its unit."""
LEAST = {"MiB": 0.1, "minutes": 0.1}
"""The facts are rounded to this: less than half of it reads 0."""


def rows_of(facts: Mapping[str, Any]) -> list[list[Any]]:
    """Return a row for each fact that there is, in the order of `WORDS`."""
    return [[words, _with_unit(facts[name], unit)] for name, (words, unit) in WORDS.items() if facts[name] is not None]


def _with_unit(value: Any, unit: str) -> Any:
    if not unit:
        return value
    if value == 0 and unit in LEAST:
        return f"below {LEAST[unit]} {unit}"
    return f"{size_text(value) if isinstance(value, tuple) else f'{value:,}'} {unit}"
