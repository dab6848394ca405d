"""Probabilities of answers: they hold on later queries of a population whose truth can be drawn again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import special

from eml.errors import DataError
from eml.retrieval.answer_calibration import AnswerCalibration, set_interval
from eml.retrieval.answers.drift import measure_drift
from eml.retrieval.answers.fitting import fit_answers
from eml.retrieval.answers.gallery_samples import join_samples, sample_gallery
from eml.retrieval.answers.maps import choose_map, fit_isotonic, fit_logistic
from eml.retrieval.answers.reliability import expected_error, reliability_bins
from eml.retrieval.answers.samples import SCORINGS, draw_queries, sample_open_set
from eml.retrieval.class_answers import rank_classes
from eml.retrieval.verification.open_set import OpenSet
from tests.retrieval.drawn_worlds import ONE, draw_world, errors


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_probabilities_and_false_accepts_hold_on_later_queries() -> None:
    worlds = [draw_world(seed) for seed in range(3)]
    calibrations = [world.calibrate(0.1) for world in worlds]
    found = np.array([errors(world, calibration) for world, calibration in zip(worlds, calibrations, strict=True)])
    assert found[:, 0].mean() < 0.04
    assert 0.05 < found[:, 1].mean() < 0.17
    inside = [
        low <= rate <= high
        for (low, high), rate in zip((c.false_accept_interval(40, 5) for c in calibrations), found[:, 1], strict=True)
    ]
    assert sum(inside) >= 2
    shares = [
        calibration.estimate_unknown_share(world.answer(calibration))
        for world, calibration in zip(worlds, calibrations, strict=True)
    ]
    assert np.mean(shares) == pytest.approx(0.2, abs=0.04)  # as drawn


@pytest.mark.wide
@pytest.mark.parametrize(("calibrated", "trained", "unknown"), [(30, 50, 30), (10, 50, 10), (10, 20, 10), (25, 20, 40)])
def test_the_promise_holds_on_average_and_its_interval_covers(calibrated: int, trained: int, unknown: int) -> None:
    rates, covered, off = [], [], []
    for seed in range(60):
        world = draw_world(100 + seed, calibrated=calibrated, trained=trained, unknown=unknown)
        calibration = world.calibrate(0.1)
        error, rate = errors(world, calibration)
        low, high = calibration.false_accept_interval(unknown, 5)
        rates.append(rate)
        covered.append(low <= rate <= high)
        off.append(error)
    assert np.mean(rates) == pytest.approx(0.1, abs=0.025)
    assert np.mean(covered) >= 0.88
    assert np.mean(off) < 0.05


def test_a_gallery_of_more_classes_raises_the_threshold() -> None:
    """The nearest of many classes is nearer: the index's own gallery counts, not that of the calibration set."""
    world = draw_world(3, indexed=60)
    few = replace(world, index=world.index[world.codes < 6], codes=world.codes[world.codes < 6], names=world.names[:6])
    small, large = few.calibrate(0.1), world.calibrate(0.1)
    worse = small.unknown(world.answer(small))[world.truth < 0]
    assert (~worse).mean() > 2 * errors(world, large)[1]
    assert (small.counts["gallery_classes"], large.counts["gallery_classes"]) == (6, 60)


def open_set(seed: int, classes: int = 14, images: int = 8) -> OpenSet:
    world = draw_world(seed, calibrated=classes, indexed=1, trained=0, unknown=1)
    labels = np.repeat(np.arange(classes), 12)
    rows = np.flatnonzero(np.arange(len(labels)) % 12 < images)
    return OpenSet.leave_one_out(torch.as_tensor(world.calibration.embeddings)[rows], labels[rows])


@pytest.mark.parametrize("scoring", SCORINGS[1:])
def test_answers_of_a_set_are_those_of_a_gallery_without_the_query_or_without_its_class(scoring) -> None:  # type: ignore[no-untyped-def]
    data = open_set(1)
    sample = sample_open_set(data, scoring)
    for query in range(0, len(data.labels), 17):
        for gone, answers in (
            (np.arange(len(data.labels)) == query, sample.known),
            (data.labels == data.labels[query], sample.unknown),
        ):
            tile = (data.embeddings, np.where(gone, -1, data.labels))
            plain = rank_classes(
                data.embeddings[query : query + 1],
                [tile],
                data.classes,
                scoring.method,
                temperature=scoring.temperature,
            ).answers()
            for name in ("score", "runner_up_score", "cosine", "supporters", "size"):
                expected = getattr(plain, name)[0]
                assert getattr(answers, name)[query] == pytest.approx(expected, abs=3e-6), (query, name)
            if answers is sample.known:
                assert sample.right[query] == (plain.best[0] == data.labels[query])
                assert sample.second_right[query] == (plain.runner_up[0] == data.labels[query])


def test_a_set_keeps_to_groups_values_and_unknown_identities() -> None:
    data = open_set(2, classes=6, images=6)
    groups = np.arange(len(data.labels)) % 2
    apart = sample_open_set(replace(data, groups=groups), ONE[0])
    assert set(apart.known.size[apart.right].tolist()) == {3}
    split = sample_open_set(replace(data, within=(data.labels >= 3).astype(np.int64)), ONE[0])
    assert ((split.unknown.best >= 3) == (split.unknown_classes >= 3)).all()
    strangers = data.labels >= 4
    labels = np.where(strangers, 4 + np.cumsum(strangers) - 1, data.labels)
    open_ = sample_open_set(replace(data, labels=labels, unknown=strangers), ONE[0])
    assert (open_.known_classes < 4).all()
    assert (open_.unknown.best[open_.unknown_classes >= 4] < 4).all()


def test_the_share_of_unknown_queries_moves_all_probabilities() -> None:
    world = draw_world(5)
    calibration = world.calibrate()
    answers = world.answer(calibration)
    low, middle, high = (
        calibration.with_unknown_share(share).probabilities(answers)[0].mean() for share in (0.02, 0.2, 0.8)
    )
    assert low > middle > high
    assert calibration.with_unknown_share(0).known_probability(answers).min() == 1
    assert calibration.with_unknown_share(1).probabilities(answers)[0].max() == 0


def test_a_calibration_is_the_same_after_json() -> None:
    world = draw_world(6)
    calibration = world.calibrate(scorings=SCORINGS)
    again = AnswerCalibration.model_validate_json(calibration.model_dump_json())
    assert again == calibration
    answers = world.answer(calibration)
    first, second = calibration.probabilities(answers)
    assert np.array_equal(again.probabilities(answers)[0], first)
    assert ((second <= first) & (first + second <= 1) & (second >= 0)).all()
    pairs = calibration.pair_probability(np.array([[-1.0, 0.2], [0.7, 0.95]]))
    assert pairs.shape == (2, 2)
    assert (np.diff(pairs.ravel()) >= 0).all()


def test_maps_recover_known_odds_and_hold_out_whole_classes() -> None:
    random = np.random.default_rng(0)
    values, other = random.normal(size=6000), random.normal(size=6000)
    right = random.random(6000) < special.expit(1.5 * values - 0.5)
    even, classes = np.ones(6000), np.arange(6000) % 40
    line = fit_logistic({"score": values, "gap": other}, right, even)
    assert (line.weights["score"], line.bias) == pytest.approx((1.5, -0.5), abs=0.12)
    simple, all_facts = ("logistic", ("score",)), ("logistic", ("score", "gap"))
    facts = {"score": values, "gap": other}
    chosen, held_out = choose_map([simple, all_facts, ("isotonic", ("score",))], facts, right, even, classes, classes)
    assert (chosen.kind, set(chosen.weights)) == ("logistic", {"score"})
    assert expected_error(special.expit(held_out.log_odds), right, even, classes).value < 0.03
    bent = random.random(6000) < np.where(values > 0, 0.9, 0.3)  # a step, which no line fits
    step = choose_map([simple, ("isotonic", ("score",))], facts, bent, even, classes, classes)[0]
    assert step.kind == "isotonic"
    assert step.probability({"score": np.array([-1.0, 1.0])}) == pytest.approx([0.3, 0.9], abs=0.05)
    against = fit_logistic({"score": -values}, right, even)
    assert against.probability({"score": np.array([-1.0, 1.0])}) == pytest.approx([right.mean()] * 2, abs=1e-3)
    perfect = fit_isotonic({"score": np.arange(8.0)}, np.arange(8) > 3, np.ones(8))
    assert perfect.probability({"score": np.array([-9.0, 99.0])}) == pytest.approx([0.1, 0.9])  # 1 − 1/(N + 2)


def test_bins_name_probabilities_that_are_off() -> None:
    random = np.random.default_rng(1)
    chance, classes = random.random(4000), np.arange(4000) % 50
    right = random.random(4000) < np.where(chance < 0.9, chance, 0.6)
    bins = reliability_bins(chance, right, np.ones(4000), classes)
    off = [round(bin_.low, 1) for bin_ in bins if bin_.is_off]
    assert 0.9 in off
    assert len(off) <= 2  # one in twenty is off by chance
    assert sum(bin_.answers for bin_ in bins) == 4000


def test_sets_of_few_images_vary_more_than_those_of_many() -> None:
    rates = [0.0] * 15 + [0.2] * 5
    narrow, wide, with_images = (set_interval(rates, *size) for size in ((500,), (10,), (10, 3)))
    assert narrow[1] - narrow[0] < wide[1] - wide[0] < with_images[1] - with_images[0]
    assert narrow[0] < 0.05 < narrow[1]


def test_joined_samples_keep_their_classes_apart() -> None:
    sample = sample_open_set(open_set(3), ONE[0])
    both = join_samples([sample, sample])
    assert len(np.unique(both.known_classes)) == 2 * len(np.unique(sample.known_classes))
    assert np.array_equal(both.near_same[: len(sample.known)], sample.near_same[: len(sample.known)])
    assert fit_answers([both]).counts["unknown_classes"] == 28


def test_queries_are_drawn_evenly_from_the_classes() -> None:
    labels = np.repeat([0, 1, 2], [100, 10, 3])
    chosen = draw_queries(labels, seed=0, most=23)
    assert np.bincount(labels[chosen]).tolist() == [10, 10, 3]


def test_too_few_classes_are_an_error() -> None:
    with pytest.raises(DataError, match="3 classes with answers: probabilities of answers need at least 4"):
        fit_answers([sample_open_set(open_set(4, classes=3), ONE[0])])
    world = draw_world(7, calibrated=0, indexed=5, trained=5)
    with pytest.raises(DataError, match="0 classes"):
        fit_answers(sample_gallery(None, world.tiles, world.names, world.trained, ONE))


def test_drift_tells_other_scores_from_another_share_of_unknown_queries() -> None:
    world = draw_world(9)
    calibration = world.calibrate()
    answers = world.answer(calibration)
    same = measure_drift(calibration, answers)
    assert not same.is_large
    assert same.advice == "the answers are distributed as at calibration"
    assert same.unknown_rate == pytest.approx(same.expected_unknown_rate, abs=0.1)
    strangers = measure_drift(calibration, answers.of(np.flatnonzero(world.truth < 0)))
    assert not strangers.is_large
    assert strangers.estimated_share > 0.85
    assert "are of unknown classes, where 20% were assumed: set `unknown_share` to" in strangers.advice
    dimmed = replace(answers, score=0.9 * answers.score, runner_up_score=0.9 * answers.runner_up_score)
    high = measure_drift(calibration, dimmed.of(np.flatnonzero(world.truth >= 0)))
    assert high.is_large
    assert "calibrate again, with such images" in high.advice
