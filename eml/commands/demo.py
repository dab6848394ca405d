"""`eml demo`: every command in turn, on drawn images."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, PathField, SummaryTable, command, command_text
from eml.errors import OutputError
from eml.files import TEMPORARY_PREFIX, write_text

MARKER = ".eml-demo"  # in the folder of a demo, which may then be replaced
CONFIG = Path(__file__).with_name("demo.yaml")


class DemoConfig(CommandConfig):
    """Go the whole way on drawn images, without any download: under 4 minutes on two cores.

    Draws characters of three scripts in the fonts that matplotlib ships, one class per character, then runs every
    command from scan to evaluate, printing each. A fifth of the characters is never trained on: the network must find
    them again across fonts.
    """

    folder: Annotated[PathField, Field(description="Folder to make.")]
    overwrite: bool = Field(False, description="Replace an older demo there.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class DemoResult(CommandResult):
    """The effect of training on characters that were never trained on.

    Attributes:
        before: Metric → value of the untrained network.
        after: Metric → value of the trained one.
        shown: Metric → its name in tables.
    """

    folder: Path
    queries: int
    classes: int
    before: dict[str, float]
    after: dict[str, float]
    shown: dict[str, str]

    def summary(self) -> str:
        """Return what training did to R@1."""
        return f"R@1 {self.before['recall_at_1']:.3f} → {self.after['recall_at_1']:.3f}, {self.folder}"

    def summary_table(self) -> SummaryTable:
        """Return each metric before and after, in percent."""
        rows = [
            [name, *(f"{100 * value:{sign}.1f}" for value, sign in self._values(key))]
            for key, name in self.shown.items()
        ]
        return ["metric", "untrained", "trained", "difference"], rows

    def _values(self, key: str) -> list[tuple[float, str]]:
        before, after = self.before[key], self.after[key]
        return [(before, ""), (after, ""), (after - before, "+")]

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics."""
        return {
            "folder": str(self.folder),
            "queries": self.queries,
            "classes": self.classes,
            "before": self.before,
            "after": self.after,
        }


@command(DemoConfig, arguments=("folder",))
def demo(config: DemoConfig, caller: Caller) -> DemoResult:
    """Draw the images and run the commands."""
    from eml.commands.evaluate import EvaluateConfig, evaluate
    from eml.commands.filter import FilterConfig, filter
    from eml.commands.kfold import KFoldConfig, kfold
    from eml.commands.scan import ScanConfig, scan
    from eml.commands.split import SplitConfig, split
    from eml.commands.train import TrainConfig, train

    images, run_config = config.folder / "images", config.folder / "config.yaml"
    _draw(config, images, caller)
    if not run_config.exists():  # of an older demo it may have been edited: that one is kept
        write_text(run_config, CONFIG.read_text(encoding="utf-8"))

    def step(function: Any, fields: CommandConfig) -> Any:
        line = command_text(function.command, fields, function.arguments)
        caller.note(f"\n$ {line}")
        result = function.run(fields, replace(caller, command=line))
        caller.step(function.command, result)
        return result

    step(scan, ScanConfig(dataset=images))
    step(filter, FilterConfig(dataset=images, dedup=True, scope="dataset", threshold=0))
    step(split, SplitConfig(dataset=images, by="ratio", test_ratio=0.2, threshold=0))
    step(kfold, KFoldConfig(dataset=images, threshold=0))
    trained = step(train, TrainConfig(config=run_config)).folder
    test = images / "dataset_test.csv"
    untrained = step(
        evaluate, EvaluateConfig(data=(test,), out=config.folder / "untrained", **_untrained_network(run_config))
    )
    evaluated = step(evaluate, EvaluateConfig(checkpoints=(str(trained),), data=(test,)))
    before, after = untrained.results[0], evaluated.results[0]
    summary = after.analysis.evaluation.summary
    return DemoResult(
        folder=config.folder,
        queries=summary.queries,
        classes=int(after.analysis.evaluation.retrieval.frame["label"].nunique()),
        before=before.metrics,
        after=after.metrics,
        shown=summary.shown,
        written=(images, run_config, trained, *evaluated.written),
        next_command=evaluated.next_command,
    )


def _draw(config: DemoConfig, images: Path, caller: Caller) -> None:
    """Draw the characters, in place of those of an older demo."""
    from eml.demo_data.demo import draw_images

    folder, marker = config.folder, config.folder / MARKER
    try:
        if folder.exists() and any(folder.iterdir()):
            is_older = marker.is_file() or (images / MARKER).is_file()  # where eml 0.1.0 wrote it
            if not (config.overwrite and is_older):
                reason = (
                    "is not an older demo. Give another `folder`"
                    if config.overwrite
                    else "is not empty. Set `overwrite`"
                )
                raise OutputError(f"{folder}: {reason}", code="folder-not-empty", parameter="folder")
        folder.mkdir(parents=True, exist_ok=True)
        marker.touch()  # first: a demo that is killed at any moment is an older demo to the next one
        for older in (images, folder / "run", folder / "untrained", *folder.glob(f"{TEMPORARY_PREFIX}*")):
            shutil.rmtree(older, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}", code="not-writable") from error
    caller.note(f"drawing characters into {images}")
    with caller.progress("drawing") as advance:
        draw_images(images, progress=advance)


def _untrained_network(path: Path) -> dict[str, Any]:
    """Return the options that evaluate the config's network as it is before training."""
    from eml.config import load
    from eml.training.config import RunConfig

    run = load(RunConfig, path, import_plugins=False)
    return {"checkpoints": (f"timm:{run.model.backbone}",), "weights": "none", "image_size": run.image.size}
