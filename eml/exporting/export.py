"""A checkpoint → a file of another library, written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from eml.errors import ConfigError, OutputError
from eml.evaluation.outputs import refuse_page
from eml.exporting.formats import ExportFormat, FormatSettings, find_format
from eml.exporting.formats.base import DEFAULT_OPSET
from eml.exporting.hub.seal import sealed_files
from eml.exporting.precision.images import load_images
from eml.exporting.proof.find_images import find_images
from eml.exporting.proof.images import FEWEST, IMAGES
from eml.exporting.proof.outcome import ProofOutcome, is_proof, prove_file, write_proof
from eml.exporting.proof.record import ProofLimits
from eml.exporting.proof.timing import SECONDS
from eml.exporting.texts.export import export_texts, stale_text_files, text_files
from eml.exporting.triton import refuse_repository, repository_place, write_repository
from eml.files import not_writable, temporary_path, unwritable, whole_files, whole_folder
from eml.images.image_size import Size
from eml.inference.any_model import fetched_model
from eml.inference.exported.facts import ExportFacts, ExportPrecision, InputKind
from eml.inference.exported.names import proof_files
from eml.inference.exported.text_facts import TextFacts, text_path
from eml.inference.exported.trained_record import TrainedRecord
from eml.inference.load import load
from eml.inference.model import Model
from eml.models.checkpoint import recorded_unknown_label
from eml.models.config import Tta
from eml.models.hub_folder import WEIGHTS, is_hub_folder, read_hub_facts
from eml.models.pointers import FAILED
from eml.progress import Progress, Report, no_progress
from eml.storage import is_url
from eml.versions import eml_version


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
        prove_on: The table of the images that it is proved on; None: such of the run that it was not trained on.
        prove_images: How many images, at most; 0: it is not proved.
        least_cosine: Between the embeddings of an image; None: .9999 for float32, else retrieval alone decides.
        most_loss: MAP@R that may be lost; None: .01.
        calibrate_on: The table of the images that int8 takes its steps from; None: those that the run was trained on.
        timing_seconds: Time for the measurement of each batch size.
        triton: Whether a model repository for Triton is written beside an ONNX file.
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
    prove_on: Path | None = None
    prove_images: int = IMAGES
    least_cosine: float | None = None
    most_loss: float | None = None
    calibrate_on: Path | None = None
    timing_seconds: float = SECONDS
    triton: bool = False


@dataclass(frozen=True)
class Exported:
    """The outcome of an export.

    Attributes:
        path: The file, or the folder; with `.failed` after its name where the proof failed.
        format: The format's name.
        facts: What the file says of itself.
        bytes: Of all its files.
        files: All that was written, `path` first.
        replaced: Those of them that existed.
        removed: Files of an earlier failed proof, and a text tower that belonged to what was replaced.
        outcome: The proof; None: it was not proved.
        proof_page: Where the page of the proof belongs.
        texts: What the file of the text tower beside it says of itself; None: there is none.
        repository: The model repository for Triton; None: none was written.
    """

    path: Path
    format: str
    facts: ExportFacts
    bytes: int
    files: list[Path]
    replaced: list[Path] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    outcome: ProofOutcome | None = None
    proof_page: Path | None = None
    texts: TextFacts | None = None
    repository: Path | None = None


def export_model(
    options: ExportOptions, *, report: Report = lambda line: None, progress: Progress = no_progress
) -> Exported:
    """Export a model.

    Raises:
        ConfigError: The options do not fit together, a package is missing, or the network cannot be exported.
        CheckpointError: The checkpoint cannot be read.
        OutputError: `out` exists, or cannot be written.
    """
    _refuse_too_few(options)
    form = find_format(options.format, options.out)
    limits = ProofLimits.of(options.precision, least_cosine=options.least_cosine, most_loss=options.most_loss)
    settings = FormatSettings(options.input, options.precision, options.opset, report, options.licence)
    form.check(options.out, settings)
    _refuse_triton(options, form)
    _refuse_unproved_int8(options)
    _refuse_existing(options, form)
    checkpoint = options.checkpoint
    if is_url(checkpoint):
        checkpoint = str(fetched_model(checkpoint))
    model = load(checkpoint, weights=options.weights, image_size=options.image_size, tta=options.tta, device="cpu")
    if model.embedder.text is not None and form.has_texts_beside:
        _refuse_existing_texts(options)
    for note in model.notes:
        report(note)
    images = None
    if options.prove_images:
        images = find_images(
            model, checkpoint, options.prove_on, count=options.prove_images, report=report, progress=progress
        )
    if options.precision == "int8" and images is not None:
        read = partial(load_images, model, checkpoint, options.calibrate_on, images)
        settings = replace(settings, quantization_images=partial(read, report=report, progress=progress), limits=limits)
    with _beside(options.out) as folder:
        path = folder / options.out.name
        report(f"writing {options.out.name} in {options.precision}")
        with progress(f"exporting {options.checkpoint}", None):
            details = form.write(model, path, settings)
        facts = _facts(model, options, details, form.graph_digest(path))
        _report_left_out(model, facts, report)
        texts = export_texts(model, path, facts.graph, form, settings, _limits_of_texts(options), progress)
        facts = facts.model_copy(update={"no_texts": texts.reason})
        form.write_facts(path, facts)
        outcome = None
        if images is not None:
            seconds = options.timing_seconds
            report(
                f"proving it: both models embed {len(images):,} images" + (", then they are timed" if seconds else "")
            )
            outcome = prove_file(
                form, path, model, facts, images, limits, seconds=seconds, report=report, progress=progress
            ).with_texts(None if texts.facts is None else texts.facts.proof)
            facts = outcome.update(facts)
            form.write_facts(path, facts)
        exported = _put_in_place(path, options.out, form, facts, outcome, texts=texts.facts)
    return _with_repository(exported) if options.triton and exported.path == options.out else exported


def _with_repository(exported: Exported) -> Exported:
    """Write the model repository of an exported file and its text tower, and return what was written."""
    folder = repository_place(exported.path)
    existed = folder.exists()
    write_repository([exported.path, *([] if exported.texts is None else [text_path(exported.path)])], folder)
    replaced = [*exported.replaced, *([folder] if existed else [])]
    return replace(exported, files=[*exported.files, folder], replaced=replaced, repository=folder)


def _limits_of_texts(options: ExportOptions) -> ProofLimits | None:
    """Return the limits of a text tower, which is in float32 whatever the images are in; None: it is not proved."""
    least = options.least_cosine if options.precision == "float32" else None
    return ProofLimits.of("float32", least_cosine=least) if options.prove_images else None


def _refuse_too_few(options: ExportOptions) -> None:
    if 0 < options.prove_images < FEWEST:
        text = f"`prove_images` must be 0 or at least {FEWEST}, two images of two classes, got {options.prove_images}"
        raise ConfigError(text, code="out-of-range", parameter="prove_images")


def _refuse_unproved_int8(options: ExportOptions) -> None:
    """Raise a ConfigError for int8 without a proof, whose images choose how it is made, or images for no int8."""
    if options.precision == "int8" and not options.prove_images:
        text = "`precision` int8 is made in several ways, and the proof's images choose; `prove_images` must not be 0"
        raise ConfigError(text, code="conflicting-settings", parameter="prove_images")
    if options.precision != "int8" and options.calibrate_on is not None:
        text = f"`calibrate_on` is for `precision` int8; {options.precision} needs no calibration"
        raise ConfigError(text, code="conflicting-settings", parameter="calibrate_on")


def _refuse_triton(options: ExportOptions, form: ExportFormat) -> None:
    if options.triton and form.name != "onnx":
        text = f"`triton` writes a model repository of ONNX files; `format` {form.name} is none, give `format` onnx"
        raise ConfigError(text, code="conflicting-settings", parameter="triton")


def _facts(model: Model, options: ExportOptions, details: str, graph: str) -> ExportFacts:
    return ExportFacts(
        eml_version=eml_version(),
        input=options.input,
        preprocess=model.preprocess,
        embedding_size=model.size,
        backbone=model.backbone,
        precision=options.precision,
        precision_details=details,
        source=model.fingerprint,
        graph=graph,
        trained_on=None if model.trained_on is None else TrainedRecord.of(model.trained_on),
        unknown_label=None if model.folder is None else recorded_unknown_label(model.folder),
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
    if options.triton:
        refuse_repository(repository_place(options.out), overwrite=options.overwrite)
    for folder in () if form.suffix else (options.out, _failed(options.out)):
        _refuse_foreign(folder)
    if options.out.name == WEIGHTS and (options.out.parent / "config.json").is_file() and options.out.is_file():
        text = f"{options.out}: holds the weights of a checkpoint, which are not replaced; give another `out`"
        raise OutputError(text, code="file-exists", parameter="out")
    if options.overwrite:
        return
    existing = [path for path in (options.out, *form.companions(options.out)) if os.path.lexists(path)]
    if form.suffix and options.prove_images:
        record, page = proof_files(options.out, is_folder=False)
        existing += [record] if os.path.lexists(record) and not is_proof(record) else []
        refuse_page(page)
    if existing:
        raise OutputError(
            f"{existing[0]}: exists; give another `out`, or set `overwrite`", code="file-exists", parameter="out"
        )


def _refuse_foreign(folder: Path) -> None:
    """Raise an OutputError for a folder that holds what eml did not write, since a hub folder is replaced whole."""
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if not os.path.lexists(folder) or is_empty:
        return
    problem = "exists and is no hub folder"
    if is_hub_folder(folder):
        own = {*sealed_files(folder, read_hub_facts(folder)), proof_files(folder, is_folder=True)[1].name}
        paths = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir())
        foreign = next((path for path in paths if path not in own), None)
        if foreign is None:
            return
        problem = f"holds {foreign}, which eml did not write"
    text = f"{folder}: {problem}, so that it is not replaced; give another `out`, or move it away"
    raise OutputError(text, code="file-exists", parameter="out")


def _refuse_existing_texts(options: ExportOptions) -> None:
    existing = [file for file in text_files(options.out) if os.path.lexists(file)]
    if existing and not options.overwrite:
        text = f"{existing[0]}: exists, and the text tower belongs there; give another `out`, or set `overwrite`"
        raise OutputError(text, code="file-exists", parameter="out")


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


def _put_in_place(
    path: Path,
    out: Path,
    form: ExportFormat,
    facts: ExportFacts,
    outcome: ProofOutcome | None,
    *,
    texts: TextFacts | None,
) -> Exported:
    """Move what was written to where it belongs, beside the names of files whose proof passed if it failed."""
    failed = _failed(out)
    place = failed if outcome is not None and not outcome.proof.passed else out
    places = {path: place}
    both = [[*form.companions(own), *([] if texts is None else text_files(own))] for own in (path, out)]
    for own, usual in zip(*both, strict=True):
        places[own] = _failed(usual) if place == failed else usual
    size = sum(_bytes_of(own) for own in places)
    is_folder, page = path.is_dir(), None
    if outcome is not None:
        inside = proof_files(path, is_folder=is_folder)[0]
        record, page = proof_files(place, is_folder=is_folder)
        write_proof(outcome.proof, inside)
        places |= {} if is_folder else {inside: record}
    replaced = [place for place in places.values() if place.exists()]
    if is_folder:
        with whole_folder(place) as temporary:
            for item in path.iterdir():
                item.replace(temporary / item.name)
    else:
        with whole_files(list(places.values())) as temporaries:
            for own, target in places.items():
                own.replace(temporaries[target])
    stale = [] if place == failed else [_failed(usual) for usual in (out, *form.companions(out), *text_files(out))]
    stale += [] if place == failed or is_folder else proof_files(failed, is_folder=False)
    stale += [] if place == failed or texts is not None or is_folder else stale_text_files(out)
    removed = [old for old in stale if old.exists()]
    for old in removed:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    return Exported(place, form.name, facts, size, list(places.values()), replaced, removed, outcome, page, texts)


def _failed(path: Path) -> Path:
    return path.with_name(path.name + FAILED)


def _bytes_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
