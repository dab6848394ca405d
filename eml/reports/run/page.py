"""The page of a training run: one HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from eml.dataset.sidecar import write_sidecar
from eml.dataset.table import check_outputs
from eml.files import whole_file
from eml.images.image_size import size_text
from eml.images.thumbnails import LARGE, Thumbnail, shrink
from eml.reports.evaluation.curves import percent
from eml.reports.rendering import render_page
from eml.reports.run.run_charts import loss_chart, metric_chart
from eml.reports.run.run_summary import RunSummary, ValidationSet
from eml.retrieval.metrics import BY_TEXTS
from eml.training.config import RunConfig
from eml.training.preview import Preview

HERE = Path(__file__).parent
DRAWN = ("map_at_r", "recall_at_1", *BY_TEXTS)  # metrics of the charts
AUGMENTED, DRAWS = 4, 5  # training images of the page, and draws of each

SetImages = Sequence[tuple[str, list[Thumbnail]]]
"""Name of a training image, and it as evaluation sees it and as some epochs of training see it."""


def write_page(
    summary: RunSummary, sheet: Preview | str, path: Path, *, command: str, overwrite: bool = False
) -> list[Path]:
    """Write the page and its sidecar.

    Args:
        summary: Of the run.
        sheet: Training images as training draws them, or why there are none.
        path: The HTML file to write.
        command: The command line that the sidecar records.
        overwrite: Allow `path` to be any existing file.

    Returns:
        [path] if it replaced an older page, else [].

    Raises:
        OutputError: By the rules of `check_outputs`.
    """
    replaced = check_outputs([path], overwrite=overwrite)
    with whole_file(path) as temporary:
        temporary.write_text(render(summary, sheet), encoding="utf-8")
        write_sidecar(path, temporary, command=command, root=summary.folder, inputs=[], notes=None)
    return replaced


def render(summary: RunSummary, sheet: Preview | str) -> str:
    """Return the HTML of the page."""
    best = summary.best_epoch
    has_teacher = bool(summary.steps) and all("class_loss" in line for line in summary.steps)
    return render_page(
        HERE,
        filters={"percent": percent, "duration": _duration},
        name="/".join(summary.folder.resolve().parts[-2:]),
        run=summary,
        images_of=_images_of(summary.facts),
        machine=_machine(summary.facts),
        trained_by=str(summary.facts.get("command") or ""),
        best=best,
        loss=loss_chart(
            [line["step"] for line in summary.steps],
            [line["loss"] for line in summary.steps],
            [line["class_loss"] for line in summary.steps] if has_teacher else None,
        ),
        has_teacher=has_teacher,
        charts=[(validation, _draw(validation, best)) for validation in summary.validations],
        settings=_settings(summary.config) if summary.config else {},
        images=_images(sheet) if isinstance(sheet, Preview) else [],
        no_images=sheet if isinstance(sheet, str) else "",
    )


def _images_of(facts: dict[str, Any]) -> tuple[int, int] | None:
    """Return the number of training images and classes, where run.json says both."""
    images, classes = facts.get("train_images"), facts.get("train_classes")
    return (images, classes) if isinstance(images, int) and isinstance(classes, int) else None


def _machine(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return where and with what the run was trained, as far as run.json says it."""
    machine, versions = facts.get("machine"), facts.get("versions")
    cuda = machine.get("cuda") if isinstance(machine, dict) else None
    rows = [("device", ", ".join(str(part) for part in (facts.get("device"), cuda) if part))]
    rows += [(name, str(facts.get(name) or "")) for name in ("processes", "precision", "git_commit")]
    rows += [
        (name, f"{facts[name]:,}") for name in ("parameters", "embedding_size") if isinstance(facts.get(name), int)
    ]
    if isinstance(versions, dict):
        rows.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return [(name.replace("_", " "), text) for name, text in rows if text]


def _draw(validation: ValidationSet, best: int | None) -> Any:
    lines = [
        (text, [(line["epoch"], line[key]) for line in validation.lines if key in line])
        for metric in DRAWN
        for key, text in validation.metrics.items()
        if key.rpartition("/")[2] == metric
    ]
    return metric_chart(lines, best)


def _images(sheet: Preview) -> SetImages:
    return [
        (row.file_name, [shrink(Image.fromarray(pixels), LARGE) for pixels in (row.plain, *row.drawn)])
        for row in sheet.rows
    ]


def _texts(config: RunConfig) -> dict[str, str]:
    """Return the settings of class weights and texts that are not the usual ones."""
    init, term = config.head.init, config.text
    rows = {"class weights begin at": init.type} if init.type != "random" else {}
    return rows | ({"text": f"{term.type}, weight {term.weight:g}, decay {term.decay:g}"} if term else {})


def _teacher(config: RunConfig) -> dict[str, str]:
    """Return what a teacher adds to the loss; empty without one."""
    section = config.distill
    if section is None:
        return {}
    terms = ", ".join(f"{name} {weight:g}" for name, weight in section.terms.items())
    labels = "" if section.labels == 1 else f"; class labels {section.labels:g}"
    return {"teacher": f"{section.name}, weight {section.weight:g} of {terms}{labels}"}


def _settings(config: RunConfig) -> dict[str, str]:
    """Return the settings that tell runs apart most; config.yaml has all."""
    rate = config.optimizer.lr
    return {
        "backbone": config.model.backbone,
        "weights": str(config.model.weights),
        "image size": size_text(config.image.size) if config.image.size else "of the weights",
        "neck": str(config.model.neck.type),
        "margin": f"{config.margin.type}, scale {'learned' if config.loss.compares_texts else config.head.scale}",
        "loss": str(config.loss.type),
        **_texts(config),
        **_teacher(config),
        "augmentation": str(config.augment.type),
        "mix": config.mix.type if config.mix else "none",
        "sampler": str(config.sampler.type),
        "epochs": f"{config.epochs:,}",
        "batch size": f"{config.batch_size:,}",
        "optimizer": f"{config.optimizer.name}, rates {rate.backbone:g} (backbone), {_second_rate(config)}",
        "held-out fold": "none" if config.data.fold is None else str(config.data.fold),
        "seed": str(config.seed),
    }


def _second_rate(config: RunConfig) -> str:
    """Return the rate of what embeddings of images are compared with."""
    if config.loss.compares_texts:
        return f"{config.text_rate:g} (text tower)"
    return f"{config.optimizer.lr.class_weights:g} (classes)"


def _duration(seconds: float) -> str:
    """Return `2 h 5 min`, `3 min 20 s`, `4.2 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"
