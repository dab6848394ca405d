import json
import math
import signal
from pathlib import Path

import pytest
import torch

from eml.config import load
from eml.dataset.table import Table
from eml.errors import CheckpointError, ConfigError, DataError, EmlError, OutputError
from eml.models.pointers import find_checkpoint
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.dry_run import dry_run
from eml.training.events import Event, Stepped, Validated, Validating
from eml.training.fit import Run, fit
from eml.training.nan_check import NotFiniteError
from tests.training.runs import changed, left_by, stop_at


def test_interrupted_and_resumed_runs_equal_an_uninterrupted_one_byte_for_byte(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    fit(config, table)
    expected = left_by(config.output)
    assert "checkpoints/epoch-002/model.safetensors" in expected
    for place, when in {"first": 1, "epoch end": 5, "middle": 7, "validation": Validating(30, 30)}.items():
        other = changed(config, output=tmp_path / place)
        stop_at(other, table, when)
        fit(other, table, resume=True)
        assert left_by(other.output) == expected, place


@pytest.mark.parametrize("margin", ["elastic_arcface", "curricularface", "vpl", "sphereface2"])
def test_a_margins_state_and_draws_are_taken_up_again(
    margin: str, config: RunConfig, table: Table, tmp_path: Path
) -> None:
    settings = {"memory": {"start": 2}} if margin == "vpl" else {}
    schedule = {"margin_schedule": {"shape": "cosine"}, "scale": 16}
    changes = {"margin": {"type": margin, **settings}, "head": schedule, "epochs": 1, "validation": {"batch_size": 64}}
    whole = changed(config, **changes)
    fit(whole, table)
    other = changed(config, **changes, output=tmp_path / "other")
    stop_at(other, table, 3)
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(whole.output)


def test_the_number_of_workers_does_not_change_a_run(config: RunConfig, table: Table, tmp_path: Path) -> None:
    fit(config, table)
    other = changed(config, output=tmp_path / "workers", data={"table": table.path, "workers": 2})
    fit(other, table)
    assert left_by(other.output) == left_by(config.output)


def test_another_seed_gives_another_run(config: RunConfig, table: Table, tmp_path: Path) -> None:
    fit(config, table)
    other = changed(config, output=tmp_path / "seed", seed=1)
    fit(other, table)
    assert left_by(other.output)["steps.jsonl"] != left_by(config.output)["steps.jsonl"]


def test_eight_images_can_be_overfitted(config: RunConfig, table: Table) -> None:
    few = Table(table.frame.groupby("label").head(2).query("label < 'c4'").reset_index(drop=True), table.root)
    losses: list[float] = []
    eager = changed(config, data={"table": table.path, "fold": None}, augment={"type": "none"}, epochs=40, batch_size=8)
    fit(eager, few, observe=lambda event: losses.append(event.loss) if isinstance(event, Stepped) else None)
    assert losses[0] > 3
    assert losses[-1] < 0.1


def test_best_is_the_epoch_with_the_best_metric_and_only_named_checkpoints_stay(
    config: RunConfig, table: Table
) -> None:
    values: dict[int, float] = {}

    def observe(event: Event) -> None:
        if isinstance(event, Validated):
            values[event.epoch] = event.values["map_at_r"]

    result = fit(changed(config, epochs=4), table, observe=observe)
    trained = {epoch: value for epoch, value in values.items() if epoch > 0}
    best = min(epoch for epoch, value in trained.items() if value == max(trained.values()))
    assert sorted(values) == [0, 1, 2, 3, 4]
    assert result.best_epoch == best
    assert find_checkpoint(result.folder).name == f"epoch-{best:03d}"
    assert find_checkpoint(result.folder / "checkpoints" / "last").name == "epoch-004"
    assert len(list((result.folder / "checkpoints").glob("epoch-*"))) == len({best, 4})


def test_fold_by_class_is_validated_leave_one_out_among_its_own_images(config: RunConfig, table: Table) -> None:
    by_class = table.frame.assign(fold=(table.frame["label"] < "c2").map({True: 0, False: 1}))
    run = Run(build_parts(config, Table(by_class, table.root)))
    assert run.parts.data.classes == ["c2", "c3", "c4"]
    assert run.parts.data.validation is not None
    assert run.parts.data.validation.protocol == "leave-one-out"
    assert len(run.parts.data.validation.queries) == len(run.parts.data.validation.gallery) == 12


def test_fold_minus_two_is_never_looked_at(config: RunConfig, table: Table) -> None:
    hidden = table.frame.assign(fold=table.frame["fold"].where(table.frame["label"] != "c0", -2))
    run = Run(build_parts(config, Table(hidden, table.root)))
    assert "c0" not in {*run.parts.data.classes, *run.parts.data.validation.frame["label"]}  # type: ignore[union-attr]


def test_frozen_stages_and_batchnorm_statistics_do_not_move(config: RunConfig, table: Table) -> None:
    model = {**config.model.model_dump(), "freeze": 2, "batch_norm": "frozen"}
    run = Run(build_parts(changed(config, model=model), table))
    before = {name: value.clone() for name, value in run.parts.embedder.backbone.state_dict().items()}
    for pixels, rows in run.batches.of_epoch(1, 0):
        run.step(pixels, rows)
    moved = {
        name for name, value in run.parts.embedder.backbone.state_dict().items() if not torch.equal(value, before[name])
    }
    assert not {name for name in moved if "running" in name or "num_batches" in name}
    assert not {name for name in moved if name.startswith(("conv1", "bn1", "layer1"))}
    assert any(name.startswith("layer4") for name in moved)


def test_a_frozen_backbone_does_not_move_at_all(config: RunConfig, table: Table) -> None:
    rates = {"lr": {"backbone": 0, "neck": 1e-3, "class_weights": 1e-2}}
    run = Run(build_parts(changed(config, optimizer=rates), table))
    before = {name: value.clone() for name, value in run.parts.embedder.state_dict().items()}
    run.step(*next(run.batches.of_epoch(1, 0)))
    moved = {name for name, value in run.parts.embedder.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("neck") for name in moved)


def test_resuming_with_another_config_says_what_differs(config: RunConfig, table: Table) -> None:
    stop_at(config, table, 3)
    other = changed(config, batch_size=5, margin={"type": "arcface", "m": 0.3})
    with pytest.raises(CheckpointError, match=r"(?s)batch_size: 4 → 5.*margin\.m: 0\.5 → 0\.3.*`accept_changes`"):
        fit(other, table, resume=True)
    fit(other, table, resume=True, accept_changes=True)
    assert json.loads((config.output / "run.json").read_text())["changes"] == [
        {"step": 3, "changes": ["batch_size: 4 → 5", "margin.m: 0.5 → 0.3"]}
    ]
    assert load(RunConfig, config.output / "config.yaml").batch_size == 5


def test_a_run_folder_is_not_overwritten_unasked_nor_a_folder_of_the_users_at_all(
    config: RunConfig, table: Table
) -> None:
    config.output.mkdir()
    (config.output / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        fit(config, table)
    with pytest.raises(OutputError, match="is not a run folder of eml"):
        fit(config, table, overwrite=True)
    (config.output / "thesis.txt").unlink()
    fit(config, table)
    first = left_by(config.output)
    with pytest.raises(OutputError, match="already exists"):
        fit(config, table)
    fit(config, table, overwrite=True)
    assert left_by(config.output) == first


@pytest.mark.parametrize("ways", [{"resume": True}, {"overwrite": True}], ids=["resume", "overwrite"])
def test_a_second_training_in_the_same_folder_is_refused(ways, config: RunConfig, table: Table) -> None:
    refused = []

    def begin_another(event: object) -> None:
        if isinstance(event, Stepped) and event.step == 2:
            before = left_by(config.output)
            with pytest.raises(OutputError, match="another training writes into this folder") as error:
                fit(config, table, **ways)
            refused.append(error)
            assert left_by(config.output) == before

    fit(config, table, observe=begin_another)
    assert refused
    fit(config, table, resume=True)  # the lock is gone with the run


def test_a_image_that_cannot_be_read_is_named(config: RunConfig, table: Table, tmp_path: Path) -> None:
    frame = table.frame.copy()
    frame.loc[frame["fold"] != 0, "file_name"] = "c0/gone.png"
    with pytest.raises(DataError, match=r"c0/gone\.png"):
        fit(config, Table(frame, table.root))


def test_a_loss_that_is_not_finite_names_layer_and_batch_and_leaves_the_state_before_it(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    """An image that overflows: the state saved is that of the step before, statistics and draws included."""
    fit(config, table)
    expected = left_by(config.output)
    broken = changed(config, output=tmp_path / "broken")
    run = Run(build_parts(broken, table))
    step = run.step

    def poisoned(pixels: torch.Tensor, rows: torch.Tensor) -> dict[str, object]:
        handle = None
        if run.state.step == 6:
            layer = run.parts.embedder.backbone.get_submodule("layer2")
            handle = layer.register_forward_hook(lambda module, inputs, output: output * math.inf)
        try:
            return step(pixels, rows)
        finally:
            if handle is not None:
                handle.remove()

    run.step = poisoned  # type: ignore[method-assign]
    with pytest.raises(
        NotFiniteError, match=r"(?s)step 7: the loss is nan; .*first layer.*layer3.*c\d/\d\.png.*--resume"
    ):
        run.run()
    fit(broken, table, resume=True)
    assert left_by(broken.output) == expected


def test_weights_that_are_not_finite_are_named(config: RunConfig, table: Table) -> None:
    run = Run(build_parts(config, table))
    next(iter(run.parts.embedder.parameters())).data.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match=r"weights of the network are not finite: backbone\.conv1"):
        run.step(*next(run.batches.of_epoch(1, 0)))
    with pytest.raises(EmlError, match="likely causes") as error:
        dry_run(changed(config, optimizer={"lr": {"class_weights": 1e38, "neck": 1e38}}), table)
    assert "saved" not in str(error.value)


def test_mistakes_in_names_come_with_suggestions(config: RunConfig, table: Table) -> None:
    for values, message in (
        ({"model": {"backbone": "test_resnett", "weights": "none"}}, "did you mean 'test_resnet'"),
        ({"optimizer": {"name": "adamww"}}, "did you mean 'adamw'"),
        ({"validation": {"metric": "recall"}}, "unknown metric 'recall'; known: recall_at_1"),
        ({"device": "cuda:9"}, "not on this machine|counted from 0"),
        ({"model": {"backbone": "test_resnet", "weights": "none", "freeze": 99}}, "stages, so at most"),
    ):
        with pytest.raises(ConfigError, match=message):
            Run(build_parts(changed(config, **values), table))


def test_too_little_to_train_on_is_an_error(config: RunConfig, table: Table) -> None:
    one = table.frame[table.frame["label"] == "c0"]
    single = table.frame.groupby("label").head(1)
    for frame, message in ((one, "1 class to train on"), (single, "every class has one image")):
        with pytest.raises(DataError, match=message):
            fit(changed(config, data={"table": table.path, "fold": None}), Table(frame, table.root))
    with pytest.raises(DataError, match="no image is in fold 7; the folds are 0, 1, 2"):
        fit(changed(config, data={"table": table.path, "fold": 7}), table)


def test_a_dry_run_writes_nothing(config: RunConfig, table: Table) -> None:
    result = dry_run(config, table)
    assert (result.steps, result.facts.train_images, result.facts.train_classes) == (10, 20, 5)
    assert not config.output.exists()


def test_a_full_disk_stops_the_run_with_a_message_and_leaves_the_last_state_whole(
    config: RunConfig, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    stop_at(config, table, 3)
    before = (config.output / "state.pt").read_bytes()
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that grows past the limit is then an OSError
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"state\.pt: cannot be written: .*is the disk full\?"):
            fit(config, table, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (config.output / "state.pt").read_bytes() == before
    fit(config, table, resume=True)


def test_a_resumed_run_equals_an_uninterrupted_one_with_dropout(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    model = {**config.model.model_dump(), "neck": {"type": "linear", "size": 16, "dropout": 0.5}}
    fit(changed(config, model=model), table)
    other = changed(config, model=model, output=tmp_path / "stopped")
    stop_at(other, table, 3)
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(config.output)
