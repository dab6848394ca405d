"""What to try follows from the run: its length, its best epoch, and where its weights came from."""

from typing import Any

import pytest

from eml.training.config import RunConfig
from eml.training.recipe import usual_epochs
from eml.training.to_try import to_try


def changes(weights: str, epochs: int, best: int, taken: int | None = None, **more: Any) -> str:
    model = {"weights": weights, **more.pop("model", {})}
    config = RunConfig.model_validate(
        {"output": "run", "data": {"table": "t.csv"}, "epochs": epochs, "model": model, **more}
    )
    return "; ".join(to_try(config, images=1000, epochs=taken or epochs, best_epoch=best))


def test_the_usual_length_follows_from_the_images() -> None:
    assert [usual_epochs(images, pretrained=True) for images in (100, 1000, 10_000)] == [30, 13, 5]
    assert [usual_epochs(images, pretrained=False) for images in (100, 1000, 10_000)] == [60, 60, 10]


@pytest.mark.parametrize(
    ("epochs", "best", "taken", "advice"),
    [
        (1, 1, 1, "more epochs: 13 are usual for so many images, and these were 1"),
        (20, 20, 20, "more epochs: the last of 20 was the best"),
        (20, 10, 20, "fewer epochs: the best was 10 of 20"),
        (20, 3, 6, "fewer epochs: the best was 3 of 6"),
        (6, 2, 6, "fewer epochs: the best was 2 of 6"),
        (20, 15, 20, None),
        (20, 8, 10, None),
    ],
)
def test_the_length_to_try_follows_from_the_best_epoch(epochs: int, best: int, taken: int, advice: str | None) -> None:
    given = changes("pretrained", epochs, best, taken).split("; ")
    assert [change for change in given if "epochs" in change] == ([advice] if advice else [])


def test_what_protects_pretrained_weights_is_only_for_them() -> None:
    assert changes("pretrained", 20, 15, margin={"type": "cosface", "m": 0.2}) == (
        "optimizer.lr.backbone 1e-05, a tenth; model.freeze, which keeps early stages unchanged; "
        "a smaller head.scale or margin.m; more classes; a neck of type identity"
    )
    fixed = {"freeze": 2, "neck": {"type": "identity"}}
    assert changes("pretrained", 20, 15, model=fixed, optimizer={"lr": {"backbone": 0}}, margin={"type": "adacos"}) == (
        "a smaller head.scale; more classes"
    )
    assert changes("none", 70, 60, margin={"type": "cosface", "m": 0.2}) == (
        "pretrained weights (model.weights); a smaller head.scale or margin.m; more classes"
    )
    texts = {"loss": {"type": "contrastive_text"}, "optimizer": {"lr": {"backbone": 0}}}
    assert changes("pretrained", 20, 15, model={"freeze": 2}, **texts) == (
        "a larger batch_size, or loss.negatives all; more classes"
    )
