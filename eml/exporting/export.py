"""A checkpoint → a file of another library, written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from eml.errors import OutputError
from eml.exporting.formats import ExportFormat, FormatSettings, find_format
from eml.exporting.formats.base import DEFAULT_OPSET
from eml.files import not_writable, temporary_path, unwritable, whole_files, whole_folder
from eml.images.image_size import Size
from eml.inference.exported.facts import ExportFacts, ExportPrecision, InputKind
from eml.inference.exported.trained_record import TrainedRecord
from eml.inference.load import load
from eml.inference.model import Model
from eml.models.config import Tta
from eml.progress import Progress, Report, no_progress


@dataclass(frozen=True)
class ExportOptions:
    """Which model is exported, to what and where.

    Attributes:
        checkpoint: A run, a checkpoint, timm:NAME or the like, as `eml.load` takes it.
        out: The file, or for some formats the folder.
        format: Of the file; None: by the suffix of `out`.
        input: What the graph takes.
        precision: Of its weights and products.
        opset: Of ONNX.
        weights: Of timm:NAME.
        image_size: As in `eml.load`.
        tta: As in `eml.load`.
        licence: The user's own, for the model card of a hub folder; None: not stated.
        overwrite: Whether what is at `out` is replaced.
    """

    checkpoint: str
    out: Path
    format: str | None = None
    input: InputKind = "uint8"
    precision: ExportPrecision = "float32"
    opset: int = DEFAULT_OPSET
    weights: str = "pretrained"
    image_size: Size | None = None
    tta: Tta | None = None
    licence: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Exported:
    """The outcome of an export.

    Attributes:
        path: The file, or the folder.
        format: The format's name.
        facts: What the file says of itself.
        bytes: Of all its files.
        files: All that was written, `path` first.
        replaced: Those of them that existed.
    """

    path: Path
    format: str
    facts: ExportFacts
    bytes: int
    files: list[Path]
    replaced: list[Path] = field(default_factory=list)


def export_model(
    options: ExportOptions, *, report: Report = lambda line: None, progress: Progress = no_progress
) -> Exported:
    """Export a model.

    Raises:
        ConfigError: The options do not fit together, a package is missing, or the network cannot be exported.
        CheckpointError: The checkpoint cannot be read.
        OutputError: `out` exists, or cannot be written.
    """
    form = find_format(options.format, options.out)
    settings = FormatSettings(options.input, options.precision, options.opset, report, options.licence)
    form.check(options.out, settings)
    _refuse_existing(options, form)
    model = load(
        options.checkpoint, weights=options.weights, image_size=options.image_size, tta=options.tta, device="cpu"
    )
    for note in model.notes:
        report(note)
    with _beside(options.out) as folder:
        path = folder / options.out.name
        with progress(f"exporting {options.checkpoint}", None):
            details = form.write(model, path, settings)
        facts = _facts(model, options, details, form.graph_digest(path))
        _report_left_out(model, facts, report)
        form.write_facts(path, facts)
        return _put_in_place(path, options.out, form, facts)


def _facts(model: Model, options: ExportOptions, details: str, graph: str) -> ExportFacts:
    return ExportFacts(
        eml_version=version("easy-metric-learning"),
        input=options.input,
        preprocess=model.preprocess,
        embedding_size=model.size,
        backbone=model.backbone,
        precision=options.precision,
        precision_details=details,
        source=model.fingerprint,
        graph=graph,
        trained_on=None if model.trained_on is None else TrainedRecord.of(model.trained_on),
    )


def _report_left_out(model: Model, facts: ExportFacts, report: Report) -> None:
    """Report what of the record of a model's training does not travel in the file."""
    if model.trained_on is not None and facts.trained_on is not None:
        left_out = facts.trained_on.left_out(model.trained_on)
        if left_out:
            report(left_out)


def _refuse_existing(options: ExportOptions, form: ExportFormat) -> None:
    """Raise an OutputError where something is in the place of the new files, or nothing can be written there."""
    if problem := unwritable(options.out.parent):
        raise OutputError(problem, code="not-writable", parameter="out")
    existing = [path for path in (options.out, *form.companions(options.out)) if os.path.lexists(path)]
    if existing and not options.overwrite:
        raise OutputError(
            f"{existing[0]}: exists; give another `out`, or set `overwrite`", code="file-exists", parameter="out"
        )


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside a path, which is removed afterwards.

    Raises:
        OutputError: It cannot be written, such as on a full disk.
    """
    folder = temporary_path(out)
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise not_writable(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(path: Path, out: Path, form: ExportFormat, facts: ExportFacts) -> Exported:
    """Move what was written to where it belongs."""
    places = {path: out} | dict(zip(form.companions(path), form.companions(out), strict=True))
    replaced = [place for place in places.values() if place.exists()]
    size = sum(_bytes_of(own) for own in places)
    if path.is_dir():
        with whole_folder(out) as temporary:
            for item in path.iterdir():
                item.replace(temporary / item.name)
    else:
        with whole_files(list(places.values())) as temporaries:
            for own, place in places.items():
                own.replace(temporaries[place])
    return Exported(out, form.name, facts, size, list(places.values()), replaced)


def _bytes_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
