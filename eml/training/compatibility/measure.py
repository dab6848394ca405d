"""Measure, after training, whether a network's queries fit the gallery of its older model; declare it where they do."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from eml.errors import EmlError
from eml.evaluation.cross_model import CrossModel, measure_cross_model, on_gallery_of
from eml.evaluation.evaluate import Evaluation, evaluate_model
from eml.inference.embed import Batching
from eml.inference.load import load
from eml.inference.model import Model
from eml.models.checkpoint import declare_compatible
from eml.models.compatible import METRIC, CompatibleModel, RatesAtThreshold
from eml.retrieval.verification import measure_acceptance
from eml.training.build import RunParts
from eml.training.run_folder import RunFolder

MEASURED = "compatibility"
"""The key of run.json with what was measured."""


@dataclass(frozen=True)
class CompatibilityResult:
    """Whether a run's queries fit the gallery of its older model.

    Attributes:
        name: The older model.
        epoch: Of the checkpoint that was measured.
        measured: What was measured; None where nothing could be.
        problem: Why nothing was measured; else empty.
        last: The same of the last epoch, where that of the best one does not fit: it is trained for longer.
    """

    name: str
    epoch: int
    measured: CompatibleModel | None = None
    problem: str = ""
    last: "CompatibilityResult | None" = None

    @property
    def is_declared(self) -> bool:
        """Whether the checkpoint declares it."""
        return self.measured is not None and self.measured.is_compatible

    def lines(self) -> list[str]:
        """Return sentences that say what was measured and what follows."""
        if self.measured is None:
            return [f"Compatibility with {self.name} was not measured, and is not declared: {self.problem}."]
        if not self.is_declared:
            lines = [f"Not compatible with {self.name}: {self.measured.text}."]
            if self.last is not None and self.last.measured is not None and self.last.is_declared:
                return [
                    *lines,
                    f"The last epoch ({self.last.epoch}) is compatible: {self.last.measured.text}. Its checkpoint "
                    "declares it: give checkpoints/last of the run folder for the queries of that model's index.",
                ]
            return [
                *lines,
                "The checkpoint does not declare it. Its queries would be answered worse by that model's index: build "
                "the index again, or train with a larger compatible_with.cosine or for longer.",
            ]
        lines = [
            f"Compatible with {self.name}: {self.measured.text}.",
            "The checkpoint declares it: eml search and eml classify take it for an index of that model.",
        ]
        if self.measured.interval is not None and self.measured.interval[0] <= 0:
            lines.append("Whether it is better than the older model alone the data cannot tell.")
        if self.measured.rates is not None:
            lines.append(f"An index's calibration is of the older model: {self.measured.threshold_text}.")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "model": self.name,
            "epoch": self.epoch,
            "declared": self.is_declared,
            "measured": None if self.measured is None else self.measured.model_dump(mode="json"),
            "problem": self.problem or None,
            **({"last": self.last.to_dict()} if self.last else {}),
        }


def measure_compatibility(
    parts: RunParts,
    folder: RunFolder,
    epoch: int,
    last: int,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> CompatibilityResult | None:
    """Measure the best checkpoint on the gallery of the older model, and write the declaration into it.

    Where it does not fit, the last one is measured too, which has been trained to fit for longer.

    What was measured before is read from run.json, so that a run that ended needs the older model no more. All
    processes call this.

    Args:
        parts: Of the run.
        folder: Of the run.
        epoch: Of the best checkpoint.
        last: The last epoch.
        advance: Called with how many of how many images are embedded.

    Returns:
        None for a run without an older model.
    """
    term, processes = parts.compatibility, parts.processes
    if term is None:
        return None
    if not epoch:
        return CompatibilityResult(term.config.name, epoch, problem="no epoch was better than the untrained network")
    facts = processes.from_first(lambda: folder.facts().get(MEASURED))
    is_same = isinstance(facts, dict) and facts.get("fingerprint") == term.old.digest
    earlier = facts if is_same and isinstance(facts, dict) else {}
    result = _read(earlier, epoch) or _measure(parts, folder, epoch, advance)
    if result.measured is not None and not result.is_declared and last != epoch:
        result = replace(result, last=_read(earlier.get("last"), last) or _measure(parts, folder, last, advance))
    if processes.first:
        folder.update_facts({MEASURED: result.to_dict() | {"fingerprint": term.old.digest}})
        for own in (result, result.last):
            if own is not None and own.measured is not None and own.is_declared:
                declare_compatible(folder.checkpoint(own.epoch), own.measured)
    return result


def _read(facts: Any, epoch: int) -> CompatibilityResult | None:
    """Return what run.json says of an epoch; None where it was not measured."""
    if not isinstance(facts, dict) or facts.get("epoch") != epoch:
        return None
    try:
        measured = CompatibleModel.model_validate(facts.get("measured"))
    except ValidationError:
        return None
    return CompatibilityResult(str(facts.get("model")), epoch, measured)


def _measure(
    parts: RunParts, folder: RunFolder, epoch: int, advance: Callable[[int, int], None]
) -> CompatibilityResult:
    term, validation, processes = parts.compatibility, parts.validation, parts.processes
    assert term is not None, "a run without an older model is not measured"
    name = term.config.name
    if not validation:
        return CompatibilityResult(name, epoch, problem="nothing is held out to measure it on (data.fold)")
    try:
        old = term.old_model()
    except EmlError as error:
        return CompatibilityResult(name, epoch, problem=str(error.problems[0]).rstrip("."))
    table, images = validation.sets[validation.decides]
    total, done = 2 * len(images.frame), 0

    def embedded(count: int) -> None:
        nonlocal done
        done += count
        advance(done, total)

    def evaluate(model: Model) -> Evaluation:
        batching = Batching(parts.config.validation.batch_size, parts.workers, processes)
        return evaluate_model(model, table, images, batching=batching, progress=embedded)

    new = load(folder.checkpoint(epoch), device=str(parts.device))
    evaluations = evaluate(new), evaluate(old)
    question = validation.questions[validation.decides].text
    place = f"{validation.decides or 'the held-out fold'}, {question}"
    describe = partial(_describe, *evaluations, name=name, place=place, models=(new, old))
    return CompatibilityResult(name, epoch, processes.from_first(describe))


def _describe(
    new: Evaluation, old: Evaluation, *, name: str, place: str, models: tuple[Model, Model]
) -> CompatibleModel:
    """Return what is declared of two evaluations, of which the first process has the embeddings."""
    crossed = on_gallery_of(new, old)
    measures = measure_cross_model(crossed)
    assert measures is not None, "there are two models"
    low, high = measures.change[METRIC].interval.low, measures.change[METRIC].interval.high
    return CompatibleModel(
        fingerprint=models[1].fingerprint.digest,
        own=models[0].fingerprint.digest,
        name=name,
        backbone=models[1].backbone,
        measured_on=place,
        queries=crossed.summary.queries,
        classes=measures.change[METRIC].interval.classes,
        old=measures.old[METRIC],
        crossed=measures.crossed[METRIC],
        new=measures.new[METRIC],
        interval=(low, high) if math.isfinite(low) and math.isfinite(high) else None,
        rates=_rates(crossed, measures),
    )


def _rates(crossed: Evaluation, measures: CrossModel) -> RatesAtThreshold | None:
    """Return the rates at the older model's threshold; None where it has none."""
    if crossed.threshold is None:
        return None
    data = crossed.retrieval.open_set(crossed.embeddings, crossed.gallery_embeddings)
    new, old = measure_acceptance(data, crossed.threshold), measures.old_acceptance
    return RatesAtThreshold(
        threshold=crossed.threshold,
        old_false_accept=old["false_accept_rate"],
        new_false_accept=new["false_accept_rate"],
        old_recognised=old["recognised"],
        new_recognised=new["recognised"],
    )
