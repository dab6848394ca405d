"""Read what the own validation of a run measured of its checkpoint, before training and after."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eml.errors import EmlError
from eml.evaluation.outputs import evaluations_folder
from eml.json_files import read_json
from eml.models.pointers import RUN_FILE, find_checkpoint
from eml.reports.run_logs import find_questions, read_validations, read_whole
from eml.training.run_folder import STAGE_CHECKPOINTS
from eml.training.stages.steps import StagesResult

SHOWN = {"recall_at_1": "R@1", "map_at_r": "MAP@R"}


@dataclass(frozen=True)
class OwnValidation:
    """The values of a run's own validation, whose images are others than those of the evaluation.

    Attributes:
        epoch: The epoch of the checkpoint.
        question: What the validation measures, such as `unseen classes`; empty if the run does not say.
        values: Name of a metric → its value before training and at the epoch.
    """

    epoch: int
    question: str
    values: dict[str, tuple[float, float]]


def own_validation(checkpoint: str) -> OwnValidation | None:
    """Return what the run of a checkpoint measured in its validation; None without a run, or without values of both."""
    try:
        run = evaluations_folder(checkpoint, None).parent
        name = find_checkpoint(Path(checkpoint)).name
        if name == STAGE_CHECKPOINTS[1]:
            return _of_stages(run)
        match = re.fullmatch(r"epoch-(\d+)", name)
        lines = {line["epoch"]: line for line in read_validations(run)}
        lines |= {epoch: lines[epoch] | line for epoch, line in read_whole(run).items() if epoch in lines}
    except (EmlError, OSError, ValueError):
        return None
    before, after = lines.get(0), lines.get(int(match[1]) if match else -1)
    if not before or not after or not after["epoch"]:
        return None
    sets = [key.rpartition("/")[0] for key in after if key.rpartition("/")[2] == "map_at_r"]
    for name in sorted(sets, key=len):  # the held-out fold's has no name
        prefix = f"{name}/" if name else ""
        values = {
            text: (before[prefix + metric], after[prefix + metric])
            for metric, text in SHOWN.items()
            if prefix + metric in before and prefix + metric in after
        }
        if values:
            return OwnValidation(after["epoch"], find_questions(run).get(name, ""), values)
    return None


def _of_stages(run: Path) -> OwnValidation | None:
    """Return what a run in stages measured of what it gives; None where it does not say."""
    facts = read_json(run / RUN_FILE, dict[str, Any])
    finished, stages = facts.get("finished"), StagesResult.of_dict(facts.get("stages") or {})
    if stages is None or not isinstance(finished, dict):
        return None
    questions = find_questions(run)
    question = questions.get("", next(iter(questions.values()), ""))
    return OwnValidation(int(finished["best_epoch"]), question, {stages.metric: (stages.untouched, stages.value)})
