"""The live view of a training run: a bar with loss, learning rate, images/s, time left and the last R@1."""

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eml.cli.display.console import console, count
from eml.printable import printable
from eml.training.events import Caching, Event, Note, Preparing, Started, Stepped, Validated, Validating

SHOWN = ("recall_at_1", "recall_at_5", "map_at_r", "mean_average_precision")
"""What fits into 80 columns; metrics.jsonl has all."""
BY_TEXTS = ("zero_shot_top_1", "text_to_image_recall_at_1")


class TrainingDisplay:
    """Shows events: a bar on a terminal, a line per validation everywhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        terminal = console()
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=terminal,
            disable=quiet or not terminal.is_terminal,
            transient=True,
            expand=True,
        )
        self.training = self.bar.add_task("training", total=None, numbers="")
        self.validating = self.bar.add_task("validating", total=None, numbers="", visible=False)
        self.caching = self.bar.add_task("caching", total=None, numbers="", visible=False)
        self.recall = ""
        self.loss: float | None = None
        self.teacher: float | None = None

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def observe(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Started():
                self.loss, self.recall = event.loss, ""
                self._say(_plan(event))
                self.bar.update(self.training, total=event.steps, completed=event.first_step)
            case Caching():
                self.bar.update(self.caching, total=event.total, completed=event.done, visible=event.done < event.total)
            case Preparing():
                is_running = event.total is None or event.done < event.total
                self.bar.update(
                    self.caching,
                    description=event.description,
                    total=event.total,
                    completed=event.done,
                    visible=is_running,
                )
            case Stepped():
                self.loss, self.teacher = event.loss, event.teacher_cosine
                rates = f"lr {event.learning_rate:.1e}  {event.images_per_second:.0f}/s"
                numbers = f"loss {event.loss:.3f}{self._teacher()}  {rates}{self.recall}"
                self.bar.update(self.validating, visible=False)
                self.bar.update(
                    self.training, completed=event.step, numbers=numbers, description=f"epoch {event.epoch}"
                )
            case Validating():
                self.bar.update(self.validating, total=event.total, completed=event.done, visible=True)
            case Validated():
                self.bar.update(self.validating, visible=False)
                keys = [key for key in event.values if key.rpartition("/")[2] in SHOWN]
                first = [key for key in keys if "/" not in key] or keys[: len(SHOWN)]
                self.recall = f"  {event.shown[first[0]]} {event.values[first[0]]:.3f}"
                shown = "  ".join(f"{event.shown[key]} {event.values[key]:.3f}" for key in first)
                loss = "" if self.loss is None else f"loss {self.loss:.3f}{self._teacher()}  "
                loss = loss if event.epoch else f"{event.start:<12}"
                self._say(f"epoch {event.epoch:>3}  {loss}{shown}{'  best' if event.best else ''}")
                tables = [key for key in keys if key not in first and key.endswith(("/recall_at_1", "/map_at_r"))]
                for more in (tables, [key for key in BY_TEXTS if key in event.values]):
                    if more:
                        self._say(
                            "           " + "  ".join(f"{event.shown[key]} {event.values[key]:.3f}" for key in more)
                        )
            case Note():
                self._say(event.text)

    def _teacher(self) -> str:
        return "" if self.teacher is None else f"  teacher {self.teacher:.3f}"

    def _say(self, text: str) -> None:
        self.bar.console.print(printable(text), soft_wrap=True)


def _plan(event: Started) -> str:
    """Return what is trained on, and for how long."""
    steps = count(event.steps, "step", "steps")
    length = f"({event.steps_per_epoch:,} an epoch)" if event.steps > event.steps_per_epoch else "in one epoch"
    return f"{count(event.images, 'image', 'images')}, {count(event.classes, 'class', 'classes')}, {steps} {length}"
