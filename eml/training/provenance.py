"""Record what a run is trained on: its own images, those of the run that it starts from, and those of its teacher."""

from dataclasses import replace

import numpy as np

from eml.dataset.image_keys import image_keys
from eml.dataset.recorded_content import has_content
from eml.errors import CheckpointError
from eml.models.checkpoint import read_trained_on
from eml.models.trained_on import TrainedOn, trained_on
from eml.progress import Report
from eml.training.build import RunParts
from eml.training.run_folder import RunFolder
from eml.training.starting_point import earlier_record, recorded_so_far, starting_run

MANY = 10_000  # files to read without a column `content`, from which on a line says so


def collect_record(parts: RunParts, report: Report = lambda line: None) -> TrainedOn:
    """Return what the weights of a run are trained on: its training images, those of its start, and its teacher's.

    Args:
        parts: Of the run.
        report: Receives a line when many files have to be read for their content hashes.

    Raises:
        DataError: A file that has no content hash in the table cannot be read.
        CheckpointError: The record of the run that it starts from cannot be read.
    """
    record = own_record(parts, report).after(earlier_record(parts.config), str(starting_run(parts.config)))
    return _after_teacher(record, parts)


def _after_teacher(record: TrainedOn, parts: RunParts) -> TrainedOn:
    """Return the record with what the run's teacher and older model were trained on, if it has them."""
    teacher = None if parts.distiller is None else parts.distiller.teacher
    old_model = None if parts.compatibility is None else parts.compatibility.old
    for source in (teacher, old_model):
        record = record if source is None else source.after(record) or record
    return record


def own_record(parts: RunParts, report: Report = lambda line: None) -> TrainedOn:
    """Return what a run is trained on itself: the images of its training data, without its validation fold."""
    frame = parts.data.frame
    unread = int(np.count_nonzero(~has_content(frame)))
    if unread >= MANY:
        report(
            f"reading {unread:,} files that have no content hash in {parts.table.name}, to record them as trained on"
        )
    return trained_on(parts.data.classes, image_keys(parts.table, frame, report=report))


def restore_record(parts: RunParts, folder: RunFolder) -> TrainedOn:
    """Return what a run that is resumed is trained on, as its folder says.

    With a config that was changed on the way, perhaps the fold, its training images now are added. A run that has no
    record, since an earlier version of eml began it, gets one.

    Raises:
        CheckpointError: The record cannot be read.
    """
    if (record := recorded_so_far(folder)) is not None:
        if folder.facts().get("changes"):
            return _after_teacher(record.after(own_record(parts), ""), parts)
        return replace(record, classes=record.classes.union(parts.data.classes))
    own, start = own_record(parts), starting_run(parts.config)
    if start is None:
        return own
    try:
        return own.after(read_trained_on(start), str(start))
    except CheckpointError:  # it may be gone, and is not needed to resume
        return own.after(TrainedOn(frozenset(), None), str(start))
