"""What the tests write to a tracker."""

from pathlib import Path
from typing import Any

from eml.trackers.base import Tracking

CONFIG = {"epochs": 2, "margin": {"type": "arcface", "m": 0.5}}
STEPS: list[tuple[int, dict[str, float]]] = [
    (1, {"training/loss": 2.5}),
    (2, {"training/loss": 1.5}),
    (2, {"validation/map_at_r": 0.25}),
]


def write(tracker: Any, run: Path, *, resumed: bool = False) -> list[str]:
    messages: list[str] = []
    tracking = Tracking(messages.append)
    tracking.open([tracker], run, CONFIG, resumed=resumed)
    for step, values in STEPS:
        tracking.write(step, values)
    tracking.close()
    return messages
