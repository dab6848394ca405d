"""The images of a proof where none are named: such that the model was not trained on, if the run knows any."""

from dataclasses import dataclass, replace
from pathlib import Path

from eml.dataset.pipeline import table_to_evaluate, test_table
from eml.dataset.table import Table
from eml.errors import ConfigError, DataError, EmlError
from eml.evaluation.checkpoint_label import with_checkpoint_label
from eml.evaluation.trained_overlap import OverlapCounter
from eml.exporting.proof.images import IMAGES, ProofImages, choose_images
from eml.inference.model import Model
from eml.models.calibration import find_calibration_table, read_calibration
from eml.models.pointers import is_run_folder
from eml.progress import Progress, Report, no_progress
from eml.training.data import table_to_train_on
from eml.training.moved_run import CONFIG_NAME, load_run_data

ENOUGH = 50
"""Images of a table, below which another one is looked for."""


@dataclass(frozen=True)
class DescribedTable:
    """A table of images, and where they come from: `{}` stands for its name."""

    table: Table
    words: str = "{}"

    @property
    def place(self) -> str:
        """Where they come from, with the path."""
        return self.words.format(self.table.name)

    @property
    def name(self) -> str:
        """Where they come from, without folders, which are nobody's business where the model goes."""
        path = self.table.path
        return self.words.format(path.name if path is not None else f"the table of {self.table.root.name}")


def find_images(
    model: Model,
    checkpoint: str,
    prove_on: Path | None = None,
    *,
    count: int = IMAGES,
    report: Report = lambda line: None,
    progress: Progress = no_progress,
) -> ProofImages:
    """Return the images to prove a model on.

    Args:
        model: The model of the checkpoint.
        checkpoint: As the user named it.
        prove_on: A table or a folder. None: the first of these that has enough images, none of them trained on: the
            fold that the run held out, the test classes that `eml split` left beside its table, the table that it was
            calibrated with; else the run's whole table.
        count: How many images, at most.
        report: Receives the lines about the table that is read, and which images are chosen.
        progress: Shows the progress of a scan.

    Raises:
        DataError: The table that is named cannot be read, or has fewer than two classes of two images.
        ConfigError: None is named, and there is none.
    """
    if prove_on is not None:
        table = with_checkpoint_label(table_to_evaluate(prove_on, None, report, progress), [checkpoint], report)
        return _reported(*_chosen(model, DescribedTable(table), count), report)
    candidates, reasons = [], list[str]()
    for find in (_held_out, _test_classes, _of_calibration, _of_run):
        try:
            images, place = _chosen(model, find(model), count)
        except EmlError as error:
            reasons += error.problems
            continue
        if len(images) >= min(ENOUGH, count) and not images.trained_on:
            return _reported(images, place, report)
        candidates.append((images, place))
    if candidates:  # the largest; of equally many images those that are rather unseen
        return _reported(*max(candidates, key=lambda pair: (len(pair[0]), not pair[0].trained_on)), report)
    why = "".join(f"; {reason}" for reason in dict.fromkeys(map(str, reasons)))
    text = f"{checkpoint}: no images are known to prove an export on{why}. Give a table or a folder as `prove_on`"
    raise ConfigError(text, code="missing-key", parameter="prove_on")


def _reported(images: ProofImages, place: str, report: Report) -> ProofImages:
    report(f"proof on {len(images):,} images of {images.classes:,} classes of {place}")
    return images


def _chosen(model: Model, source: DescribedTable, count: int) -> tuple[ProofImages, str]:
    """Return images of a table, which know whether the model was trained on them, and their place in words."""
    images = choose_images(source.table, count=count, chosen_from=source.name)
    overlap = OverlapCounter().count(model.trained_on, source.table, images.frame)
    is_seen = bool(overlap.images) or (overlap.images is None and overlap.is_overlap)
    return replace(images, trained_on=is_seen), source.place


def _run_of(model: Model) -> Path:
    """Return the run that a model's checkpoint is in.

    Raises:
        ConfigError: It is in none.
    """
    checkpoints = None if model.folder is None else model.folder.absolute().parent
    if checkpoints is None or checkpoints.name != "checkpoints" or not is_run_folder(checkpoints.parent):
        raise ConfigError("the model is not in the folder of a run", code="missing-key", parameter="prove_on")
    return checkpoints.parent


def tables_of_run(model: Model) -> tuple[Table, int | None]:
    """Return the table of a model's run, and the fold that it held out; None: none.

    Raises:
        EmlError: The model is in no run, or its table cannot be read.
    """
    data, task = load_run_data(_run_of(model) / CONFIG_NAME)
    return table_to_train_on(data, task=task, accept_stale=True), data.fold


def _held_out(model: Model) -> DescribedTable:
    table, fold = tables_of_run(model)
    frame = table.frame
    if fold is None or "fold" not in frame:
        raise DataError(f"{table.name}: the run held out no fold", code="missing-column")
    rows = frame[frame["fold"] == fold].reset_index(drop=True)
    return DescribedTable(replace(table, frame=rows), f"fold {fold} of {{}}, held out")


def _test_classes(model: Model) -> DescribedTable:
    table, _ = tables_of_run(model)
    path = None if table.path is None else test_table(table.path.parent, lambda line: None)
    if path is None:
        raise DataError(f"{table.name}: has no test classes beside it", code="missing-file")
    return DescribedTable(with_checkpoint_label(table_to_evaluate(path, None), [str(model.folder)], lambda line: None))


def _of_calibration(model: Model) -> DescribedTable:
    calibration = None if model.folder is None else read_calibration(model.folder)
    path = None if calibration is None else find_calibration_table(calibration, model.folder)
    if path is None:
        raise DataError("the checkpoint is not calibrated, so no other table is known", code="missing-file")
    return DescribedTable(table_to_evaluate(path, None), "{}, which it was calibrated with")


def _of_run(model: Model) -> DescribedTable:
    return DescribedTable(tables_of_run(model)[0])
