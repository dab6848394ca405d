"""Runs that compare images with the texts of their classes."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from eml.config import load
from eml.dataset.table import Table, write_table
from eml.errors import CheckpointError, ConfigError
from eml.inference.load import load as load_model
from eml.training.build import RunParts, build_parts
from eml.training.checks import check, run_notes
from eml.training.config import RunConfig
from eml.training.dry_run import dry_run
from eml.training.events import Event, Note
from eml.training.fit import Run, fit
from eml.training.recipe import apply_recipe
from eml.training.sweep.feature_runs import on_features
from tests.distributed import process_group
from tests.distributed.process_group import task
from tests.tiny_clip import SIGLIP, write_tiny_clip
from tests.training.pictured_words import NAME, WITH_DROPOUT
from tests.training.runs import assert_near, changed, left_by, stop_at

TEMPLATES = ["a photo of {label}", "the colour {label}", "{label}"]
SGD = {"name": "sgd", "lr": {"backbone": 0.05}, "clip": 1.0}


def of_texts(config: RunConfig, **values: object) -> RunConfig:
    """The config with a loss of texts: a run of a second."""
    own = {"output": config.output, "data": config.data.model_dump(), "recipe": "none", "epochs": 2, "batch_size": 4}
    own |= {"model": {"backbone": NAME, "weights": "none"}, "loss": {"type": "contrastive_text"}, "image": {"size": 32}}
    own |= {"class_texts": {"template": TEMPLATES}, "optimizer": SGD}
    return RunConfig.model_validate(own | values)


def weights_after_a_step(config: RunConfig, table: Table) -> tuple[RunParts, dict[str, torch.Tensor]]:
    parts = build_parts(config, table)
    run = Run(parts)
    run.step(*next(run.batches.of_epoch(1, 0)))
    return parts, {name: weight.detach() for name, weight in parts.embedder.named_parameters()}


def test_both_towers_and_the_scale_train_and_nothing_else_is_needed(config: RunConfig, table: Table) -> None:
    parts, after = weights_after_a_step(of_texts(config), table)
    before = dict(build_parts(of_texts(config), table).embedder.named_parameters())
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == set(after)
    assert {"text.logit_scale", "text.network.words.weight"} <= moved
    assert parts.config.margin.type == "normface"
    assert parts.config.model.neck.type == "identity"
    assert {group["part"] for group in parts.optimizer.param_groups} == {"backbone", "text"}
    line = Run(parts).step(*next(Run(parts).batches.of_epoch(1, 0)))
    assert line["lr"].keys() == {"backbone", "neck", "class_weights", "text"}
    assert (line["lr"]["text"], line["lr"]["class_weights"]) == (line["lr"]["backbone"], 0.0)


def test_a_rate_of_0_freezes_the_text_tower_and_its_scale(config: RunConfig, table: Table) -> None:
    frozen = of_texts(config, optimizer={"lr": {"backbone": 0.05, "text": 0.0}})
    parts, after = weights_after_a_step(frozen, table)
    before = dict(build_parts(frozen, table).embedder.named_parameters())
    assert {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])} == {"backbone"}
    assert parts.embedder.text is not None
    assert not parts.embedder.text.training, "no dropout"
    parts, after = weights_after_a_step(of_texts(config, optimizer={"lr": {"backbone": 0.0, "text": 0.05}}), table)
    assert {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])} == {"text"}
    lora = {"type": "lora", "layers": ["4"]}
    assert of_texts(config, tune=lora).text_rate == 0.0, "few weights train"
    assert of_texts(config, tune=lora, optimizer={"lr": {"text": 1e-5}}).text_rate == 1e-5


PARTS = {
    "ema": {},
    "accumulate": 2,
    "precision": "bfloat16",
    "loss": {"type": "contrastive_text", "negatives": "all", "texts_at_once": 2},
}


@pytest.mark.parametrize("values", [pytest.param({}, marks=pytest.mark.wide), PARTS], ids=["plain", "parts"])
def test_a_run_stopped_in_an_epoch_and_resumed_equals_an_uninterrupted_one_byte_for_byte(
    values: dict[str, object], config: RunConfig, table: Table, tmp_path: Path
) -> None:
    model, optimizer = {"backbone": WITH_DROPOUT, "weights": "none"}, {"name": "adamw", "lr": {"backbone": 0.01}}
    whole = of_texts(config, **values, optimizer=optimizer, model=model)
    fit(whole, table)
    other = changed(whole, output=tmp_path / "stopped")
    stop_at(other, table, 3)
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(whole.output)
    assert load(RunConfig, whole.output / "config.yaml") == whole


def test_a_batch_in_parts_steps_as_one(config: RunConfig, table: Table) -> None:
    steps = []
    for values in ({}, {"accumulate": 2, "loss": {"type": "contrastive_text", "texts_at_once": 1}}):
        run = Run(build_parts(of_texts(config, **values), table))
        steps.append([run.step(pixels, rows)["loss"] for pixels, rows in run.batches.of_epoch(1, 0)])
    assert steps[1] == pytest.approx(steps[0], rel=1e-5)


@pytest.mark.xdist_group("processes")
@pytest.mark.wide
def test_two_processes_train_as_one(config: RunConfig, table: Table, tmp_path: Path) -> None:
    loss = {"type": "contrastive_text", "negatives": "all"}
    one = of_texts(config, seed=3, batch_size=5, loss=loss, accumulate=2, validation={"batch_size": 4})
    fit(one, table)
    two = changed(one, output=tmp_path / "two")
    assert process_group.run(2, [task(two, table)], tmp_path) == [(0, ""), (0, "")]
    assert_near(two.output, one.output)


@pytest.mark.xdist_group("processes")
@pytest.mark.wide
def test_two_processes_resume_to_the_bit(config: RunConfig, table: Table, tmp_path: Path) -> None:
    model = {"backbone": WITH_DROPOUT, "weights": "none"}
    two = of_texts(config, model=model, ema={}, batch_size=5, validation={"batch_size": 4})
    stopped = changed(two, output=tmp_path / "stopped")
    tasks = [task(two, table), task(stopped, table, stop=3), task(stopped, table, resume=True)]
    assert process_group.run(2, tasks, tmp_path) == [(0, ""), (0, "")]
    assert left_by(stopped.output) == left_by(two.output)


def test_a_checkpoint_has_the_trained_text_tower(config: RunConfig, table: Table) -> None:
    trained = of_texts(config)
    notes: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    fit(trained, table, observe=observe)
    model = load_model(trained.output / "checkpoints" / "epoch-002")
    assert model.takes_text
    state = torch.load(trained.output / "state.pt", weights_only=False)["embedder"]
    assert torch.equal(model.embedder.state_dict()["text.logit_scale"], state["text.logit_scale"])
    assert any("15 distinct class texts, several of all classes, one drawn in each step" in note for note in notes)
    facts = json.loads((trained.output / "run.json").read_text())
    assert facts["scale"] == pytest.approx(7.3891, abs=1e-4)
    assert facts["trained_parameters"] == facts["parameters"]


def test_resuming_with_other_texts_of_the_same_file_is_a_change(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"c{number}\tthe colour {number}\n" for number in range(5)))
    named = of_texts(config, class_texts={"names": names})
    stop_at(named, table, 3)
    names.write_text(names.read_text().replace("colour 3", "paint 3"))
    with pytest.raises(CheckpointError, match="class_texts: other texts, since a file that they come from has changed"):
        fit(named, table, resume=True)
    fit(named, table, resume=True, accept_changes=True)


def test_a_dry_run_says_what_is_embedded(config: RunConfig, table: Table) -> None:
    loss = {"type": "contrastive_text", "negatives": "all", "texts": "mean"}
    result = dry_run(of_texts(config, loss=loss), table)
    assert result.class_head.plan == "5 classes, up to 15 texts embedded per step, compared all at once"
    assert result.class_head.weights_mib == 0


def test_a_frozen_tower_and_labels_without_words_are_told_before_the_run(config: RunConfig, table: Table) -> None:
    tune = {"type": "lora", "rank": 2}
    notes = run_notes(build_parts(of_texts(config, tune=tune), table))
    assert [note for note in notes if note.startswith("the text tower is frozen, since tune is lora")]
    assert [note for note in notes if note.startswith("class_texts: 5 of 5 labels have no word of their own ('c0'")]
    chosen = of_texts(config, tune=tune, optimizer={"lr": {"backbone": 0.05, "text": 0.0}}, class_texts=None)
    assert not any("frozen" in note for note in run_notes(build_parts(chosen, table)))
    assert not any("own" in note for note in run_notes(build_parts(config, table))), "no texts are used"


def test_a_recipe_trains_with_texts_as_pretrained(config: RunConfig, table: Table) -> None:
    made, told = apply_recipe(of_texts(config, recipe="auto", optimizer={}, model={"backbone": NAME}), table)
    assert (made.optimizer.lr.backbone, made.text_rate, made.tune.type) == (1e-5, 1e-5, "full")
    assert (made.margin.type, made.head.scale, made.model.neck.type, made.stages) == (
        "normface",
        "paper",
        "identity",
        "none",
    )
    assert any("as pretrained" in line for line in told)
    lora = of_texts(config, recipe="auto", tune="lora", optimizer={}, model={"backbone": NAME})
    assert apply_recipe(lora, table)[0].optimizer.lr.backbone > 1e-5


def test_what_cannot_be_compared_with_texts_is_said_before_the_run(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    wrong = of_texts(
        config,
        margin={"type": "adacos"},
        head={"scale": 16, "mode": "sampled", "centers": 2},
        mix="mixup",
        model={"backbone": NAME, "weights": "none", "neck": {"type": "linear"}},
    )
    with pytest.raises(ConfigError) as error:
        check(wrong, resume=False, overwrite=False)
    assert [problem.parameter for problem in error.value.problems] == [
        *("model.neck", "margin", "head.scale", "head.centers", "head.mode", "mix"),
    ]
    assert "model.neck: with loss contrastive_text linear takes images out of the space of the texts" in str(
        error.value
    )
    with pytest.raises(ConfigError, match=r"class_texts.encoder: loss contrastive_text trains the network's own text"):
        check(of_texts(config, class_texts={"encoder": "st:any"}), resume=False, overwrite=False)
    with pytest.raises(ConfigError, match=r"test_resnet has no text tower") as refused:
        build_parts(of_texts(config, model={"backbone": "test_resnet", "weights": "none"}), table)
    assert refused.value.code == "no-text-tower"
    with pytest.raises(ConfigError, match="texts"):
        on_features(of_texts(config))


@pytest.mark.wide
def test_texts_of_unseen_classes_find_their_images_by_the_words_of_others(tmp_path: Path) -> None:
    """Each word of a class that is held out is in the texts of classes that are trained on."""
    skies = {"blue": (80, 150, 240), "grey": (150, 150, 150), "dark": (20, 20, 30), "orange": (240, 140, 40)}
    grounds = {"grass": (60, 160, 50), "sand": (220, 190, 130), "snow": (245, 245, 250), "water": (30, 70, 140)}
    unseen = [f"{sky} sky over {ground}" for sky, ground in zip(skies, grounds, strict=True)]
    random, rows = np.random.default_rng(0), []
    for (sky, upper), (ground, lower), copy in itertools.product(skies.items(), grounds.items(), range(6)):
        label = f"{sky} sky over {ground}"
        pixels = np.repeat([upper, lower], [16, 16], 0)[:, None] + random.normal(0, 30, (32, 32, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{label} {copy}.png")
        rows.append({"label": label, "file_name": f"{label} {copy}.png", "fold": int(label not in unseen)})
    table = write_table(pd.DataFrame(rows), tmp_path / "folds.csv", command="test", root=tmp_path)
    config = RunConfig.model_validate({
        "output": tmp_path / "run", "recipe": "none", "data": {"table": table.path, "workers": 0}, "augment": "none",
        "model": {"backbone": NAME, "weights": "none"}, "loss": {"type": "contrastive_text"}, "image": {"size": 32},
        "optimizer": {"lr": {"backbone": 0.01}}, "epochs": 15, "batch_size": 24, "validation": {"every": 15},
    })  # fmt: skip
    fit(config, table)
    model, held_out = load_model(config.output / "checkpoints" / "last"), table.frame[table.frame["fold"] == 0]
    images = model.embed(held_out["file_name"].map(tmp_path.joinpath).tolist())
    cosines = model.embed_text(unseen) @ images.T
    assert held_out["label"].to_numpy()[cosines.argmax(1)].tolist() == unseen, "by chance one of 256 finds them all"
    right = np.mean(np.array(unseen)[cosines.argmax(0)] == held_out["label"])
    assert right > 0.9
    last = json.loads((config.output / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["zero_shot_top_1"] == pytest.approx(right), "of classes that training does not have"
    assert last["text_to_image_recall_at_1"] == 1


@pytest.mark.wide
@pytest.mark.slow
@pytest.mark.xdist_group("clip")
def test_a_network_of_open_clip_trains_in_half_precision_and_its_checkpoint_embeds_texts(
    tiny_clip: Path, config: RunConfig, table: Table
) -> None:
    clip = {"backbone": f"open_clip:local-dir:{tiny_clip}"}
    loss = {"type": "contrastive_text", "negatives": "all", "texts_at_once": 2}
    losses = []
    for precision in ("float32", "float16"):
        run = Run(build_parts(of_texts(config, model=clip, loss=loss, precision=precision, accumulate=2), table))
        losses += [run.step(*next(run.batches.of_epoch(1, 0)))["loss"]]
        assert run.parts.head.scale != pytest.approx(1 / 0.07, rel=1e-7), "it moves"
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    fit(of_texts(config, model=clip, epochs=1, optimizer={"lr": {"backbone": 0.0, "text": 0.01}}), table)
    model, before = load_model(config.output), load_model(f"open_clip:local-dir:{tiny_clip}")
    assert model.takes_text
    assert not np.allclose(model.embed_text(["c0"]), before.embed_text(["c0"]), atol=1e-3)


def test_a_decay_towards_the_start_holds_both_towers(config: RunConfig, table: Table) -> None:
    optimizer = {"name": "sgd", "lr": {"backbone": 0.05}, "start_decay": 20}  # rate · strength is 1: all of the way
    held = of_texts(config, optimizer=optimizer, schedule={"shape": "constant", "warmup_epochs": 0})
    _, after = weights_after_a_step(held, table)
    for name, weight in build_parts(held, table).embedder.named_parameters():
        torch.testing.assert_close(after[name], weight, msg=name)


def test_held_out_images_are_measured_by_texts_and_the_best_epoch_may_go_by_them(
    config: RunConfig, table: Table
) -> None:
    own = of_texts(config, validation={"metric": "zero-shot top-1"}, epochs=3)
    fit(own, table)
    lines = [json.loads(line) for line in (own.output / "metrics.jsonl").read_text().splitlines()]
    values = [line["zero_shot_top_1"] for line in lines]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    facts = json.loads((own.output / "run.json").read_text())
    best = max((1, 2, 3), key=lambda epoch: values[epoch])
    assert facts["finished"]["best_epoch"] == best
    verdict = facts["finished"]["verdicts"][""]
    assert verdict["metric"] == "zero-shot top-1"
    assert (verdict["before"], verdict["after"]) == pytest.approx((values[0], values[best]))

    held_out = table.frame[table.frame["fold"] == 0]
    labels, model = sorted(table.frame["label"].unique()), load_model(own.output / "checkpoints" / "last")
    images = model.embed([table.root / name for name in held_out["file_name"]])
    texts = [model.embed_text([template.replace("{label}", label) for template in TEMPLATES]) for label in labels]
    cosines = np.stack([own.mean(0) / np.linalg.norm(own.mean(0)) for own in texts]) @ images.T
    truth = held_out["label"].map(labels.index).to_numpy()
    assert values[3] == pytest.approx(np.mean(cosines.argmax(0) == truth))
    assert lines[3]["text_to_image_recall_at_1"] == pytest.approx(np.mean(truth[cosines.argmax(1)] == np.arange(5)))


def test_a_metric_by_texts_needs_a_run_with_texts(config: RunConfig, table: Table) -> None:
    own = RunConfig.model_validate(config.model_dump() | {"validation": {"metric": "zero_shot_top_1"}})
    with pytest.raises(ConfigError, match=r"only a run with loss: \{type: contrastive_text\} has, not one with"):
        build_parts(own, table)


@pytest.mark.wide
@pytest.mark.xdist_group("clip")
def test_a_run_of_a_siglip_tower_resumes_to_the_bit(config: RunConfig, table: Table, tmp_path: Path) -> None:
    clip = {"backbone": f"open_clip:local-dir:{write_tiny_clip(tmp_path / 'siglip', config=SIGLIP)}"}
    whole = of_texts(config, model=clip, ema={}, validation={"metric": "text_to_image_recall_at_1"})
    fit(whole, table)
    stopped = changed(whole, output=tmp_path / "stopped")
    stop_at(stopped, table, 3)
    fit(stopped, table, resume=True)
    assert left_by(stopped.output) == left_by(whole.output)
    assert "text_to_image_recall_at_1" in (whole.output / "metrics.jsonl").read_text()
