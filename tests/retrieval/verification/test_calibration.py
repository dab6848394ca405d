from dataclasses import replace

import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.retrieval.verification import criteria, open_set
from eml.retrieval.verification.calibration import OpenSet, calibrate, chosen, criterion_of, part_of
from eml.retrieval.verification.criteria import DifferentPairs, TopAnswers, UnknownQueries, random_halves
from eml.retrieval.verification.goal_checks import Goal
from eml.retrieval.verification.open_set import acceptance, answers, nearest_classes
from eml.retrieval.verification.pair_rates import all_pairs
from eml.retrieval.verification.thresholds import ends_of_ties, lowest_within


def classes(count: int, each: int, spread: float = 0.6, seed: int = 0) -> OpenSet:
    """Classes around centers that lie around a few centers of their own, so that some are much alike."""
    random = np.random.default_rng(seed)
    families = random.normal(size=(8, 16))
    centers = families[random.integers(8, size=count)] + random.normal(0, 0.7, (count, 16))
    labels = np.repeat(np.arange(count), each)
    embeddings = centers[labels] + random.normal(0, spread, (len(labels), 16))
    everything = np.arange(len(labels))
    return OpenSet(torch.from_numpy(embeddings).float(), labels, everything, everything)


def similarities(data: OpenSet) -> np.ndarray:
    unit = torch.nn.functional.normalize(data.embeddings).numpy()
    return unit @ unit.T


@pytest.mark.parametrize("split", [False, True])
def test_answers_are_those_of_a_plain_loop(split: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_set, "QUERIES", 7)
    monkeypatch.setattr(open_set, "BLOCK", 11)
    data = classes(6, 5)
    data.embeddings[3] = data.embeddings[28]  # a copy in another class
    labels = data.labels.copy()
    labels[29] = 6  # a class of one image
    random = np.random.default_rng(1)
    queries = random.permutation(30)[:20] if split else np.arange(30)
    gallery = random.permutation(30)[:25] if split else np.arange(30)
    groups = random.integers(-1, 3, 30) if split else None
    within = random.integers(0, 2, 30) if split else None
    found = answers(data.embeddings, labels, queries, gallery, groups=groups, within=within)
    listed = nearest_classes(data.embeddings, labels, queries, gallery, within=within)
    cosine = similarities(data)
    for number, query in enumerate(queries):
        there = [g for g in gallery if g != query and (within is None or within[g] == within[query])]
        mine = [
            g
            for g in there
            if labels[g] == labels[query] and (groups is None or groups[g] < 0 or groups[g] != groups[query])
        ]
        others = [g for g in there if labels[g] != labels[query]]
        positive, stranger = (max((cosine[query, g] for g in some), default=-np.inf) for some in (mine, others))
        assert found.positive[number] == pytest.approx(positive, abs=1e-6)
        assert found.stranger[number] == pytest.approx(stranger, abs=1e-6)
        assert found.right[number] == (positive > stranger)
        nearest = {code: max(cosine[query, g] for g in others if labels[g] == code) for code in set(labels[others])}
        ordered = sorted(nearest, key=lambda code: -nearest[code])
        assert listed.code[number, : len(ordered)].tolist() == ordered
        np.testing.assert_allclose(
            listed.similarity[number, : len(ordered)], sorted(nearest.values(), reverse=True), atol=1e-6
        )
        assert (listed.similarity[number, len(ordered) :] == -np.inf).all()


def test_equal_cosines_are_right_by_gallery_index() -> None:
    embeddings = torch.tensor([[1.0, 0], [0.6, 0.8], [0.6, 0.8], [0, 1]])
    assert answers(embeddings, np.array([0, 0, 1, 2])).right.tolist() == [True, False, False, False]
    assert answers(embeddings, np.array([0, 1, 0, 2])).right.tolist() == [False, False, False, False]


def test_what_a_threshold_accepts_is_counted() -> None:
    data = classes(6, 5)
    labels = data.labels.copy()
    labels[29] = 6
    threshold, cosine = 0.9, similarities(data)
    found = acceptance(data.embeddings, labels, threshold)
    same = labels[:, None] == labels
    np.fill_diagonal(cosine, -np.inf)
    top, right = cosine.max(1), same[np.arange(30), cosine.argmax(1)]
    known = np.arange(30) < 29
    accepted = known & (top >= threshold)
    assert 0 < accepted.sum() < 29
    assert (found["known_queries"], found["unknown_queries"]) == (29, 30)
    assert found["accepted"] == pytest.approx(accepted.sum() / 29)
    assert found["precision"] == pytest.approx(right[accepted].mean())
    assert found["recognised"] == pytest.approx((right & accepted).sum() / 29)
    assert found["false_accept_rate"] == pytest.approx((np.where(same, -np.inf, cosine).max(1) >= threshold).mean())
    above = np.triu(np.ones_like(same), 1)
    for name, kind in (("pair_true_accept_rate", same & above), ("pair_false_accept_rate", ~same & above)):
        assert found[name] == pytest.approx((cosine[kind] >= threshold).mean())
    assert found["same_pairs"] + found["different_pairs"] == 435
    assert acceptance(data.embeddings, labels, 2.0)["precision"] is None


def test_the_lowest_threshold_within_keeps_ties_together() -> None:
    similarity, ones = np.array([0.9, 0.8, 0.8, 0.8, 0.5]), np.ones(5)
    allowed = np.array([0.5, 1, 3.9, 4, 5])
    assert lowest_within(similarity, ones, allowed)[1:].tolist() == [0.9, 0.9, 0.8, 0.5]
    assert 0.9 < lowest_within(similarity, ones, allowed)[0] < 0.9001
    assert lowest_within(similarity, np.array([0, 1, 1, 1, 0.0]), allowed)[[3, 4]].tolist() == [0.8, 0.8]
    assert np.isnan(lowest_within(similarity, 0 * ones, allowed)).all()
    assert ends_of_ties(similarity).tolist() == [True, False, False, True, True]


def test_the_threshold_of_unknown_queries_is_the_lowest_that_keeps_to_the_goal() -> None:
    data = classes(10, 6)
    criterion = UnknownQueries.of(data.asked())
    stranger = data.asked().stranger
    for goal in (0.3, 0.1, 1 / 60):
        threshold = criterion.threshold(goal)
        assert (stranger >= np.float32(threshold)).mean() <= goal + 1e-9
        assert (stranger >= np.sort(stranger)[::-1][int(goal * 60 + 1e-9)]).mean() > goal
        assert criterion.rate(threshold) == pytest.approx((stranger >= np.float32(threshold)).mean())


def test_half_of_the_classes_is_half_of_the_gallery_too() -> None:
    data, codes = classes(12, 4, spread=1.2), np.array([1, 2, 5, 7, 8, 11])
    half = np.isin(np.arange(12), codes)
    whole = UnknownQueries.of(data.asked())
    alone = data.among(codes).asked()
    np.testing.assert_allclose(whole.within(half), -np.sort(-alone.stranger), atol=1e-6)
    top, right = TopAnswers.of(data.asked()).within(half)
    np.testing.assert_allclose(top, -np.sort(-alone.top), atol=1e-6)
    assert right.sum() == alone.right.sum() < len(right)


@pytest.mark.parametrize("kind", ["far", "pair_far"])
def test_a_rate_without_each_class_is_that_of_the_other_classes_alone(kind: str) -> None:
    data, threshold = classes(12, 4, spread=1.2), 0.6
    goal = Goal(kind, 0.5)  # type: ignore[arg-type]
    without = criterion_of(goal, data, data.asked()).without_each(threshold)  # type: ignore[attr-defined]
    assert len(np.unique(without.round(6))) > 5
    for code in range(12):
        alone = data.among(np.delete(np.arange(12), code))
        assert without[code] == pytest.approx(criterion_of(goal, alone, alone.asked()).rate(threshold), abs=1e-9)


def test_the_threshold_of_a_precision_is_the_lowest_that_reaches_it() -> None:
    data = classes(10, 6, spread=2.0)
    found = data.asked()
    criterion = TopAnswers.of(found)
    assert found.right.mean() < 0.5
    for goal in (0.5, 0.6):
        fits = [
            each
            for each in found.top
            if found.right[found.top >= each].mean() >= goal and (found.top >= each).sum() * (1 - goal) >= 1 - 1e-9
        ]
        assert criterion.threshold(goal) == pytest.approx(min(fits), abs=1e-7)
        assert criterion.rate(criterion.threshold(goal)) >= goal


def test_pairs_weigh_as_much_as_their_classes_are_drawn() -> None:
    data = classes(7, 4)
    weights = np.array([0, 1, 1, 2, 3, 0, 0.0])
    pairs = DifferentPairs.above(data.embeddings, data.labels, -2.0, 0)
    drawn = np.repeat(np.arange(7), weights.astype(int))
    copies = np.concatenate([np.flatnonzero(data.labels == code) for code in drawn])
    cosine, labels = similarities(data)[np.ix_(copies, copies)], data.labels[copies]
    different = np.triu(labels[:, None] != labels, 1)
    for threshold in (0.2, 0.5, 0.8):
        rate = pairs.rates(np.array([threshold]), weights)[0]
        assert rate == pytest.approx((cosine[different] >= threshold).mean())
    threshold = pairs.thresholds(np.array([0.1]), weights)[0]
    assert (cosine[different] >= threshold - 1e-6).mean() <= 0.1 < (cosine[different] >= threshold - 2e-2).mean()


def test_only_the_pairs_that_are_needed_are_kept_and_many_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    data = classes(40, 10)
    counts = all_pairs(data.embeddings, data.labels)
    whole = DifferentPairs.above(data.embeddings, data.labels, -2.0, 0)
    tail = DifferentPairs.for_rate(data.embeddings, data.labels, counts, 0.01)
    assert len(tail.similarity) < len(whole.similarity) / 5
    assert tail.threshold(0.01) == whole.threshold(0.01)
    assert tail.reaches(0.04)
    assert not tail.reaches(0.2)
    monkeypatch.setattr(criteria, "MOST_PAIRS", 4000)
    thinned = DifferentPairs.for_rate(data.embeddings, data.labels, counts, 0.1)
    assert 3500 < len(thinned.similarity) < 4500
    assert whole.rate(thinned.threshold(0.1)) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("kind", ["far", "pair_far", "precision"])
def test_a_part_of_the_classes_is_as_if_the_others_were_not_there(kind: str) -> None:
    data, codes, goal = classes(20, 6, 0.9), np.arange(3, 14), Goal(kind, 0.1 if kind != "precision" else 0.8)  # type: ignore[arg-type]
    whole = criterion_of(goal, data, data.asked())
    part, alone = part_of(whole, goal, data, data.asked(), codes), data.among(codes)
    plain = criterion_of(goal, alone, alone.asked())
    assert part.classes == 11
    assert part.threshold(goal.value) == pytest.approx(plain.threshold(goal.value), abs=1e-6)


@pytest.mark.parametrize("kind, value", [("far", 0.1), ("pair_far", 0.02), ("precision", 0.9)])
def test_other_classes_keep_to_the_goal_on_average(kind: str, value: float) -> None:
    """Of the same distribution; the threshold that just fits the classes at hand would not do."""
    goal = Goal(kind, value)  # type: ignore[arg-type]
    rates, plain = [], []
    for seed in range(16):
        both = classes(60, 6, 0.45, seed=seed)
        one, other = both.among(np.arange(30)), both.among(np.arange(30, 60))
        first, second = (criterion_of(goal, each, each.asked()) for each in (one, other))
        if isinstance(second, DifferentPairs):
            second = DifferentPairs.above(other.embeddings, other.labels, -2.0, 0)
        rates.append(second.rate(chosen(first, goal, 40, seed).threshold.value))
        plain.append(second.rate(first.threshold(value)))
    if kind == "precision":
        assert np.mean(rates) > value - 0.015
        assert np.mean(rates) >= np.mean(plain)
    else:
        assert np.mean(rates) < 1.1 * value
        assert 0.5 * value < np.mean(rates) < np.mean(plain)


def test_calibration_says_what_was_found() -> None:
    data = classes(30, 8, 0.45)
    found = calibrate(data, Goal("far", 0.1), resamples=60, splits=2)
    assert found.threshold.interval.low < found.threshold.value < found.threshold.interval.high
    assert found.plain <= found.threshold.value
    shown = acceptance(data.embeddings, data.labels, found.threshold.value)
    for name, rate in found.measured.items():
        assert rate.value == pytest.approx(shown[name], abs=1e-6), name
        assert rate.interval.low <= rate.value <= rate.interval.high, name
    assert len(found.held_out) == 4
    assert (found.same.sum(), found.different.sum()) == (shown["same_pairs"], shown["different_pairs"])
    assert found.counts["unknown_queries"] == 240
    strict = calibrate(data, Goal("far", 0.1), strict=True, resamples=60, splits=2)
    assert strict.threshold.value == found.threshold.interval.high
    assert np.mean(strict.held_out) < np.mean(found.held_out)
    again = calibrate(data, Goal("far", 0.1), resamples=60, splits=2)
    assert (again.threshold, again.held_out) == (found.threshold, found.held_out)
    assert calibrate(data, Goal("far", 0.1), resamples=60, splits=2, seed=1).held_out != found.held_out


@pytest.mark.parametrize(
    "goal, told",
    [
        (
            Goal("far", 1e-3),
            r"--far 0\.001 cannot be shown by 120 queries.*--far 0\.017 or more, --pair-far 0\.00059 or m",
        ),
        (Goal("pair_far", 1e-5), "--pair-far 1e-05 cannot be shown by 6,840 pairs"),
        (Goal("precision", 0.999), r"--precision 0\.999 cannot be shown by 120 .*--precision 0\.983 or less"),
        (
            Goal("precision", 0.98),
            r"reached by no threshold that accepts 50 answers or more; the highest is 0\.\d+, with",
        ),
        (Goal("far", 0.02), "cannot be expected of other classes, so much do these 20 differ"),
    ],
)
def test_a_goal_that_the_images_cannot_support_is_refused(goal: Goal, told: str) -> None:
    with pytest.raises(DataError, match=told):
        calibrate(classes(20, 6, 1.2), goal, resamples=40, splits=1)


def test_a_precision_that_is_not_reached_is_told_of_cosines_that_are_accepted_together() -> None:
    labels = np.repeat(np.arange(20), 4)
    alike = OpenSet(torch.ones(80, 4), labels, np.arange(80), np.arange(80))
    with pytest.raises(DataError, match=r"the highest is 0\.\d+, with 80 accepted at 1\.0000"):
        calibrate(alike, Goal("precision", 0.9), resamples=40, splits=1)


def test_a_half_without_queries_says_nothing() -> None:
    data = classes(12, 5)
    asked = replace(data, queries=data.queries[data.labels[data.queries] < 2])
    criterion = UnknownQueries.of(asked.asked())
    found = criterion.resampled(np.array([0.3]), 60, 0)
    none = np.array([not half[:2].any() for half in random_halves(12, 60, 0)])
    assert 0 < none.sum() < 60
    assert np.isnan(found.rates[none]).all()
    assert not np.isnan(found.rates[~none]).any()


def test_too_few_classes_and_images_without_positives_are_refused() -> None:
    with pytest.raises(DataError, match="1 class: a threshold is chosen on half"):
        calibrate(classes(1, 5), Goal("far", 0.2))
    with pytest.raises(DataError, match="3 classes: a threshold is chosen on half"):
        calibrate(classes(3, 5), Goal("far", 0.2))
    with pytest.raises(DataError, match="0 pairs are of the same class"):
        calibrate(classes(30, 1), Goal("far", 0.2))
    data = classes(5, 5)
    data.embeddings[7, 0] = torch.nan
    with pytest.raises(DataError, match="row 7"):
        calibrate(data, Goal("far", 0.2))
