from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from eml.errors import DataError
from eml.images.loading import EpochBatches
from eml.images.samplers import Classes, Sampler
from eml.images.samplers._class_batches import allocate_counts, schedule_items
from eml.images.samplers.balanced import Balanced
from eml.images.samplers.per_category import PerCategory, category_of_classes
from eml.images.samplers.per_class import PerClass
from eml.images.samplers.shuffle import Shuffle

BATCH = 12
SAMPLERS: list[Sampler] = [
    Shuffle(),
    Shuffle(max_per_class=3),
    PerClass(per_class=2),
    PerClass(per_class=4, max_per_class=6),
    PerClass(per_class=3, max_repeats=2),
    PerClass(per_class=4, max_per_class=9, max_repeats=3),
    Balanced(),
    Balanced(power=0, max_repeats=2),
    Balanced(images=100, max_per_class=4),
    PerCategory(per_class=2),
    PerCategory(per_class=3, categories=2),
    PerCategory(per_class=3, max_per_class=5),
    PerCategory(per_class=3, max_repeats=2),
]


def of(counts: list[int] | NDArray[np.int64], seed: int = 0, categories: int = 3) -> Classes:
    """Shuffled rows with so many images of each class; each class of one of the categories, or of none."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    return Classes(labels, random.integers(-1, categories, len(counts))[labels])


def worlds() -> list[Classes]:
    """Equal classes, one class, singles, long tails, one huge class, and whatever comes."""
    random = np.random.default_rng(5)
    fixed: list[list[int]] = [[20], [1] * 30, [7] * 9, [8] * 12, [300] + [3] * 20, [40, 40, *[1] * 25]]
    tails = [np.ceil(60 / np.arange(1, 31) ** power).astype(np.int64) for power in (0.5, 1, 2)]
    rest = [random.integers(1, random.integers(2, 40), random.integers(6, 40)) for _ in range(12)]
    return [of(counts, seed) for seed, counts in enumerate([*fixed, *tails, *rest])]


def usable(sampler: Sampler, atleast: int = 10) -> list[Classes]:
    """The worlds that the sampler can make batches of."""
    found = []
    for classes in worlds():
        try:
            sampler.check(classes, BATCH, "folds.csv")
        except DataError:
            continue
        found.append(classes)
    assert len(found) >= atleast
    return found


def groups(sampler: PerClass | PerCategory, classes: Classes, epoch: int) -> NDArray[np.int64]:
    """(steps, P, K) labels of an epoch."""
    order = sampler.epoch(classes, BATCH, 3, epoch)
    return classes.labels[order].reshape(len(order), -1, sampler.per_class)


def test_every_member_of_the_family_is_tested_here() -> None:
    assert {sampler.type for sampler in SAMPLERS} == set(Sampler.members())


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_an_epoch_has_as_many_batches_as_steps_says_of_valid_rows(sampler: Sampler) -> None:
    for classes in usable(sampler):
        steps = sampler.steps(classes, BATCH)
        for epoch in (1, 2, 9):
            order = sampler.epoch(classes, BATCH, seed=3, epoch=epoch)
            assert len(order) == steps > 0
            grouped = isinstance(sampler, PerClass | PerCategory)
            assert order.shape[1] == BATCH or (order.shape[1] < BATCH and steps == 1 and not grouped)
            assert order.dtype == np.int64
            assert 0 <= order.min() <= order.max() < len(classes.labels)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_an_epoch_is_a_pure_function_of_seed_and_epoch(sampler: Sampler) -> None:
    classes = of([9, 3, 5, 30, 4, 4, 4, 6, 2, 8, 11, 5])
    expected = sampler.epoch(classes, BATCH, 3, 2)
    sampler.epoch(classes, BATCH, 8, 1)
    again = type(sampler).model_validate(sampler.model_dump())
    np.testing.assert_array_equal(again.epoch(Classes(classes.labels, classes.categories), BATCH, 3, 2), expected)
    for seed, epoch in ((4, 2), (3, 3)):
        assert not np.array_equal(sampler.epoch(classes, BATCH, seed, epoch), expected)


def test_shuffle_gives_the_permutation_of_seed_and_epoch_without_the_rows_of_a_last_batch_that_is_not_full() -> None:
    for size in (30, 24, 7):
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([28, 4])))
        order = Shuffle().epoch(Classes(np.zeros(size, np.int64)), BATCH, 28, 4)
        steps = max(1, size // BATCH)
        assert order.reshape(-1).tolist() == random.permutation(size)[: steps * min(size, BATCH)].tolist()


def test_shuffle_has_no_row_twice() -> None:
    for sampler in (Shuffle(), Shuffle(max_per_class=3)):
        for classes in usable(sampler):
            order = sampler.epoch(classes, BATCH, 1, 1)
            assert len(np.unique(order)) == order.size


@pytest.mark.parametrize("sampler", [each for each in SAMPLERS if isinstance(each, PerClass | PerCategory)], ids=str)
def test_a_batch_has_p_classes_with_k_images_each(sampler: PerClass | PerCategory) -> None:
    for classes in usable(sampler):
        for epoch in (1, 2):
            labels = groups(sampler, classes, epoch)
            assert (labels == labels[:, :, :1]).all()
            assert all(len(set(batch)) == BATCH // sampler.per_class for batch in labels[:, :, 0].tolist())


@pytest.mark.parametrize("sampler", [each for each in SAMPLERS if isinstance(each, PerClass | PerCategory)], ids=str)
def test_no_image_comes_again_before_all_of_its_class_have_come(sampler: PerClass | PerCategory) -> None:
    for classes in usable(sampler):
        order = sampler.epoch(classes, BATCH, 3, 1).reshape(-1)
        for label, count in enumerate(classes.counts):
            draw_batches = order[classes.labels[order] == label]
            taken = min(count, sampler.max_per_class or count)
            for first in range(len(draw_batches)):
                stretch = draw_batches[first : first + taken]
                assert len(set(stretch.tolist())) == len(stretch)


@pytest.mark.parametrize("sampler", [PerClass(per_class=2), PerClass(per_class=4), PerCategory(per_class=2)], ids=str)
def test_every_image_comes_in_every_epoch(sampler: Sampler) -> None:
    for classes in usable(sampler):
        for epoch in (1, 2):
            assert len(np.unique(sampler.epoch(classes, BATCH, 3, epoch))) == len(classes.labels)


def test_per_class_has_as_few_batches_as_can_cover_everything() -> None:
    """A batch has P groups, none of them two of one class: neither bound below can be beaten."""
    sampler = PerClass(per_class=4)
    for classes in usable(sampler):
        groups_of_class = [-(-int(count) // 4) for count in classes.counts]
        assert sampler.steps(classes, BATCH) == max(-(-sum(groups_of_class) // 3), max(groups_of_class))


def test_repeats_are_spread_over_the_images() -> None:
    """One class of 300 lasts 75 batches of 3 groups; the other two groups go round 60 images of 20 classes."""
    order = PerClass(per_class=4).epoch(of([300, *[3] * 20]), BATCH, 0, 1)
    numbers = np.sort(np.bincount(order.reshape(-1)))
    assert set(numbers[:300]) == {1}
    assert numbers[300:].sum() == 600
    assert (numbers[300:].min(), numbers[300:].max()) == (9, 11)


@pytest.mark.parametrize("sampler", [each for each in SAMPLERS if getattr(each, "max_repeats", None)], ids=str)
def test_max_repeats_limits_how_often_a_image_comes(sampler: PerClass | PerCategory | Balanced) -> None:
    assert sampler.max_repeats is not None
    for classes in usable(sampler):
        order = sampler.epoch(classes, BATCH, 3, 1).reshape(-1)
        numbers = np.bincount(order, minlength=len(classes.labels))
        allowed = np.full(len(numbers), sampler.max_repeats)
        if not isinstance(sampler, Balanced):  # a class that is smaller than a group fills it nevertheless
            taken = np.minimum(classes.counts, sampler.max_per_class or 10**9)
            filled = -(-(-(-taken // sampler.per_class) * sampler.per_class) // taken)
            allowed = np.maximum(allowed, filled[classes.labels])
        assert (numbers <= allowed).all()


@pytest.mark.parametrize("sampler", [Shuffle(max_per_class=3), PerClass(per_class=2, max_per_class=4)], ids=str)
def test_the_images_taken_under_max_per_class_rotate_until_all_were_there(sampler: Shuffle | PerClass) -> None:
    limit = sampler.max_per_class
    assert limit is not None
    classes = of([12, 24, 5, 2, 7, 9, 12, 12])  # a multiple of the batch with limit 4 and K 2: no filling group
    seen: list[set[int]] = [set(sampler.epoch(classes, 2 * limit, 0, epoch).reshape(-1)) for epoch in range(1, 41)]
    for label, count in enumerate(classes.counts):
        rows = set(np.flatnonzero(classes.labels == label))
        if isinstance(sampler, PerClass):
            assert all(len(epoch & rows) == min(limit, count) for epoch in seen)
            needed = -(-int(count) // limit)
            assert set().union(*seen[:needed]) >= rows, "none is left over for a second round"
        assert all(len(epoch & rows) <= limit for epoch in seen)
        assert set().union(*seen) >= rows


def test_all_pairs_of_classes_meet() -> None:
    met: set[tuple[int, int]] = set()
    for epoch in range(1, 31):
        for batch in groups(PerClass(per_class=6), of([12] * 8), epoch)[:, :, 0].tolist():
            met.add((min(batch), max(batch)))
    assert len(met) == 28


def test_a_large_class_is_spread_over_the_epoch() -> None:
    order = groups(PerClass(per_class=2), of([50, *[4] * 163]), 1)[:, :, 0]
    batches = np.flatnonzero((order == 0).any(axis=1))
    assert (len(batches), len(order)) == (28, 59), "25 to come once, and the three places left over"
    assert np.diff(batches).max() < 12


def test_a_schedule_holds_each_item_as_often_as_asked_and_never_twice_in_a_batch() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        steps, per_batch = int(random.integers(1, 12)), int(random.integers(1, 9))
        total, counts = steps * per_batch, []
        while total:
            counts.append(int(random.integers(1, min(total, steps) + 1)))
            total -= counts[-1]
        table = schedule_items(np.array(counts), per_batch, random)
        assert np.bincount(table.reshape(-1)).tolist() == counts
        assert all(len(set(batch)) == per_batch for batch in table.tolist())


def test_what_is_allotted_keeps_its_bounds_and_its_sum() -> None:
    random = np.random.default_rng(1)
    for _ in range(200):
        wanted = random.integers(1, 9, 10)
        limit = wanted + random.integers(0, 9, 10)
        total = int(random.integers(1, limit.sum() + 1))
        counts = allocate_counts(wanted, limit, total, random.integers(1, 99, 10), random)
        assert counts.sum() == total
        assert (counts <= limit).all()
        assert (counts >= (wanted if total >= wanted.sum() else wanted * total // wanted.sum())).all()


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_balanced_numbers_are_those_of_the_power_to_one_in_every_epoch_and_over_all(power: float) -> None:
    classes = of([1, 4, 9, 16, 25, 36, 49, 64, 81, 100])
    sampler, total = Balanced(power=power), 32 * BATCH
    weights = classes.counts**power
    expected = total * weights / weights.sum()
    numbers = np.zeros(10, np.int64)
    for epoch in range(1, 41):
        here = np.bincount(classes.labels[sampler.epoch(classes, BATCH, 3, epoch).reshape(-1)], minlength=10)
        assert (np.abs(here - expected) < 1 + 1e-9).all()
        numbers += here
    assert (np.abs(numbers - 40 * expected) < 3).all()


def test_balanced_goes_through_a_class_before_it_repeats_over_epochs_too() -> None:
    classes = of([50, 5, 7, 1, 30])
    order = np.concatenate([Balanced(images=24).epoch(classes, BATCH, 3, epoch).reshape(-1) for epoch in range(1, 40)])
    for label, count in enumerate(classes.counts):
        draw_batches = order[classes.labels[order] == label]
        assert len(draw_batches) > 2 * count
        for first in range(len(draw_batches)):
            stretch = draw_batches[first : first + count]
            assert len(set(stretch.tolist())) == len(stretch)


def test_balanced_gives_what_a_limit_cuts_off_to_the_others() -> None:
    classes = of([100, 100, 2, 2])
    order = Balanced(power=0, max_repeats=5).epoch(classes, BATCH, 0, 1)
    assert np.bincount(classes.labels[order.reshape(-1)]).tolist() == [92, 92, 10, 10]
    order = Balanced(power=1, max_per_class=7).epoch(classes, BATCH, 0, 1)
    assert order.shape == (1, BATCH), "of the 18 that are allowed"


def test_the_classes_of_a_batch_share_a_category() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(24), 7))
    for categories in (1, 2):
        sampler, classes = PerCategory(per_class=3, categories=categories), Classes(labels, labels % 4)
        kinds = groups(sampler, classes, 1)[:, :, 0] % 4
        blocks = kinds.reshape(len(kinds), categories, -1)
        assert (blocks == blocks[:, :, :1]).all()
        assert all(len(set(batch)) == categories for batch in blocks[:, :, 0].tolist())
        assert set(kinds.reshape(-1)) == {0, 1, 2, 3}


def test_categories_with_too_few_classes_share_batches_as_wholes_and_are_reported() -> None:
    labels = np.repeat(np.arange(20), 6)
    category = np.array([0] * 8 + [1] * 8 + [2, 2, 3, -1])[labels]
    sampler, classes = PerCategory(per_class=3), Classes(labels, category)
    kinds = category[::6][groups(sampler, classes, 1)[:, :, 0]]
    assert {frozenset(batch) for batch in kinds.tolist()} == {frozenset({0}), frozenset({1}), frozenset({2, 3, -1})}
    _, small, blank = sampler.notes(classes, BATCH, [f"c{label}" for label in range(20)])
    assert small.startswith("2 of 4 categories have fewer than the 4 classes that a batch uses of a category")
    assert blank == "1 of 20 classes have no category and form a category of their own"
    labels = np.repeat(np.arange(32), np.repeat([3, 6, 9, 12], 8))  # pairs of classes, of which eight make two batches
    classes = Classes(labels, labels // 2)
    kinds = groups(sampler, classes, 1)[:, :, 0] // 2
    assert len({kind // 4 for kind in set(kinds.reshape(-1))}) == 4
    assert (kinds // 4 == kinds[:, :1] // 4).all(), "classes of like size stay together"


def test_a_class_counts_to_the_category_of_most_of_its_images() -> None:
    classes = Classes(np.array([0, 0, 0, 1, 1, 2]), np.array([4, 1, 4, 2, 0, -1]))
    assert category_of_classes(classes).tolist() == [4, 0, -1]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_share_every_batch_and_no_position(world: int) -> None:
    order = PerClass(per_class=2).epoch(of([5, 6, 7, 8, 9, 10, 11]), 10, 0, 2)
    whole = list(EpochBatches(order, 2, 1))
    parts = [list(EpochBatches(order, 2, 1, rank=rank, world=world)) for rank in range(world)]
    assert [key for batch in whole for key in batch] == [
        (2, step * 10 + place, order[step, place]) for step in range(1, len(order)) for place in range(10)
    ]
    for step, batch in enumerate(whole):
        assert [key for part in parts for key in part[step]] == batch
        assert max(len(part[step]) for part in parts) - min(len(part[step]) for part in parts) <= 1
    assert {len(EpochBatches(order, 2, 1, rank=rank, world=world)) for rank in range(world)} == {len(whole)}


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_an_epoch_taken_up_in_its_middle_goes_on_with_the_same_keys(sampler: Sampler) -> None:
    classes = of([9, 13, 5, 30, 14, 4, 4, 6, 12, 8, 11, 5])
    keys = list(EpochBatches(sampler.epoch(classes, BATCH, 3, 2), 2))
    again = EpochBatches(sampler.epoch(classes, BATCH, 3, 2), 2, first_step=len(keys) // 2)
    assert list(again) == keys[len(keys) // 2 :]
    positions = Counter(position for batch in keys for _, position, _ in batch)
    assert positions == Counter(range(len(keys) * BATCH))


def test_notes_report_repeats_and_a_limit_that_reduces_them() -> None:
    classes = of([300, *[6] * 30, 2])
    notes = PerClass(per_class=3).notes(classes, BATCH, [f"c{label}" for label in range(32)])
    assert notes == [
        "sampler per_class: 100 batches per epoch, 60% of their images are repeats",
        "1 of 32 classes have fewer than per_class 3 images, which occur several times in a batch. "
        "Leave them out with: eml filter DATASET --min-per-class 3",
        "sampler.max_per_class: 48 uses at most 48 images of a class per epoch, other ones in the next, and has 4% "
        "repeats: small classes repeat until the largest is used up",
    ]
    order = PerClass(per_class=3).epoch(classes, BATCH, 0, 1)
    assert len(np.unique(order)) / order.size == pytest.approx(0.4, abs=0.005)
    order = PerClass(per_class=3, max_per_class=48).epoch(classes, BATCH, 0, 1)
    assert len(np.unique(order)) / order.size == pytest.approx(0.96, abs=0.005)
    assert Shuffle().notes(classes, BATCH, []) == []


def test_too_few_classes_are_reported_with_advice() -> None:
    with pytest.raises(DataError) as error:
        PerClass().check(of([9] * 10), 64, "folds.csv")
    assert str(error.value) == (
        "folds.csv: 10 classes to train on; sampler 'per_class' needs 16 in a batch (batch_size 64 / per_class 4). "
        "Set batch_size: 40, or sampler.per_class: 8"
    )
    PerClass().check_batch_size(40)
    PerClass(per_class=8).check_batch_size(64)
    labels = np.repeat(np.arange(40), 4)
    with pytest.raises(DataError, match=r"2 categories \(column 'category'\) .* Set sampler\.categories: 2"):
        PerCategory(categories=4).check(Classes(labels, labels % 2), 64, "folds.csv")
