"""Collect what a model card says: where the weights began, what they were trained on, what was measured of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from eml.config import Strict
from eml.errors import EmlError
from eml.exporting.hub.parts import TimmParts, left_out
from eml.exporting.hub.transform import transform_differences
from eml.files import write_json
from eml.inference.load import TIMM
from eml.inference.model import Model
from eml.json_files import MOST_BYTES_OF_LISTS, read_json
from eml.models.fingerprint import Fingerprint
from eml.models.hub_folder import CHECKPOINT, HUB
from eml.models.open_clip_names import PREFIX as OPEN_CLIP
from eml.models.pointers import is_run_folder
from eml.models.timm_folders import is_elsewhere
from eml.training.config import RunConfig
from eml.training.moved_run import CONFIG_NAME, load_run_config

FILE = f"{CHECKPOINT}/card.json"
RANDOM = "random weights"
METRICS = {"recall_at_1": "R@1", "map_at_r": "MAP@R"}


class StartingWeights(Strict):
    """The weights that training began with.

    Attributes:
        words: What they are, in words.
        licence: As timm states it; None: not stated.
        repository: Their place in the hub; None: unknown, or none.
    """

    words: str
    licence: str | None = None
    repository: str | None = None


class MeasuredTable(Strict):
    """An evaluation in the run's folder, of these very weights.

    Attributes:
        name: Of the table.
        queries: The number of queries.
        classes: The number of classes.
        values: Metric → value.
        intervals: Metric → its interval; without those that could not be computed.
        confidence: Of the intervals.
        overlap: How many of the table's classes and images the model was trained on, in words.
    """

    name: str
    queries: int
    classes: int
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    confidence: float
    overlap: str


class CardFacts(Strict):
    """The facts of a model card, which name no path.

    Attributes:
        licence: The user's own; None: none is named.
        start: The weights that training began with; None: unknown.
        backbone: Its name.
        architecture: timm's name of it.
        size: The embedding size D.
        shape: (height, width) of the images (pixels).
        fit: How an image is brought to that shape.
        neck: What follows the backbone.
        trained_images: The number of images that it was trained on; None: not recorded.
        trained_classes: The number of their classes; None: unknown.
        training: Settings of the training, name → value.
        measured: The evaluations.
        threshold: The calibrated cosine in words; empty: it is not calibrated.
        left_out: What the other libraries do not do, a sentence each.
        differences: In what timm's transform differs, a sentence each.
        has_text: Whether eml embeds texts with it too.
        is_direct: Whether timm's network gives embeddings that only lack unit length.
    """

    licence: str | None = None
    start: StartingWeights | None = None
    backbone: str
    architecture: str
    size: int
    shape: tuple[int, int]
    fit: str
    neck: str
    trained_images: int | None = None
    trained_classes: int | None = None
    training: dict[str, str] = Field(default_factory=dict)
    measured: list[MeasuredTable] = Field(default_factory=list)
    threshold: str = ""
    left_out: list[str] = Field(default_factory=list)
    differences: list[str] = Field(default_factory=list)
    has_text: bool = False
    is_direct: bool = False


def write_card_facts(folder: Path, facts: CardFacts) -> None:
    """Keep the facts in a hub folder, so that its card can be written again."""
    write_json(folder / FILE, facts.model_dump(mode="json"))


def read_card_facts(folder: Path) -> CardFacts:
    """Return the facts in a hub folder that `write_card_facts` wrote."""
    return CardFacts.model_validate(read_json(folder / FILE, dict[str, Any]))


def collect_card_facts(model: Model, parts: TimmParts, licence: str | None = None) -> CardFacts:
    """Return what is recorded of a model: in its checkpoint, and in the run that this is a part of.

    Args:
        model: The model.
        parts: Its parts, as they are written.
        licence: The user's own.
    """
    run, config = _run_of(model)
    record = model.trained_on
    by_eml = record is None or record.by_eml
    return CardFacts(
        licence=licence,
        start=_start(model, config),
        backbone=model.backbone,
        architecture=parts.backbone.architecture,
        is_direct=parts.is_direct,
        size=model.size,
        shape=model.preprocess.shape,
        fit=model.preprocess.fit,
        neck=str(model.embedder.architecture["neck"]["type"]),
        trained_images=len(record.keys) if record is not None and record.images is not None and by_eml else None,
        trained_classes=len(record.classes) if record is not None and by_eml else None,
        training={} if config is None else _training(config),
        measured=[] if run is None else measured_tables(run, model.fingerprint),
        threshold=_threshold(model),
        left_out=left_out(model),
        differences=transform_differences(model.preprocess),
        has_text=model.takes_text,
    )


def measured_tables(run: Path, fingerprint: Fingerprint) -> list[MeasuredTable]:
    """Return the evaluations in a run's folder that are of the model with this fingerprint."""
    tables = []
    for file in sorted((run / "evaluations").glob("*/metrics.json")):
        try:
            facts = read_json(file, dict[str, Any], MOST_BYTES_OF_LISTS)
            if facts["fingerprint"] == fingerprint.digest:
                tables.append(_measured(facts))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of an earlier version, or damaged: the card then does not show it
    return tables


def _measured(facts: dict[str, Any]) -> MeasuredTable:
    overlap = facts.get("trained_on") or {}
    words = "not recorded"
    if isinstance(overlap.get("classes"), int) and isinstance(overlap.get("of_classes"), int):
        words = f"{overlap['classes']:,} of {overlap['of_classes']:,} classes"
    return MeasuredTable(
        name=str(facts["name"]),
        queries=int(facts["queries"]),
        classes=int(facts["classes"]),
        values={name: float(facts["metrics"][name]) for name in METRICS},
        intervals={name: tuple(facts["intervals"][name]) for name in METRICS if facts["intervals"].get(name)},
        confidence=float(facts["confidence"]),
        overlap=words,
    )


def _run_of(model: Model) -> tuple[Path | None, RunConfig | None]:
    """Return the run that a model's checkpoint is in, and its config."""
    places: Sequence[Path] = [] if model.folder is None else model.folder.absolute().parents[:2]
    run = next((place for place in places if is_run_folder(place)), None)
    try:
        return run, None if run is None else load_run_config(run / CONFIG_NAME)
    except EmlError:  # of another version: the card then does not say how the model was trained
        return run, None


def _start(model: Model, config: RunConfig | None) -> StartingWeights | None:
    """Return the weights that the training of a model began with, those of a network without training itself."""
    if config is None:
        name = model.source.removeprefix(TIMM) if model.source.startswith((TIMM, OPEN_CLIP)) else None
        return None if name is None else _pretrained(name)
    if config.model.weights == "none":
        return StartingWeights(words=RANDOM)
    if isinstance(config.model.weights, Path):
        if config.model.weights.is_dir():
            return StartingWeights(words=f"a checkpoint of eml, {config.model.weights.name}")
        return StartingWeights(words=f"the file {config.model.weights.name}")
    return _pretrained(config.model.backbone)


def _pretrained(name: str) -> StartingWeights:
    """Return the pretrained weights of a name in `model.backbone`, with the licence as timm states it."""
    import timm

    if name.startswith(OPEN_CLIP) or is_elsewhere(name):
        repository = name.removeprefix(HUB) if name.startswith(HUB) else None
        return StartingWeights(words=f"the weights {_without_path(name)}", repository=repository)
    own = timm.get_pretrained_cfg(name)
    if own is None:
        return StartingWeights(words=f"timm's pretrained weights of {name}")
    tag = f"{own.architecture}.{own.tag}" if own.tag else name
    return StartingWeights(
        words=f"timm's pretrained weights {tag}", licence=own.license, repository=own.hf_hub_id or None
    )


def _without_path(name: str) -> str:
    """Return a name, `local-dir:PATH` with the last part of the path alone."""
    return re.sub(r"(local-dir:).*/", r"\1", name)


def _training(config: RunConfig) -> dict[str, str]:
    """Return the settings that say most of how a network was trained."""
    margin = config.margin.model_dump(exclude={"type"}, exclude_defaults=True)
    words = ", ".join(f"{name} {value}" for name, value in margin.items())
    return {
        "loss": str(config.loss.type),
        "margin": f"{config.margin.type}{f' ({words})' if words else ''}",
        "epochs": str(config.epochs),
        "seed": str(config.seed),
    }


def _threshold(model: Model) -> str:
    """Return the calibrated threshold in words."""
    calibration = model.calibration
    if calibration is None:
        return ""
    goal = {"far": "false accept rate", "pair_far": "false accept rate of pairs", "precision": "precision"}
    counts = calibration.counts
    return (
        f"{calibration.threshold.value:.4f}, chosen for a {goal[calibration.goal]} of {calibration.goal_value:g} on "
        f"{counts.get('images', 0):,} images of {counts.get('classes', 0):,} classes"
    )
