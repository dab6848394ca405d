"""Mixed batches: what is drawn, what becomes of the pixels, and that the shares are those of the pixels."""

import numpy as np
import pytest
import torch
from torch import Tensor

from eml.images.mixes import Mix, Mixed
from eml.images.mixes.cutmix import CutMix
from eml.images.mixes.mixup import Mixup
from eml.images.mixes.mixup_or_cutmix import MixupOrCutMix

SETTINGS = [{}, {"share": "image"}]
EVERY = [member.model_validate({"type": name, **each}) for name, member in Mix.members().items() for each in SETTINGS]


def constant(count: int, height: int = 9, width: int = 7) -> Tensor:
    """Image i is i all over: (count, 3, height, width), channels last as the engine has it."""
    images = torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, 3, height, width)
    return images.contiguous(memory_format=torch.channels_last)


def mixed(mix: Mix, images: Tensor, step: int = 0, seed: int = 0) -> Mixed:
    done = mix(images, seed=seed, step=step, steps=1000)
    assert done is not None
    return done


@pytest.mark.parametrize("mix", EVERY, ids=str)
def test_a_batch_is_mixed_as_a_pure_function_of_seed_and_step(mix: Mix) -> None:
    images = torch.randn(6, 3, 8, 8)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = mixed(mix, images, step=3)
    mixed(mix, images, step=4)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    again = mixed(mix, images, step=3)
    for name in ("images", "partners", "share"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    for step, seed in ((4, 0), (3, 1)):
        assert not torch.equal(mixed(mix, images, step, seed).images, first.images)


@pytest.mark.parametrize("mix", EVERY, ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (5, 3, 9, 7), (3, 3, 1, 1), (1, 3, 4, 4)])
def test_shapes_partners_and_shares_fit_and_the_batch_itself_is_left_alone(mix: Mix, shape: tuple[int, ...]) -> None:
    images = torch.randn(shape).to(memory_format=torch.channels_last)
    before = images.clone()
    for step in range(20):
        done = mixed(mix, images, step)
        assert torch.equal(images, before)
        assert done.images.shape == shape
        assert done.images.is_contiguous(memory_format=torch.channels_last)
        assert sorted(done.partners.tolist()) == list(range(shape[0]))
        assert done.share.shape == shape[:1]
        assert done.share.dtype == torch.float32
        assert bool(((done.share >= 0) & (done.share <= 1)).all())
        if mix.share == "batch":
            assert len(done.share.unique()) == 1


@pytest.mark.parametrize("mix", EVERY, ids=str)
def test_the_share_of_a_label_is_that_of_its_image_in_the_pixels(mix: Mix) -> None:
    """Of images of one colour the mean colour is share·own + (1−share)·partner's, mixed either way."""
    images = constant(6)
    for step in range(30):
        done = mixed(mix, images, step)
        own, other = torch.arange(6.0), done.partners.float()
        expected = done.share * own + (1 - done.share) * other
        torch.testing.assert_close(done.images.mean((1, 2, 3)), expected)


def test_mixup_of_constant_colours_is_their_weighted_mean_everywhere() -> None:
    done = mixed(Mixup(share="image"), constant(6))
    expected = done.share * torch.arange(6.0) + (1 - done.share) * done.partners
    torch.testing.assert_close(done.images, expected.view(-1, 1, 1, 1).expand_as(done.images))
    assert len(done.share.unique()) == 6


@pytest.mark.parametrize("share", ["batch", "image"])
def test_cutmix_is_one_box_of_the_partner_whose_area_is_one_minus_the_share(share: str) -> None:
    height, width = 9, 7
    mix, areas = CutMix.model_validate({"type": "cutmix", "share": share}), set()
    for step in range(40):
        done = mixed(mix, constant(6, height, width), step)
        for own, (image, partner, kept) in enumerate(zip(done.images, done.partners, done.share, strict=True)):
            assert bool(((image == own) | (image == partner)).all())
            if int(partner) == own:
                continue
            inside = image[0] == partner
            rows, columns = inside.any(1), inside.any(0)
            assert torch.equal(inside, rows.unsqueeze(1) & columns)
            for line in (rows, columns):  # one stretch without a gap
                places = line.nonzero()
                assert len(places) == 0 or int(places[-1] - places[0]) + 1 == len(places)
            assert kept.item() == pytest.approx(1 - int(inside.sum()) / (height * width), abs=1e-6)
            areas.add(int(inside.sum()))
    assert len(areas) > 8


def test_cutmix_puts_the_box_where_it_was_in_the_partner() -> None:
    images = torch.randn(4, 3, 11, 13)
    done = mixed(CutMix(), images, step=1)
    assert 0 < done.share[0] < 1
    assert bool(((done.images == images) | (done.images == images[done.partners])).all())


def test_mixups_shares_are_betas() -> None:
    """Beta(α, α) has mean 1/2 and variance 1/(4(2α+1))."""
    images = torch.zeros(4000, 3, 1, 1)
    for alpha in (0.2, 1.0, 8.0):
        share = mixed(Mixup(alpha=alpha, share="image"), images).share
        assert share.mean().item() == pytest.approx(0.5, abs=0.03)
        assert share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_cutmix_boxes_have_the_sides_of_the_drawn_share_where_the_edge_does_not_cut_them() -> None:
    """α = 100: λ is about 1/2, so the box's sides are about √½ of the image's, and no side is longer."""
    images = torch.zeros(300, 3, 50, 50)
    share = mixed(CutMix(alpha=100, share="image"), images).share
    assert share.min().item() == pytest.approx(0.5, abs=0.1)
    assert share.max().item() < 0.95  # a quarter of the box at least is inside, its middle being so
    assert share.mean().item() > 0.6


@pytest.mark.parametrize("alpha", [0.01, 100])
@pytest.mark.parametrize("share", ["batch", "image"])
def test_extreme_alphas_give_finite_images(alpha: float, share: str) -> None:
    images = torch.randn(5, 3, 9, 7)
    for mix in (Mixup(alpha=alpha, share=share), CutMix(alpha=alpha, share=share)):  # type: ignore[arg-type]
        for step in range(50):
            done = mixed(mix, images, step)
            assert bool(done.images.isfinite().all())
            assert bool(done.share.isfinite().all())


def test_chance_and_until_say_which_batches_are_mixed() -> None:
    images = torch.randn(3, 3, 4, 4)

    def which(mix: Mix) -> list[int]:
        return [step for step in range(1000) if mix(images, seed=0, step=step, steps=1000) is not None]

    assert which(Mixup(chance=0)) == []
    assert which(Mixup()) == list(range(1000))
    assert which(CutMix(until=0.9)) == list(range(900))
    half = which(Mixup(chance=0.5))
    assert 440 < len(half) < 560
    for step in half[:5]:  # what a mixed batch becomes does not depend on how many others are
        assert torch.equal(mixed(Mixup(chance=0.5), images, step).images, mixed(Mixup(), images, step).images)


def test_either_takes_its_two_ways_by_chance() -> None:
    images = constant(8)

    def cut(mix: Mix) -> list[bool]:
        return [torch.equal(done, done.round()) for step in range(200) for done in [mixed(mix, images, step).images]]

    assert all(cut(MixupOrCutMix(cutmix=1)))
    assert sum(cut(MixupOrCutMix(cutmix=0, mixup_alpha=1))) < 5
    assert 35 < sum(cut(MixupOrCutMix(cutmix=0.25, mixup_alpha=1))) < 70
