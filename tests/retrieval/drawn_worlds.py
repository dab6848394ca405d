"""Classes drawn from a population whose truth can be drawn again: families of alike classes, and images around them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.retrieval.answer_calibration import AnswerCalibration
from eml.retrieval.answers.fitting import fit_answers
from eml.retrieval.answers.gallery_samples import LabelledImages, sample_gallery
from eml.retrieval.answers.reliability import expected_error
from eml.retrieval.answers.samples import Scoring
from eml.retrieval.class_answers import ClassAnswers, answer_by_classes

SIZE, FAMILIES, IMAGES = 16, 10, 12
ONE = (Scoring("nearest", 0.1),)


@dataclass(frozen=True)
class World:
    """An index, a calibration set of classes that are not in it, and later queries of known and of unknown classes."""

    index: Tensor
    codes: NDArray[np.int64]
    names: list[str]
    trained: list[str]
    calibration: LabelledImages
    queries: Tensor
    truth: NDArray[np.int64]
    classes: NDArray[np.int64]

    @property
    def tiles(self) -> list[tuple[Tensor, NDArray[np.int64]]]:
        return [(self.index, self.codes)]

    def calibrate(self, far: float = 0.1, scorings: tuple[Scoring, ...] = ONE) -> AnswerCalibration:
        samples = sample_gallery(self.calibration, self.tiles, self.names, self.trained, scorings)
        return fit_answers(samples, far=far, gallery="index")

    def answer(self, calibration: AnswerCalibration) -> ClassAnswers:
        return answer_by_classes(
            self.queries, self.tiles, len(self.names), calibration.method, temperature=calibration.temperature
        )


def draw_world(seed: int, *, calibrated: int = 25, indexed: int = 50, trained: int = 20, unknown: int = 40) -> World:
    random = np.random.default_rng(seed)
    families = np.random.default_rng(0).normal(size=(FAMILIES, SIZE))
    count = indexed + calibrated + unknown
    centers = families[random.integers(FAMILIES, size=count)] + 0.9 * random.normal(size=(count, SIZE))
    noise = np.where(np.arange(count) < trained, 0.45, 0.6)  # classes that were trained on are closer together

    def images(classes: NDArray[np.int64], each: int) -> tuple[Tensor, NDArray[np.int64]]:
        labels = np.repeat(classes, each)
        drawn = centers[labels] + noise[labels, None] * random.normal(size=(len(labels), SIZE))
        return torch.from_numpy(drawn).float(), labels

    index, codes = images(np.arange(indexed), IMAGES)
    spare, labels = images(np.arange(indexed, indexed + calibrated), IMAGES)
    known, of_known = images(np.arange(indexed), 16)
    strangers, of_unknown = images(np.arange(indexed + calibrated, count), 5)  # a share of .2
    names = [f"class {code}" for code in range(count)]
    return World(
        index,
        codes,
        names[:indexed],
        names[:trained],
        LabelledImages(spare, [names[code] for code in labels]),
        torch.cat([known, strangers]),
        np.concatenate([of_known, np.full(len(of_unknown), -1)]),
        np.concatenate([of_known, of_unknown]),
    )


def errors(world: World, calibration: AnswerCalibration) -> tuple[float, float]:
    """Return the expected calibration error and the false-accept rate on the later queries."""
    answers = world.answer(calibration)
    right = (answers.best == world.truth) & (world.truth >= 0)
    chance = calibration.probabilities(answers)[0]
    error = expected_error(chance, right, np.ones(len(right)), world.classes).value
    return error, float((~calibration.unknown(answers))[world.truth < 0].mean())
