"""Checks before a run, and notes on it."""

import pytest

from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.training.build import build_parts
from eml.training.checks import check, run_notes
from eml.training.config import RunConfig
from eml.training.dry_run import dry_run
from eml.training.events import Note
from eml.training.fit import fit
from tests.training.runs import MARGINS_WITHOUT_MIX, changed

CUT = {"type": "cutmix", "share": "image"}


MIX = {"type": "mixup", "alpha": 8}


PAIRS = {"type": "per_class", "per_class": 2}


@pytest.mark.parametrize("margin", sorted(MARGINS_WITHOUT_MIX))
def test_the_other_margins_are_refused_before_anything_is_read(margin: str, config: RunConfig, table: Table) -> None:
    wrong = changed(config, margin={"type": margin}, mix=MIX, device="cuda:9", optimizer={"name": "adamww"})
    with pytest.raises(
        ConfigError, match=rf"mix: mixup .*margin\.type {margin} .*allows two labels: adacos, .*arcface"
    ) as error:
        check(wrong, resume=False, overwrite=False)
    assert len(error.value.problems) == 3, "the other problems are told of too"
    assert not any(name in str(error.value).partition("allows two labels")[2] for name in MARGINS_WITHOUT_MIX)
    with pytest.raises(ConfigError, match=r"mix: mixup gives every image two labels"):
        build_parts(changed(config, margin={"type": margin}, mix=MIX), table)


def test_the_margins_that_are_refused_are_at_least_these() -> None:
    assert {"proxy_anchor", "sphereface2", "uniface", "vpl"} <= MARGINS_WITHOUT_MIX


def test_the_heads_memory_is_refused_too_and_said_to_be_the_reason(config: RunConfig) -> None:
    remembering = changed(config, head={"prototypes": "vpl"}, mix=CUT)
    with pytest.raises(ConfigError, match=r"mix: cutmix .* head\.prototypes remembers .*or head\.prototypes: none$"):
        check(remembering, resume=False, overwrite=False)
    check(changed(remembering, mix=None), resume=False, overwrite=False)


def test_a_run_and_a_dry_run_report_the_notes_of_the_sampler(config: RunConfig, table: Table) -> None:
    uneven = table.frame.groupby("label", group_keys=False).head(3)
    kept = Table(uneven[~uneven["file_name"].isin(["c0/0.png", "c0/1.png"])].reset_index(drop=True), table.root)
    given = changed(config, sampler=PAIRS, epochs=1, data={"table": table.path, "fold": None, "workers": 0})
    told: list[str] = []
    fit(given, kept, observe=lambda event: told.append(event.text) if isinstance(event, Note) else None)
    expected = run_notes(build_parts(given, kept))
    assert expected[0] == "sampler per_class: 5 batches per epoch, 35% of their images are repeats"
    assert "1 of 5 classes have fewer than per_class 2 images" in expected[1]
    assert set(expected) <= set(told)
    result = dry_run(given, kept)
    assert set(expected) <= set(result.warnings)
    assert (result.batch_size, result.steps) == (4, 5)


@pytest.mark.wide
def test_an_image_size_that_cuts_pixels_off_is_refused_with_the_nearest_but_not_of_a_run_that_goes_on(
    config: RunConfig,
) -> None:
    image = {"size": 160}
    wrong = changed(config, model={"backbone": "vit_small_patch14_dinov2"}, image=image, device="cuda:9")
    with pytest.raises(ConfigError) as caught:
        check(wrong, resume=False, overwrite=False)
    rule = "vit_small_patch14_dinov2 takes sides that are multiples of 14 pixels, got 160; the nearest are 154 and 168"
    assert [problem for problem in caught.value.problems if "image" in problem] == [f"image.size: {rule}"]
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError) as caught:
        check(wrong, resume=True, overwrite=False)
    assert not any("image.size" in problem for problem in caught.value.problems)
