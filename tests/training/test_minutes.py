"""A run of so many minutes: its length is planned once and kept."""

import pytest

from eml.config import load
from eml.dataset.table import Table
from eml.training.config import RunConfig
from eml.training.events import Event, Note
from eml.training.fit import fit
from eml.training.minutes import Pace
from tests.training.runs import changed


def test_the_plan_counts_all_that_a_run_does() -> None:
    plain = Pace(train=0.1, embed=0.03, images=100, held_out=50, validated=50)
    assert plain.seconds(4) == pytest.approx(4 * (10 + 1.5) + 1.5)
    staged = Pace(0.1, 0.03, images=100, held_out=50, validated=50, folds=3, in_stages=True, is_refitted=True)
    one = 4 * (10 + 1.5) + 1.5 + 4 * 150 * 0.03
    assert staged.seconds(4) == pytest.approx(3 * one + 4 * 2 / 3 * 150 * 0.1 + 2 * 150 * 0.03)
    assert plain.epochs(1.0, 30) == 5
    assert plain.epochs(60.0, 30) == 30
    assert plain.epochs(0.001, 30) == 1


@pytest.mark.slow
def test_a_resumed_run_keeps_the_length_that_was_planned(config: RunConfig, table: Table) -> None:
    notes: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    short = changed(config, minutes=1e-6)
    assert fit(short, table, observe=observe).best_epoch == 1
    assert any(note.startswith("minutes 1e-06: 1 epoch, expected to take") for note in notes)
    saved = load(RunConfig, config.output / "config.yaml")
    assert (saved.epochs, saved.minutes) == (1, 1e-6)
    assert fit(short, table, resume=True).best_epoch == 1
