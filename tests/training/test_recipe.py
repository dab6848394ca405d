from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from eml.config import load
from eml.dataset.table import Table
from eml.errors import DataError
from eml.images.image_size import Size, pixel_count, size_text
from eml.training.config import RunConfig
from eml.training.events import Event, Note
from eml.training.fit import fit
from eml.training.recipe import apply_recipe, recipe, usual_image_size


def config(**values: object) -> RunConfig:
    return RunConfig.model_validate({"output": "run", "data": {"table": "folds.csv"}} | values)


def test_a_recipe_fills_in_what_the_config_leaves_open_and_nothing_else(table: Table) -> None:
    given = config(
        margin={"type": "arcface"}, optimizer={"lr": {"backbone": 5e-5}}, model={"batch_norm": "train"}, epochs=3
    )
    made, told = apply_recipe(given, table)
    assert (made.margin.type, made.epochs, made.model.batch_norm) == ("arcface", 3, "train")
    assert made.optimizer.lr.backbone == 5e-5
    assert made.optimizer.lr.neck < 1e-4, "gentler, since there are five classes"
    assert made.head.scale == 8
    assert made.model.neck.type == "bnneck"
    assert made.recipe == "none"
    assert "head.scale 8" in told[0]
    assert "epochs" not in told[0]
    assert apply_recipe(made, table) == (made, [])


def test_few_weights_get_ten_times_the_rate(table: Table) -> None:
    usual, of_all = apply_recipe(config(tune="full"), table)
    assert not any("tune" in line for line in of_all)
    assert any(f"backbone rate {usual.optimizer.lr.backbone:g}, gentler" in line for line in of_all)
    made, told = apply_recipe(config(), table)
    assert made.tune.type == "norm", "there are five classes"
    assert made == apply_recipe(config(tune="norm"), table)[0]
    assert made.optimizer.lr.backbone == pytest.approx(10 * usual.optimizer.lr.backbone)
    assert made.optimizer.lr.neck == usual.optimizer.lr.neck
    assert any("10 times as large for the few weights of tune: norm" in line for line in told)
    shown = recipe(table.known.frame, table.name, pretrained=True)
    assert "candidates" not in shown.values["optimizer"]["lr"]
    assert not any("tries" in reason for reason in shown.reasons.values()), "one rate alone: none is tried"
    untrained, _ = apply_recipe(config(tune="norm", model={"weights": "none"}), table)
    assert untrained.optimizer.lr.backbone == 2e-3


def test_stages_are_for_networks_whose_embeddings_have_the_size_of_their_features(table: Table) -> None:
    scratch, told = apply_recipe(config(model={"weights": "none"}), table)
    assert (scratch.stages, scratch.model.neck.type) == ("none", "linear"), "nobody is told of a neck nobody chose"
    assert "stages" not in told[0]
    chosen, _ = apply_recipe(config(model={"weights": "none", "neck": "bnneck"}), table)
    assert chosen.stages == "auto"


def test_batch_norm_is_told_of_where_there_is_some(table: Table) -> None:
    told = {name: apply_recipe(config(model={"backbone": name}), table)[1] for name in ("test_vit", "test_resnet")}
    assert {name: any("BatchNorm" in line for line in lines) for name, lines in told.items()} == {
        "test_vit": False,
        "test_resnet": True,
    }


def test_a_margin_that_uses_embedding_norms_gets_no_neck(table: Table) -> None:
    made, _ = apply_recipe(config(margin={"type": "adaface"}), table)
    assert made.model.neck.type == "identity"


def test_rates_are_left_alone_with_another_optimizer_and_all_is_with_recipe_none(table: Table) -> None:
    made, told = apply_recipe(config(optimizer={"name": "sgd"}), table)
    assert made.optimizer.lr == config().optimizer.lr
    assert "optimizer" not in told[0]
    plain = config(recipe="none")
    assert apply_recipe(plain, table) == (plain, [])


def test_the_fold_that_is_held_out_does_not_count() -> None:
    frame = pd.DataFrame({"label": ["a"] * 4 + ["b"] * 4 + ["c"] * 4, "fold": [0, 1, 1, 1] * 2 + [0] * 4})
    frame["file_name"] = [f"{index}.png" for index in range(12)]
    _, told = apply_recipe(config(), Table(frame, Path()))
    assert any("6 images of 2 classes, 3 each" in line for line in told)


def test_a_run_prints_what_was_chosen_and_keeps_it_in_its_config(table: Table, tmp_path: Path) -> None:
    told: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Note):
            told.append(event.text)

    values = {"output": tmp_path / "run", "data": {"table": table.path}, "epochs": 1, "image": {"size": 32}}
    auto = RunConfig.model_validate(values | {"model": {"backbone": "test_resnet", "weights": "none"}})
    fit(auto, table, observe=observe)
    assert told[0].startswith("recipe: auto chose margin cosface 0.2, head.scale 8")
    saved = load(RunConfig, tmp_path / "run" / "config.yaml")
    assert (saved.recipe, saved.optimizer.lr.backbone) == ("none", 2e-3)
    fit(auto, table, resume=True)


@pytest.mark.parametrize(
    "images, held_out, line",
    [
        (2668, 535, "epochs 5: 10,665 images seen"),
        (100_000, 20_000, "epochs 5, the fewest: 400,000 images seen"),
        (30, 6, "epochs 30, the most: 720 images seen"),
    ],
)
def test_the_images_seen_are_those_of_the_epochs_without_the_held_out_ones(
    images: int, held_out: int, line: str
) -> None:
    frame = pd.DataFrame({"label": [str(number % 2) for number in range(images)]})
    assert recipe(frame, "t.csv", pretrained=True, held_out=held_out).reasons["epochs"] == line


def test_what_cannot_be_learnt_from_is_an_error() -> None:
    with pytest.raises(DataError, match="1 class, the largest with 3 images"):
        recipe(pd.DataFrame({"label": ["a"] * 3}), "t.csv", pretrained=True)


def test_a_recipe_leaves_the_batch_that_the_sampler_can_fill(config: RunConfig, table: Table) -> None:
    given = RunConfig.model_validate(
        {"output": config.output, "data": {"table": table.path}, "sampler": {"type": "per_class", "per_class": 32}}
    )
    made, told = apply_recipe(given, table)
    assert made.batch_size == 64, "the recipe's 32 would be one class"
    assert not any("batch_size" in line for line in told)


def persons(table: Table, height: float, width: float, share: float = 1.0) -> pd.DataFrame:
    """Rows of which a share have this height and width, and the others are squares of the height."""
    frame = table.known.frame.copy()
    frame["height"], frame["width"] = height, height
    frame.loc[frame.index[: round(share * len(frame))], "width"] = width
    return frame


@pytest.mark.parametrize(
    "height, width, size",
    [
        (128, 64, (192, 96)),
        (192, 96, (256, 128)),
        (160, 80, (256, 128)),
        (256, 128, (320, 160)),
        (64, 128, (96, 192)),
        (100, 1000, (96, 384)),
        (140, 100, 128),  # as most photographs: squares
        (112, 92, 128),
        (70, 100, 96),
    ],
)
def test_images_that_are_clearly_no_squares_get_their_shape(table: Table, height: int, width: int, size: Size) -> None:
    chosen = recipe(persons(table, height, width), table.name, pretrained=True)
    assert chosen.values["image"]["size"] == size
    assert f"image.size {size_text(size)}: " in chosen.reasons["image.size"]
    if not isinstance(size, int):
        square = min(224, max(64, round(max(height, width) / 32) * 32))
        assert 0.7 < pixel_count(size) / square**2 < 1.5
        assert f"about the pixels of a square of {square}" in chosen.reasons["image.size"]


def test_a_shape_needs_most_of_the_images(table: Table) -> None:
    sizes = [usual_image_size(persons(table, 128, 64, share)) for share in (0.5, 0.7, 0.85)]
    assert sizes == [128, 128, (192, 96)]
    made, told = apply_recipe(config(), replace(table, frame=persons(table, 128, 64)))
    assert made.image.size == (192, 96)
    assert "image.size 192×96" in told[0]
    kept, _ = apply_recipe(config(image={"size": 160}), replace(table, frame=persons(table, 128, 64)))
    assert kept.image.size == 160
