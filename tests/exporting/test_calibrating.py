"""The calibration of a checkpoint is kept only where the proof says that cosines are the same."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from eml.exporting.calibrating import calibrate_export
from eml.exporting.proof.record import Proof, ProofLimits
from eml.models.calibration import CalibratedRate, Calibration
from eml.models.necks.identity import Identity
from tests.exporting.conftest import tiny_model

STORED = Calibration(
    eml_version="x",
    created="",
    weights_digest="of the checkpoint",
    goal="far",
    goal_value=0.01,
    strict=False,
    threshold=CalibratedRate(value=0.5, low=None, high=None),
    plain_threshold=0.5,
    measured={},
    held_out=[],
    held_out_mean=None,
    confidence=0.95,
    seed=0,
    resamples=1,
    table="/home/somebody/gone.csv",
    table_digest="d",
    protocol="leave-one-out",
    counts={},
    notes=["a note"],
    histogram_edges=[],
    histogram_same=[],
    histogram_different=[],
    images_digest="of the embeddings beside it",
)


def outcome(stored: Calibration | None, precision: str, mismatch: str = "") -> tuple[Calibration | None, str]:
    model = cast(Any, SimpleNamespace(calibration=stored, calibration_mismatch=mismatch, source="run", folder=None))
    fingerprint = tiny_model(Identity()).fingerprint
    exported = cast(Any, SimpleNamespace(facts=SimpleNamespace(precision=precision), fingerprint=fingerprint))
    proof = Proof(
        eml_version="x",
        created="",
        passed=True,
        problems=[],
        cautions=[],
        precision=precision,
        limits=ProofLimits.of(precision),
        images=9,
        classes=3,
        chosen_from="t",
        table=None,
        table_digest=None,
        least_cosine=0.99999999,
        machine="m",
        versions={},
    )
    return calibrate_export(model, exported, proof)


def test_a_float32_export_keeps_what_cannot_be_made_again() -> None:
    calibration, line = outcome(STORED, "float32")
    assert calibration is not None
    assert calibration.threshold == STORED.threshold
    assert (calibration.table, calibration.images_digest) == ("gone.csv", None)
    assert calibration.fingerprint == tiny_model(Identity()).fingerprint
    assert calibration.notes == ["a note", "carried over from the checkpoint; least cosine of the proof 0.99999999"]
    assert line == (
        "the checkpoint's calibration cannot be made again: its table /home/somebody/gone.csv is no longer there. "
        "Cosines are the same up to rounding, so its threshold 0.5000 is kept"
    )


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_fewer_bits_go_without_it(precision: str) -> None:
    calibration, line = outcome(STORED, precision)
    assert calibration is None
    assert line.endswith(f"{precision} moves cosines, so the exported model goes without one")


def test_a_checkpoint_without_a_calibration_gives_none() -> None:
    assert outcome(None, "float32") == (None, "it is not calibrated, as the checkpoint is not")
    assert outcome(None, "float32", "tta none, not flip") == (
        None,
        "it is not calibrated: the checkpoint's calibration is of tta none, not flip",
    )
