"""Tell what a teacher was trained on of what a run is measured on, since its student learns from that too."""

from collections.abc import Iterator

import numpy as np

from eml.dataset.image_keys import image_keys, is_known
from eml.dataset.similar_labels import labels_among
from eml.dataset.table import Table
from eml.evaluation.positives import positive_counts
from eml.evaluation.retrieval_set import RetrievalSet
from eml.models.trained_on import KNOWN, PRETRAINED, TrainedOn
from eml.training.build import RunParts


def leak_notes(parts: RunParts) -> list[str]:
    """Return what a run's teacher has seen of what the run is measured on, a line for each validation set.

    Empty where there is no teacher, or nothing to tell. Of a run that goes on the lines were told when it began.
    """
    distiller = parts.distiller
    if distiller is None or distiller.teacher.record is None:
        return []
    teacher, record = distiller.teacher, distiller.teacher.record
    name = teacher.config.name
    if record.status == PRETRAINED:
        return []
    lines = [
        f"warning: distill.teacher {name} was trained on {seen} of {where or 'the held-out fold'}: what it knows of "
        "them comes to the student, so that the figures flatter it. Take a teacher that was trained without them"
        for where, (table, images) in parts.validation.sets.items()
        for seen in seen_images(table, images, record, set(parts.data.classes), learner="the student")
    ]
    if record.status != KNOWN:
        lines.append(f"distill.teacher {name}: on which images it was trained is {record.status}, so more may be seen")
    return lines


def seen_images(table: Table, images: RetrievalSet, record: TrainedOn, own: set[str], *, learner: str) -> Iterator[str]:
    """Yield the classes, unseen by the network that learns from it, and the queries that a network was trained on.

    Args:
        table: The images' table.
        images: That the run is measured on.
        record: What the network was trained on.
        own: The classes that the run trains on.
        learner: The network that learns from it, in words.
    """
    labels = images.frame["label"].to_numpy(object)
    counted = images.queries[positive_counts(images) > 0]
    classes = set(labels[counted].tolist())
    unseen = classes - labels_among(set(labels.tolist()), own)
    known = labels_among(unseen, set(record.classes))
    queries = 0
    if len(record.keys):
        same = is_known(image_keys(table, images.frame), record.keys)
        queries = int(np.count_nonzero(same[counted]))
        known |= set(labels[counted][same[counted]].tolist()) & unseen
    parts = [f"{len(known):,} of the {len(unseen):,} classes that {learner} does not see"] if known else []
    parts += [f"{queries:,} of the {len(counted):,} query images"] if queries else []
    if parts:
        yield " and on ".join(parts)
