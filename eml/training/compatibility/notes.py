"""Tell what an older model was trained on of what a run is measured on."""

from eml.models.trained_on import KNOWN, PRETRAINED
from eml.training.build import RunParts
from eml.training.compatibility.config import KEY
from eml.training.distillation.leaks import seen_images


def old_model_notes(parts: RunParts) -> list[str]:
    """Return what a run's older model has seen of what the run is measured on, a line for each validation set.

    Empty where there is no older model, or nothing to tell. Of a run that goes on the lines were told when it began.
    """
    term = parts.compatibility
    if term is None or term.old.record is None or term.old.record.status == PRETRAINED:
        return []
    name, record = term.config.name, term.old.record
    lines = [
        f"warning: {KEY} {name} was trained on {seen} of {where or 'the held-out fold'}: its own figures are flattered "
        "there, and so are those of the new model, which learns from it"
        for where, (table, images) in parts.validation.sets.items()
        for seen in seen_images(table, images, record, set(parts.data.classes), learner="the new model")
    ]
    if record.status != KNOWN:
        lines.append(f"{KEY} {name}: on which images it was trained is {record.status}, so more may be seen")
    return lines
