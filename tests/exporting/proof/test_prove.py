"""A model against itself passes; whatever else is put in its place does not."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import eml
from eml.dataset.table import Table
from eml.exporting.proof.images import ProofImages, choose_images
from eml.exporting.proof.prove import ProofRun, prove, tinted
from eml.exporting.proof.record import Proof, ProofLimits
from eml.images.preprocess import Preprocess
from eml.inference.model import Model

CLASSES, EACH, SIDE = 6, 3, 32
Change = Callable[[Tensor], Tensor]


class Stand:
    """The model itself in an exported one's place, with what goes in or comes out changed."""

    def __init__(self, model: Model, before: Change = lambda pixels: pixels, after: Change = lambda rows: rows) -> None:
        self.model, self.before, self.after = model, before, after
        self.preprocess: Preprocess = model.preprocess

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        return self.after(self.model.embed_pixels(self.before(pixels)))

    def embed(self, images: Sequence[Path]) -> NDArray[np.float32]:
        return self.model.embed(images)


@pytest.fixture(scope="module")
def model() -> Model:
    model = eml.load("timm:test_resnet", weights="none", image_size=SIDE, device="cpu")
    assert isinstance(model, Model)
    return model


def draw(folder: Path, *, grey: bool = False) -> ProofImages:
    random, rows = np.random.default_rng(0), []
    for label in range(CLASSES):
        base = random.integers(0, 255, (4, 4, 1 if grey else 3))
        for number in range(EACH):
            small = np.clip(base + random.integers(-30, 30, base.shape), 0, 255).astype(np.uint8)
            image = Image.fromarray(np.broadcast_to(small, (4, 4, 3)).copy()).resize((SIDE, SIDE))
            image.save(folder / f"{label}_{number}.png")
            rows.append((f"c{label}", f"{label}_{number}.png"))
    return choose_images(Table(pd.DataFrame(rows, columns=["label", "file_name"]), folder))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ProofImages:
    return draw(tmp_path_factory.mktemp("proof"))


def run(model: Model, images: ProofImages, stand: Stand, precision: str = "float32") -> ProofRun:
    return prove(model, stand, images, ProofLimits.of(precision), precision=precision, seconds=0)


def test_a_model_agrees_with_itself(model: Model, images: ProofImages) -> None:
    proved = prove(model, Stand(model), images, ProofLimits(), timed=Stand(model), seconds=1e-3)
    proof = proved.proof
    assert proof.passed, proof.problems
    assert proof.least_cosine == pytest.approx(1)
    assert proof.from_files == pytest.approx(1)
    assert proof.top_10_agreement == 1
    assert [batch.images for batch in proof.batches] == [1, 2, 7]
    assert [speed.batch for speed in proof.speed] == [1, 16]
    assert all(speed.reference > 0 and speed.exported > 0 for speed in proof.speed)
    assert (proof.images, proof.classes) == (18, 6)
    assert Proof.model_validate(proof.to_json()) == proof
    assert "passed on 18 images of 6 classes: least cosine" in proof.sentence()
    assert len(proof.cautions) == 3, "few images, few classes, which are easy"


def fixed(count: int) -> Change:
    def check(pixels: Tensor) -> Tensor:
        if len(pixels) != count:
            raise RuntimeError(f"index 0 got {len(pixels)} expected {count}\nand more")
        return pixels

    return check


def raises(pixels: Tensor) -> Tensor:
    raise ValueError


WRONG: dict[str, tuple[str, Change | None, Change | None]] = {
    "channels exchanged": ("the least cosine", lambda pixels: pixels.flip(1), None),
    "transposed": ("the least cosine", lambda pixels: pixels.transpose(2, 3), None),
    "not of unit length": ("not of unit length", None, lambda rows: 2 * rows),
    "of another size": ("of shape (18, 5)", None, lambda rows: rows[:, :5]),
    "not finite": ("18 of 18 embeddings hold NaN", None, lambda rows: rows * torch.nan),
    "all alike": ("the least cosine", None, lambda rows: rows[:1].expand_as(rows)),
    "a row for all": ("cannot be run: 16 images give an array of shape (96,)", None, lambda rows: rows.mean(0)),
    "by the batch": ("depends on the images beside it", None, lambda rows: rows + 0.03 * rows.roll(1, 0)),
    "batches of 1": ("takes no batches of 2, 7, 16 images: index 0 got 2 expected 1", fixed(1), None),
    "batches of 16": ("takes no batches of 1, 2, 7 images", fixed(16), None),
    "nothing": ("cannot be run: ValueError", raises, None),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_model_fails(model: Model, images: ProofImages, name: str) -> None:
    text, before, after = WRONG[name]
    keep: Change = lambda values: values  # noqa: E731
    proof = run(model, images, Stand(model, before or keep, after or keep)).proof
    assert not proof.passed
    assert any(text in problem for problem in proof.problems), proof.problems
    assert Proof.model_validate(proof.to_json()) == proof


def test_fewer_bits_are_judged_by_retrieval_and_must_run_too(model: Model, images: ProofImages) -> None:
    alike = run(model, images, Stand(model, after=lambda rows: rows[:1].expand_as(rows)), "int8").proof
    assert "loses" in alike.problems[0]
    assert alike.least_cosine is not None
    slight = run(model, images, Stand(model, after=lambda rows: rows + 1e-3 * rows.roll(1, 1)), "int8").proof
    assert slight.passed
    assert not run(model, images, Stand(model, fixed(16)), "int8").proof.passed


def test_another_preprocessing_in_the_file_fails(model: Model, images: ProofImages) -> None:
    stand = Stand(model)
    stand.preprocess = model.preprocess.model_copy(update={"size": 48})
    assert run(model, images, stand).proof.problems == [
        "the file describes another preprocessing than the checkpoint: size 48, not 32"
    ]


def test_images_that_are_prepared_otherwise_fail(model: Model, images: ProofImages) -> None:
    stand = Stand(model)
    stand.embed = lambda paths: model.embed(list(reversed(paths)))  # type: ignore[method-assign]
    (problem,) = run(model, images, stand).proof.problems
    assert problem.startswith("read from image files, the least cosine is")
    stand.embed = lambda paths: raises(torch.zeros(1)).numpy()  # type: ignore[method-assign]
    assert run(model, images, stand).proof.problems == [
        "read from image files, ValueError: they are prepared otherwise"
    ]


def test_grey_images_are_tinted_so_that_exchanged_channels_show(model: Model, tmp_path: Path) -> None:
    grey = draw(tmp_path, grey=True)
    equal = model.preprocess.model_copy(update={"mean": (0.5,) * 3, "std": (0.25,) * 3})
    same = Model(model.embedder, equal, model.device)
    exchanged = run(same, grey, Stand(same, lambda pixels: pixels.flip(1))).proof
    assert exchanged.least_cosine == pytest.approx(1)
    (problem,) = exchanged.problems
    assert problem.startswith("all images are grey, and where they are tinted the least cosine is 0.9")
    assert run(same, grey, Stand(same)).proof.passed
    assert "exchanged colours would hardly show" in " ".join(run(same, grey, Stand(same), "int8").proof.cautions)


def test_a_tint_differs_between_channels_and_images() -> None:
    pixels = tinted(torch.full((4, 3, 1, 1), 200, dtype=torch.uint8)).flatten(1)
    assert pixels.tolist() == [[200, 140, 80], [140, 80, 200], [80, 200, 140], [200, 140, 80]]
