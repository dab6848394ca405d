"""Plan a sweep: the config of each setting, checked before anything runs, and the runs that are done already."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eml.config import load
from eml.dataset.table import Table
from eml.errors import ConfigError, EmlError, Problem
from eml.models.pointers import is_run_folder
from eml.training.checks import check
from eml.training.config import RunConfig
from eml.training.data import training_data
from eml.training.moved_run import load_run_config
from eml.training.recipe import apply_recipe
from eml.training.reference_embeddings import FOLDER as REFERENCES
from eml.training.run_folder import RunFolder, plugin_facts
from eml.training.sweep.settings import Setting

Status = Literal["new", "begun", "finished", "changed"]
MOST_SETTINGS = 1000


@dataclass(frozen=True)
class PlannedRun:
    """A setting with the config of its run.

    Attributes:
        setting: The setting.
        config: Of the run, with its recipe applied.
        status: new; begun: it can be resumed; finished; changed: the folder's run has another config or table.
        changes: The keys in which it has.
    """

    setting: Setting
    config: RunConfig
    status: Status
    changes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The run folder."""
        folder: Path = self.config.output
        return folder


def read_configs(
    path: Path, settings: Sequence[Setting], overrides: Sequence[str], plugins: Sequence[str] = ()
) -> list[RunConfig]:
    """Return the config of each setting as the file and the overrides say, without a recipe.

    Args:
        path: The config.
        settings: The settings.
        overrides: Of all of them.
        plugins: Further plugins, which have been imported.

    Raises:
        ConfigError: With the problems of all settings at once, each problem once.
    """
    if len(settings) > MOST_SETTINGS:
        text = f"`vary`: {len(settings):,} runs; at most {MOST_SETTINGS:,} make a sweep. Leave out some values"
        raise ConfigError(text, code="out-of-range", parameter="vary")
    configs: list[RunConfig] = []
    problems: dict[str, Problem] = {}
    for setting in settings:
        try:
            own = [*overrides, *setting.overrides]
            configs.append(load_run_config(path, own, override_name="`vary`", plugins=plugins))
        except EmlError as error:
            problems |= {str(problem): problem for problem in error.problems}
    if problems:
        raise ConfigError(list(problems.values()))
    return configs


def plan_runs(
    configs: Sequence[RunConfig],
    settings: Sequence[Setting],
    out: Path,
    table: Table,
    *,
    adapt: Callable[[RunConfig], RunConfig] | None = None,
) -> list[PlannedRun]:
    """Return the runs into folders of `out`, each checked as `eml train` checks it.

    Args:
        configs: Of the settings, as `read_configs` returns them.
        settings: The settings.
        out: The folder of the sweep.
        table: The table of all of them.
        adapt: Changes a config with its recipe applied, for another kind of run.

    Raises:
        ConfigError: A setting cannot be trained, or two settings are one; all problems at once.
    """
    runs: list[PlannedRun] = []
    problems: dict[str, Problem] = {}
    seen: dict[str, Setting] = {}
    for config, setting in zip(configs, settings, strict=True):
        try:
            own, _ = apply_recipe(config.model_copy(update={"output": out / setting.folder}), table)
            own = _sharing_references(own if adapt is None else adapt(own), out)
            check(own, resume=False, overwrite=True)
            data = training_data(table, own.data.fold)
            own.sampler.check(data.sampler_classes(own.sampler.category_column, table.name), own.batch_size, table.name)
        except EmlError as error:
            lines = [Problem(f"{setting.name}: {line}", line.code, line.parameter) for line in error.problems]
            problems |= {str(line).partition(": ")[2]: line for line in lines}
            continue
        text = own.model_copy(update={"output": out}).model_dump_json()
        if text in seen:
            same = f"`vary`: {seen[text].name} and {setting.name} are the same setting; leave one of them out"
            problems[same] = Problem(same, "conflicting-settings", "vary")
        seen[text] = setting
        status, changes = _status(own, table, out)
        runs.append(PlannedRun(setting, own, status, changes))
    if problems:
        raise ConfigError(list(problems.values()))
    return runs


def _sharing_references(config: RunConfig, out: Path) -> RunConfig:
    """Return the config with a teacher's embeddings kept beside the runs, where it names no folder for them."""
    section = config.distill
    if section is None or section.folder is not None:
        return config
    return config.model_copy(update={"distill": section.model_copy(update={"folder": out / REFERENCES})})


def refuse_changed(runs: Sequence[PlannedRun]) -> None:
    """Raise a ConfigError where a folder holds a run of another config or table."""
    changed = [run for run in runs if run.status == "changed"]
    if changed:
        first = changed[0]
        more = f", and of {len(changed) - 1:,} more settings" if len(changed) > 1 else ""
        raise ConfigError(
            f"{first.folder}: its run differs in {', '.join(first.changes[:5])}{more}. Set `overwrite` to run these "
            "anew, or give another `out`",
            code="file-exists",
            parameter="overwrite",
        )


def settings_file(out: Path, run: Path) -> Path:
    """Return where the planned config of a run is kept: a run may choose rates and length that it then records."""
    return out / "settings" / f"{run.name}.yaml"


def _status(config: RunConfig, table: Table, out: Path) -> tuple[Status, tuple[str, ...]]:
    """Return what a run's folder holds, and in which keys it differs."""
    folder = RunFolder(config.output)
    if not is_run_folder(folder.path):
        return "new", ()
    try:
        recorded = load(RunConfig, settings_file(out, folder.path), import_plugins=False)
        facts = folder.facts()
    except EmlError:  # killed while it was made
        return "new", ()
    changes = differing_keys(recorded.model_dump(mode="json"), config.model_dump(mode="json"))
    changes = [key for key in changes if key not in ("output", "distill.folder", "plugins")]
    if facts.get("plugins", []) != plugin_facts(config.plugins):
        changes.append("plugins")
    own = facts.get("table")
    if isinstance(own, dict) and own.get("digest") != table.digest:
        changes.append("the table's content")
    if changes:
        return "changed", tuple(changes)
    if facts.get("finished"):
        return "finished", ()
    return ("begun" if folder.has_state() else "new"), ()


def differing_keys(first: Any, second: Any, before: str = "") -> list[str]:
    """Return the dotted keys in which two configs differ, as plain values."""
    if isinstance(first, dict) and isinstance(second, dict):
        names = dict.fromkeys([*first, *second])
        return [key for name in names for key in differing_keys(first.get(name), second.get(name), f"{before}{name}.")]
    return [] if first == second else [before.rstrip(".")]
